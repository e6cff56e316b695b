//! The requests of `api::action::control` and `api::plugin`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use api::action::control::{
    ActionDetail, ActionView, ApproveRequest, ImportReport, ImportRequest, JournalReport,
    JournalRequest, PreflightQuery, PreflightReport, Progress, RunRequest,
};
use api::action::journal::Actor;
use api::control::Failure;
use api::plugin::{
    PluginRun, PluginRunReport, PluginRunRequest, PluginView, PluginWork, Trigger, TriggerKind,
};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use hyper::body::Frame;
use routerd_core::plugin::Occasion;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use super::listener::Caller;
use super::{Body as Asked, Control, Refusal};
use crate::actions::{self, Actions, Trouble};
use crate::plugins::NotRun;
use crate::store::timestamp;

/// How many runs of plugins are shown.
const RUNS: u32 = 100;

/// Requests that are answered at once.
pub(super) fn quick() -> Router<Control> {
    Router::new()
        .route("/v1/actions", get(list))
        .route("/v1/actions/{id}", get(show))
        .route("/v1/actions/import", post(import))
        .route("/v1/actions/approve", post(approve))
        .route("/v1/actions/journal", post(journal))
        .route("/v1/plugins", get(plugins))
        .route("/v1/plugins/runs", get(all_runs))
        .route("/v1/plugins/{name}/runs", get(runs))
}

/// Requests that take as long as plugins take.
pub(super) fn slow() -> Router<Control> {
    Router::new()
        .route("/v1/actions/execute", post(execute))
        .route("/v1/actions/rollback", post(rollback))
        .route("/v1/actions/preflight", post(preflight))
        .route("/v1/plugins/run", post(run_plugin))
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        let status = match &trouble {
            Trouble::Tampered(_) | Trouble::Idle | Trouble::State(_) => StatusCode::CONFLICT,
            Trouble::NoAction(_) | Trouble::NoProvider(_) => StatusCode::NOT_FOUND,
            Trouble::Store(_) | Trouble::Thread(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, trouble.to_string())
    }
}

impl From<NotRun> for Refusal {
    fn from(error: NotRun) -> Self {
        let status = match error {
            NotRun::Unknown(_) => StatusCode::NOT_FOUND,
            NotRun::Executor(_) => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

impl Control {
    /// Asks the actions on a thread that may block for a moment.
    async fn quickly<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Actions) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<Json<T>, Refusal> {
        let actions = Arc::clone(&self.actions);
        match tokio::task::spawn_blocking(move || ask(&actions)).await {
            Ok(result) => result.map(Json).map_err(Refusal::from),
            Err(error) => Err(Refusal::internal(&error)),
        }
    }

    /// Does something that takes long on a thread of its own; it goes on if the client goes away.
    async fn slowly<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Json<T>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let control = self.clone();
        thread::Builder::new()
            .name("request".to_owned())
            .spawn(move || drop(reply.send(ask(control))))
            .map_err(|error| Refusal::from(Trouble::Thread(error)))?;
        answer
            .await
            .map_err(|error| Refusal::internal(&error))?
            .map(Json)
    }
}

async fn list(State(control): State<Control>) -> Result<Json<Vec<ActionView>>, Refusal> {
    control.quickly(|actions| Ok(actions.list())).await
}

async fn show(
    State(control): State<Control>,
    Path(id): Path<u64>,
) -> Result<Json<ActionDetail>, Refusal> {
    control.quickly(move |actions| actions.show(id)).await
}

async fn import(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Asked<ImportRequest>,
) -> Result<Json<ImportReport>, Refusal> {
    let Json(request) = body?;
    let import = move |actions: &Actions| {
        let plans = actions.import(&request, &caller.actor())?;
        Ok(ImportReport { plans })
    };
    control.quickly(import).await
}

async fn approve(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Asked<ApproveRequest>,
) -> Result<Json<Vec<ActionView>>, Refusal> {
    let Json(request) = body?;
    let approve = move |actions: &Actions| actions.approve(&request, &caller.actor());
    control.quickly(approve).await
}

async fn journal(
    State(control): State<Control>,
    body: Asked<JournalRequest>,
) -> Result<Json<JournalReport>, Refusal> {
    let Json(request) = body?;
    control
        .quickly(move |actions| actions.journal(&request))
        .await
}

async fn execute(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Asked<RunRequest>,
) -> Result<Response, Refusal> {
    let Json(request) = body?;
    run(
        &control,
        actions::Asked::by(caller.actor(), &request, false),
    )
}

async fn rollback(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Asked<RunRequest>,
) -> Result<Response, Refusal> {
    let Json(request) = body?;
    run(&control, actions::Asked::by(caller.actor(), &request, true))
}

/// Answers with lines as things happen.
fn run(control: &Control, asked: actions::Asked) -> Result<Response, Refusal> {
    let (sender, lines) = unbounded_channel();
    let actions = Arc::clone(&control.actions);
    let body = move || {
        let mut tell = |progress: Progress| drop(sender.send(progress));
        let end = match actions.run(&asked, &mut tell) {
            Ok(report) => Progress::Report(report),
            Err(trouble) => Progress::Failed(failure(&trouble)),
        };
        tell(end);
    };
    thread::Builder::new()
        .name("run".to_owned())
        .spawn(body)
        .map_err(|error| Refusal::from(Trouble::Thread(error)))?;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::new(Lines(lines))).into_response())
}

