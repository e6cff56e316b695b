//! The speaker on the control socket: peers, routes, why a path is best, what happened, what an operator asks for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bgp::{AdminAction, Explanation, Prefix, RouteQuery, RouteView, Table};
use routerd_core::bgp::{Happened, SpeakerView};
use serde::Deserialize;

use super::listener::Caller;
use super::{Body, Control, Refusal};
use crate::bgp::Bgp;

/// Routes in one answer, unless fewer are asked for.
const PAGE: usize = 10_000;
/// How long one who follows the events is kept waiting.
const PATIENCE: Duration = Duration::from_secs(25);

/// Requests that are answered at once.
pub(super) fn quick() -> Router<Control> {
    Router::new()
        .route("/v1/bgp", get(standing))
        .route("/v1/bgp/routes", get(routes))
        .route("/v1/bgp/explain", get(explain))
        .route("/v1/bgp/dump", get(dump))
        .route("/v1/bgp/admin", post(admin))
}

/// Requests that wait for something to happen.
pub(super) fn slow() -> Router<Control> {
    Router::new().route("/v1/bgp/events", get(events))
}

type Asked<T> = Result<Query<T>, QueryRejection>;

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Routes {
    /// `in`, `rejected`, `best`, `out`.
    table: Table,
    peer: Option<IpAddr>,
    prefix: Option<Prefix>,
    after: Option<Prefix>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Explain {
    prefix: Prefix,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Since {
    /// The number of the first event that is wanted.
    #[serde(default)]
    from: u64,
}

/// What an operator asks of a peer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Admin {
    peer: IpAddr,
    action: AdminAction,
}

impl Control {
    /// Asks the speaker on a thread that may wait for it.
    async fn speaker<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Bgp) -> Option<T> + Send + 'static,
    ) -> Result<Json<T>, Refusal> {
        let absent = || Refusal::new(StatusCode::NOT_FOUND, "there is none");
        let speaker = self.speaker.as_ref().map(Arc::clone).ok_or_else(absent)?;
        match tokio::task::spawn_blocking(move || question(&speaker)).await {
            Ok(answer) => answer.map(Json).ok_or_else(absent),
            Err(error) => Err(Refusal::internal(&error)),
        }
    }
}

/// Without a speaker nothing stands.
async fn standing(State(control): State<Control>) -> Result<Json<SpeakerView>, Refusal> {
    let standing = |speaker: &Bgp| Some(speaker.standing().unwrap_or_default());
    control.speaker(standing).await
}

async fn routes(
    State(control): State<Control>,
    asked: Asked<Routes>,
) -> Result<Json<Vec<RouteView>>, Refusal> {
    let Query(asked) = asked?;
    let query = RouteQuery {
        table: asked.table,
        peer: asked.peer,
        prefix: asked.prefix,
        limit: asked.limit.unwrap_or(PAGE).min(PAGE),
        after: asked.after,
    };
    let routes = move |speaker: &Bgp| Some(speaker.routes(query).unwrap_or_default());
    control.speaker(routes).await
}

/// An MRT table.
async fn dump(State(control): State<Control>) -> Result<Vec<u8>, Refusal> {
    let Json(table) = control.speaker(Bgp::dump).await?;
    Ok(table)
}

async fn explain(
    State(control): State<Control>,
    asked: Asked<Explain>,
) -> Result<Json<Explanation>, Refusal> {
    let Query(Explain { prefix }) = asked?;
    control
        .speaker(move |speaker| speaker.explain(prefix))
        .await
}

async fn admin(
    State(control): State<Control>,
    Extension(caller): Extension<Caller>,
    body: Body<Admin>,
) -> Result<Json<()>, Refusal> {
    let Json(Admin { peer, action }) = body?;
    tracing::info!(%caller, %peer, ?action, "asked of a BGP peer");
    control
        .speaker(move |speaker| speaker.admin(peer, action))
        .await
}

/// Answers as soon as there is anything, or with nothing after a while.
async fn events(
    State(control): State<Control>,
    asked: Asked<Since>,
) -> Result<Json<Happened>, Refusal> {
    let Query(Since { from }) = asked?;
    let Json(journal) = control.speaker(Bgp::journal).await?;
    let happened = tokio::time::timeout(PATIENCE, journal.follow(from)).await;
    let nothing = Happened {
        next: from,
        events: Vec::new(),
    };
    Ok(Json(happened.unwrap_or(nothing)))
}
