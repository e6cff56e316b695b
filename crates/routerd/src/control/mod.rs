//! The control API of `api::control` over the Unix socket.

mod actions;
mod bgp;
mod listener;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::Diagnostic;
use api::control::{ApplyReport, Config, Failure, PlanRequest};
use axum::body::HttpBody;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use routerd_core::Effective;
use tokio::sync::oneshot;

pub(crate) use listener::{bind, serve};

use self::listener::Caller;
use crate::actions::Actions;
use crate::bgp::Bgp;
use crate::engine::{ApplyError, Candidate, Message, Outbox};
use crate::store::StoreError;
use crate::view::{ReadError, View};

/// The largest request: some hundred thousand claims.
const BODY_LIMIT: usize = 64 << 20;
/// The longest that an answer may take. What was begun goes on after it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Control {
    view: Arc<View>,
    outbox: Outbox,
    actions: Arc<Actions>,
    speaker: Option<Arc<Bgp>>,
    /// Whether a change is under way.
    busy: Arc<AtomicBool>,
}

impl Control {
    pub(crate) fn new(view: Arc<View>, outbox: Outbox, actions: Arc<Actions>) -> Self {
        Self {
            view,
            outbox,
            actions,
            speaker: None,
            busy: Arc::default(),
        }
    }

    /// Answers for a BGP speaker, too.
    pub(crate) fn with_speaker(mut self, speaker: Arc<Bgp>) -> Self {
        self.speaker = Some(speaker);
        self
    }

    /// All routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/validate", post(validate))
            .route("/v1/plan", post(plan))
            .route("/v1/apply", post(apply))
            .route("/v1/teardown", post(teardown))
            .route("/v1/status", get(status))
            .route("/v1/resources", get(resources))
            .route("/v1/events", get(events))
            .route("/v1/dynamic/parts", get(parts))
            .route("/v1/dynamic/effective", get(effective))
            .route("/v1/federation", post(federation))
            .route("/metrics", get(metrics))
            .route("/v1/doctor", get(doctor_all))
            .route("/v1/doctor/{area}", get(doctor))
            .merge(actions::quick())
            .merge(bgp::quick())
            .layer(middleware::from_fn(in_time))
            .merge(actions::slow())
            .merge(bgp::slow())
            .fallback(unknown)
            .method_not_allowed_fallback(unknown)
            .layer(middleware::from_fn(in_bounds))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self)
    }

    /// Asks the loop for a change; a second one at the same time is refused.
    async fn change(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<ApplyReport, ApplyError>>) -> Message,
    ) -> Result<Json<ApplyReport>, Refusal> {
        let claim = Claim::take(&self.busy).ok_or_else(Refusal::busy)?;
        let (reply, answer) = oneshot::channel();
        self.outbox
            .request(message(reply))
            .map_err(|e| Refusal::internal(&e))?;
        // In a task of its own: if the client goes away, the change is under way all the same.
        let waited = tokio::spawn(async move {
            let answer = answer.await;
            drop(claim);
            answer
        });
        match waited.await {
            Ok(Ok(result)) => result.map(Json).map_err(Refusal::from),
            Ok(Err(error)) => Err(Refusal::internal(&error)),
            Err(error) => Err(Refusal::internal(&error)),
        }
    }

    /// Looks at the host on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<Json<T>, Refusal> {
        let view = Arc::clone(&self.view);
        match tokio::task::spawn_blocking(move || read(&view)).await {
            Ok(result) => result.map(Json).map_err(Refusal::from),
            Err(error) => Err(Refusal::internal(&error)),
        }
    }
}

/// The right to change the host, given back when dropped.
struct Claim(Arc<AtomicBool>);

