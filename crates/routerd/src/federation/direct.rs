//! Sends batches over HTTP/2 to a node's own listener; one connection, kept.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use routerd_core::federation::wire::{Head, METHOD, PATH, Reply};
use tokio::net::TcpStream;

use super::courier::Sent;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// After this much silence a peer is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The largest answer.
const MAX_ANSWER: usize = 1 << 20;

/// The way to one node.
pub(super) struct Direct {
    endpoint: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Direct {
    /// Nothing is opened yet.
    pub(super) fn new(endpoint: SocketAddr) -> Self {
        Self {
            endpoint,
            connection: None,
        }
    }

    /// Sends one batch and hears what became of it.
    pub(super) async fn send(&mut self, head: &Head, body: Bytes) -> Sent {
        match self.exchange(head, body).await {
            Ok(sent) => sent,
            Err(error) => {
                self.connection = None;
                Sent::Unavailable {
                    retry_after: None,
                    error,
                }
            }
        }
    }

    async fn exchange(&mut self, head: &Head, body: Bytes) -> Result<Sent, String> {
        let connection = self.connect().await?;
        let mut request = Request::builder()
            .method(METHOD)
            .uri(format!("http://{}{PATH}", connection.1))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in Head::NAMES.iter().zip(head.values()) {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let answer = async {
            let response = connection.0.send_request(request).await;
            hear(response.map_err(|e| format!("send: {e}"))?).await
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answer)
            .await
            .map_err(|_| format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))?
    }

    /// The connection, made anew where there is none.
    async fn connect(&mut self) -> Result<(&mut SendRequest<Full<Bytes>>, SocketAddr), String> {
        let kept = self.connection.take().filter(|kept| !kept.is_closed());
        let connection = match kept {
            Some(kept) => kept,
            None => tokio::time::timeout(CONNECT_TIMEOUT, open(self.endpoint))
                .await
                .map_err(|_| format!("connect to {}: timed out", self.endpoint))??,
        };
        Ok((self.connection.insert(connection), self.endpoint))
    }
}

async fn open(endpoint: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(endpoint)
        .await
        .map_err(|e| format!("connect to {endpoint}: {e}"))?;
    // A batch is one write; waiting for more would only delay it.
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("connect to {endpoint}: {e}"))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection to {endpoint} ended: {error}");
        }
    });
    Ok(sender)
}

async fn hear(response: Response<hyper::body::Incoming>) -> Result<Sent, String> {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER);
    let seconds: Option<u64> = seconds.and_then(|text| text.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|e| format!("read answer: {e}"))?.to_bytes();
    let reply: Reply = serde_json::from_slice(&body)
        .map_err(|_| format!("answered {status} and nothing that makes sense"))?;
    Ok(match reply {
        Reply::Outcomes(outcomes) => Sent::Answered(outcomes),
        Reply::Refused { reason, message } => {
            let error = format!("answered {} {reason}: {message}", status.as_u16());
            if status.as_u16() == 429 || status.is_server_error() {
                let retry_after = seconds.map(|s| s.saturating_mul(1_000));
                Sent::Unavailable { retry_after, error }
            } else {
                Sent::Refused(error)
            }
        }
    })
}