fn failure(trouble: &Trouble) -> Failure {
    Failure {
        message: trouble.to_string(),
        diagnostics: Vec::new(),
        reverted: false,
    }
}

/// A body that grows line by line.
struct Lines(UnboundedReceiver<Progress>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|progress| {
            let mut line = serde_json::to_vec(&progress?).unwrap_or_default();
            line.push(b'\n');
            Some(Ok(Frame::data(line.into())))
        })
    }
}

async fn preflight(
    State(control): State<Control>,
    body: Asked<PreflightQuery>,
) -> Result<Json<Vec<PreflightReport>>, Refusal> {
    let Json(query) = body?;
    let ask = move |control: Control| {
        let reports = control.actions.preflight(&query.provider);
        reports.map_err(Refusal::from)
    };
    control.slowly(ask).await
}

async fn plugins(State(control): State<Control>) -> Result<Json<Vec<PluginView>>, Refusal> {
    let effective = control.view.in_force().2;
    control
        .quickly(move |actions| Ok(actions.plugins().list(&effective)?))
        .await
}

async fn all_runs(State(control): State<Control>) -> Result<Json<Vec<PluginRun>>, Refusal> {
    control
        .quickly(|actions| Ok(actions.plugins().runs(None, RUNS)?))
        .await
}

async fn runs(
    State(control): State<Control>,
    Path(name): Path<String>,
) -> Result<Json<Vec<PluginRun>>, Refusal> {
    control
        .quickly(move |actions| Ok(actions.plugins().runs(Some(&name), RUNS)?))
        .await
}

async fn run_plugin(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Asked<PluginRunRequest>,
) -> Result<Json<PluginWork>, Refusal> {
    let Json(request) = body?;
    tracing::info!(%caller, "run of Plugin/{} requested", request.name);
    control
        .slowly(move |control| work(&control, &request))
        .await
}

/// Runs a plugin because a person asked; its action plans are taken in, unless it is only for show.
fn work(control: &Control, request: &PluginRunRequest) -> Result<PluginWork, Refusal> {
    let (generation, hash, effective) = control.view.in_force();
    let occasion = Occasion {
        trigger: Trigger {
            kind: TriggerKind::Manual,
            topic: None,
        },
        startup_config_hash: hash,
        generation,
        previous_part: 0,
        now: timestamp(),
        events: Vec::new(),
    };
    let report: PluginRunReport =
        control
            .actions
            .plugins()
            .run(&effective, &request.name, "manual", occasion)?;
    let plans = report.result.as_ref().map(|result| &result.action_plans);
    let imports = match plans {
        Some(plans) if !request.dry_run => {
            let by = Actor {
                name: format!("Plugin/{}", request.name),
                uid: None,
            };
            let import = ImportRequest {
                plans: plans.clone(),
                again: false,
            };
            control.actions.import(&import, &by)?
        }
        _ => Vec::new(),
    };
    Ok(PluginWork { report, imports })
}
