//! HTTP/2 on an address of the overlay: one path, nothing of the control API.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use routerd_core::federation::receive::{MAX_BODY, Refusal};
use routerd_core::federation::wire::{Head, METHOD, PATH, Reply};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Shared;
use super::exchange::{Exchange, Taken};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// Messages that are held in memory at a time; more are told to come again.
const MESSAGES: usize = 32;
/// Messages of one connection at a time.
const STREAMS: u32 = 8;
/// How long a sender may take for a message.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// After this much silence a peer is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long to wait before an address is tried again: its tunnel may not be up yet.
const BIND_PAUSE: Duration = Duration::from_millis(500);
/// How long to wait after the system refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Receives the events of a group for as long as it is not dropped.
pub(super) async fn listen(shared: Arc<Shared>, group: String, address: SocketAddr) {
    let listener = bind(&shared, &group, address).await;
    tracing::info!("EventGroup/{group}: receiving on {address}");
    serve(Arc::new(Exchange::new(shared, group)), listener).await;
}

/// Binds as soon as the address is there.
async fn bind(shared: &Shared, group: &str, address: SocketAddr) -> TcpListener {
    let resource = format!("EventGroup/{group}");
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                shared.trouble(resource, None);
                return listener;
            }
            Err(error) => {
                let why = format!("cannot listen on {address}: {error}");
                shared.trouble(resource.clone(), Some(why));
                tokio::time::sleep(BIND_PAUSE).await;
            }
        }
    }
}

/// Answers whoever connects.
pub(super) async fn serve(exchange: Arc<Exchange>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let messages = Arc::new(Semaphore::new(MESSAGES));
    // Connections end with the listener, so that a removed group answers nobody.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let (exchange, messages) = (Arc::clone(&exchange), Arc::clone(&messages));
                connections.spawn(async move {
                    if let Err(error) = converse(stream, exchange, messages).await {
                        tracing::debug!("connection from {from} ended: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("accept connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    exchange: Arc<Exchange>,
    messages: Arc<Semaphore>,
) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let (exchange, messages) = (Arc::clone(&exchange), Arc::clone(&messages));
        async move { Ok::<_, Infallible>(respond(&answer(request, exchange, &messages).await)) }
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(
    request: Request<Incoming>,
    exchange: Arc<Exchange>,
    messages: &Semaphore,
) -> Taken {
    let Ok(_place) = messages.try_acquire() else {
        return exchange.refuse(Refusal::Busy);
    };
    if request.method() != METHOD || request.uri().path() != PATH {
        return exchange.refuse(Refusal::Malformed);
    }
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return exchange.refuse(Refusal::TooLarge);
    }
    let fields = request.headers();
    let head = Head::read(|name| fields.get(name)?.to_str().ok());
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return exchange.refuse(refusal),
    };
    let taken = tokio::task::spawn_blocking(move || exchange.take(head, &body));
    taken
        .await
        .unwrap_or_else(|error| Taken::Failed(error.to_string()))
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let limited = Limited::new(body, MAX_BODY);
    match tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(_)) | Err(_) => Err(Refusal::Malformed),
    }
}

fn respond(taken: &Taken) -> Response<Full<Bytes>> {
    let (status, reply) = match taken {
        Taken::Stored(status, reply) => (*status, reply.clone()),
        Taken::Refused(refusal) => Reply::refused(*refusal),
        Taken::Failed(error) => {
            // The reason is for our log, not for another node.
            tracing::warn!("cannot take a message: {error}");
            let reason = "failed".to_owned();
            let message = "this node cannot take it now".to_owned();
            (503, Reply::Refused { reason, message })
        }
    };
    let body = serde_json::to_vec(&reply).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    fields.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    if matches!(status, 429 | 503) {
        fields.insert(RETRY_AFTER, hyper::header::HeaderValue::from_static("1"));
    }
    response
}