impl Claim {
    fn take(busy: &Arc<AtomicBool>) -> Option<Self> {
        let free = busy.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        free.ok().map(|_| Self(Arc::clone(busy)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A request that was not fulfilled.
struct Refusal(StatusCode, Failure);

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let failure = Failure {
            message: message.into(),
            diagnostics: Vec::new(),
            reverted: false,
        };
        Self(status, failure)
    }

    fn busy() -> Self {
        Self::new(StatusCode::CONFLICT, "another change is being applied")
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    fn invalid(diagnostics: Vec<Diagnostic>) -> Self {
        let message = "the configuration is not valid";
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, message);
        refusal.1.diagnostics = diagnostics;
        refusal
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Store(StoreError::SecretNotLiteral) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
            }
            ApplyError::Reverted(_) => {
                let mut refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, message);
                refusal.1.reverted = true;
                refusal
            }
            ApplyError::Store(_)
            | ApplyError::Stuck { .. }
            | ApplyError::Unreached { .. }
            | ApplyError::Left(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Invalid(diagnostics) => Self::invalid(diagnostics),
            ReadError::Kernel(_) | ReadError::Store(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
            ReadError::UnknownArea(_) => Self::new(StatusCode::NOT_FOUND, message),
        }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

async fn validate(State(control): State<Control>, body: Body<Config>) -> Result<Response, Refusal> {
    let Json(config) = body?;
    let validation = control.read(move |_| Ok(View::validate(&config)));
    Ok(validation.await?.into_response())
}

async fn plan(
    State(control): State<Control>,
    body: Body<PlanRequest>,
) -> Result<Response, Refusal> {
    let Json(request) = body?;
    let actions = Arc::clone(&control.actions);
    let report = control.read(move |view| {
        let propose = |effective: &Arc<Effective>| actions.proposals(effective);
        view.plan(request.config.as_ref(), propose)
    });
    Ok(report.await?.into_response())
}

async fn apply(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Body<Config>,
) -> Result<Json<ApplyReport>, Refusal> {
    let Json(config) = body?;
    tracing::info!(%caller, "apply requested");
    // Compiled here: a large configuration must not hold up repairs.
    let compiled = tokio::task::spawn_blocking(|| Candidate::compile(config)).await;
    let candidate = compiled
        .map_err(|e| Refusal::internal(&e))?
        .map_err(Refusal::invalid)?;
    control
        .change(|reply| Message::Apply(Box::new(candidate), reply))
        .await
}

async fn teardown(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ApplyReport>, Refusal> {
    tracing::info!(%caller, "teardown requested");
    control.change(Message::Teardown).await
}

async fn status(State(control): State<Control>) -> Result<Response, Refusal> {
    Ok(control.read(View::status).await?.into_response())
}

async fn resources(State(control): State<Control>) -> Result<Response, Refusal> {
    Ok(control.read(View::resources).await?.into_response())
}

async fn events(State(control): State<Control>) -> Result<Response, Refusal> {
    Ok(control.read(View::events).await?.into_response())
}

async fn parts(State(control): State<Control>) -> Result<Response, Refusal> {
    let parts = control.read(|view| Ok(view.parts()));
    Ok(parts.await?.into_response())
}

async fn effective(State(control): State<Control>) -> Result<Response, Refusal> {
    let effective = control.read(|view| Ok(view.effective()));
    Ok(effective.await?.into_response())
}

async fn federation(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Body<api::federation::Request>,
) -> Result<Response, Refusal> {
    let Json(request) = body?;
    if let api::federation::Request::Emit(event) = &request {
        tracing::info!(%caller, group = event.group, "event of type {} emitted", event.kind);
    }
    let answer = control.read(move |view| view.federation(request));
    Ok(answer.await?.into_response())
}

/// The text format of Prometheus, version 0.0.4.
async fn metrics(State(control): State<Control>) -> Result<Response, Refusal> {
    let Json(text) = control.read(View::metrics).await?;
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, text).into_response())
}

async fn doctor_all(State(control): State<Control>) -> Result<Response, Refusal> {
    let actions = Arc::clone(&control.actions);
    let report = control.read(move |view| {
        view.doctor(None, true, actions.distrust(), &|asked| actions.look(asked))
    });
    Ok(report.await?.into_response())
}

async fn doctor(
    State(control): State<Control>,
    Path(area): Path<String>,
) -> Result<Response, Refusal> {
    let actions = Arc::clone(&control.actions);
    let report = control.read(move |view| {
        view.doctor(Some(&area), true, actions.distrust(), &|asked| {
            actions.look(asked)
        })
    });
    Ok(report.await?.into_response())
}

async fn unknown(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("no such request: {method} {path}"),
    )
}

/// Refuses what says that it is too large.
async fn in_bounds(request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large")
            .into_response();
    }
    next.run(request).await
}

/// Gives up what takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the request takes too long; what was begun goes on",
        )
        .into_response(),
    }
}
