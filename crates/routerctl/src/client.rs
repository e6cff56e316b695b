//! HTTP/1.1 over the daemon's Unix socket, one connection a request.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use api::control::Failure as Refusal;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::failure::Failure;

/// Longer than the daemon's own limit, so that its word is heard.
const TIMEOUT: Duration = Duration::from_secs(90);

/// A way to the daemon.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon behind a socket; nothing is opened yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for something.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(&Method::GET, path, Bytes::new())
    }

    /// Asks for something that is no JSON.
    pub(crate) fn get_octets(&self, path: &str) -> Result<Bytes, Failure> {
        let send = self.send(&Method::GET, path, Bytes::new());
        let send = async { tokio::time::timeout(TIMEOUT, send).await };
        let (status, body) = runtime(path)?.block_on(send).map_err(protocol(path))??;
        match status.is_success() {
            true => Ok(body),
            false => answer(path, status, &body),
        }
    }

    /// Hands something over.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(protocol(path))?;
        self.ask(&Method::POST, path, body.into())
    }

    /// Hands something over that may take as long as it takes: the daemon's end shows.
    pub(crate) fn post_slowly<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(protocol(path))?;
        let send = self.send(&Method::POST, path, body.into());
        let (status, body) = runtime(path)?.block_on(send)?;
        answer(path, status, &body)
    }

    /// Hands something over and hears of its progress, line by line.
    pub(crate) fn post_and_follow<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut hear: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let body = serde_json::to_vec(body).map_err(protocol(path))?;
        let follow = async {
            let response = self.request(&Method::POST, path, body.into()).await?;
            let status = response.status();
            let mut body = response.into_body();
            let mut text = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| unheard(path))?;
                text.extend(frame.data_ref().into_iter().flatten());
                while status.is_success()
                    && let Some(end) = text.iter().position(|byte| *byte == b'\n')
                {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    hear(serde_json::from_slice(&line).map_err(protocol(path))?)?;
                }
            }
            match status.is_success() {
                true => Ok(()),
                false => answer(path, status, &text),
            }
        };
        runtime(path)?.block_on(follow)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let send = async { tokio::time::timeout(TIMEOUT, self.send(method, path, body)).await };
        let (status, body) = runtime(path)?.block_on(send).map_err(protocol(path))??;
        answer(path, status, &body)
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let response = self.request(method, path, body).await?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|_| unheard(path))?;
        Ok((status, body.to_bytes()))
    }

    async fn request(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(protocol(path))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "routerd")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(protocol(path))?;
        sender
            .send_request(request)
            .await
            .map_err(|_| unheard(path))
    }

    fn unreachable(&self, source: io::Error) -> Failure {
        Failure::Unreachable {
            socket: self.socket.clone(),
            source,
        }
    }
}

fn runtime(path: &str) -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(protocol(path))
}

/// What a whole answer says.
fn answer<T: DeserializeOwned>(path: &str, status: StatusCode, body: &[u8]) -> Result<T, Failure> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(protocol(path));
    }
    let refusal: Refusal = serde_json::from_slice(body).map_err(|_| Failure::Protocol {
        request: path.to_owned(),
        reason: format!("answered {status}"),
    })?;
    Err(Failure::Refused(refusal))
}

/// The connection ended too early: the daemon ended, since nothing else closes it.
fn unheard(request: &str) -> Failure {
    Failure::Protocol {
        request: request.to_owned(),
        reason: "the daemon ended before it answered".to_owned(),
    }
}

fn protocol<E: fmt::Display>(request: &str) -> impl FnOnce(E) -> Failure {
    let request = request.to_owned();
    move |error| Failure::Protocol {
        request,
        reason: error.to_string(),
    }
}
