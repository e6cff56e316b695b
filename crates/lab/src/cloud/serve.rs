//! A cloud behind HTTP/1.1, in the clear or over TLS.
//!
//! Sockets are handed in, so that a caller can open them in a namespace. Each server is one thread with its
//! own small runtime; dropping the [`Server`] ends it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::{Cloud, Request, Response};
use crate::fabric::forward::Engine;
use crate::fabric::{FabricState, NicId};

/// The largest body accepted, in bytes.
const MAX_BODY: usize = 4 << 20;
/// How often operations in progress are looked at when nobody asks.
const TICK: Duration = Duration::from_millis(50);

/// Access to the table that the fabric's packets are decided from.
pub trait Table: Send + Sync {
    /// Runs `work` while nobody else uses the table.
    fn with(&self, work: &mut dyn FnMut(&mut FabricState));
}

impl Table for RwLock<FabricState> {
    fn with(&self, work: &mut dyn FnMut(&mut FabricState)) {
        work(&mut self.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A fabric of a running engine.
pub struct InFabric {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The fabric's name in it.
    pub fabric: String,
}

impl Table for InFabric {
    fn with(&self, work: &mut dyn FnMut(&mut FabricState)) {
        if let Some(state) = self.engine.state(&self.fabric) {
            Table::with(state, work);
        }
    }
}

/// Tells which NIC a connection comes from.
pub type Origin = Box<dyn Fn(SocketAddr) -> Option<NicId> + Send + Sync>;

/// The NIC that holds the caller's address: inside a fabric nobody can send from another's.
pub fn by_address(table: Arc<dyn Table>) -> Origin {
    Box::new(move |peer| {
        let IpAddr::V4(address) = peer.ip() else {
            return None;
        };
        let mut nic = None;
        table.with(&mut |fabric| nic = fabric.holder(address).cloned());
        nic
    })
}

/// A cloud with its table and its clock; several servers may share one.
pub struct Service<C> {
    cloud: Mutex<C>,
    table: Arc<dyn Table>,
    began: Instant,
}

impl<C: Cloud> Service<C> {
    /// Puts a cloud in front of a table.
    pub fn new(cloud: C, table: Arc<dyn Table>) -> Arc<Self> {
        Arc::new(Self {
            cloud: Mutex::new(cloud),
            table,
            began: Instant::now(),
        })
    }

    /// Runs `work` on the cloud, with the time it goes by.
    pub fn with<T>(&self, work: impl FnOnce(&mut C, Duration) -> T) -> T {
        let mut cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut cloud, self.began.elapsed())
    }

    /// Answers a request; with `control`, also what is asked of the lab.
    pub(super) fn answer(&self, request: &Request, control: bool) -> super::Reply {
        self.with(|cloud, now| {
            if control && request.path.starts_with("/lab/") {
                return super::knobs::answer(&mut *cloud, now, request).into();
            }
            let mut reply = None;
            self.table
                .with(&mut |fabric| reply = Some(cloud.handle(fabric, now, request)));
            reply.unwrap_or_else(|| Response::empty(500).into())
        })
    }

    fn tick(&self) {
        self.with(|cloud, now| self.table.with(&mut |fabric| cloud.advance(fabric, now)));
    }
}

/// How a server listens.
pub struct Listening {
    /// The socket, bound and listening.
    pub socket: TcpListener,
    /// With a certificate: HTTPS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who a connection comes from.
    pub origin: Origin,
    /// Whether `/lab/` is served here too.
    pub control: bool,
}

/// A running server.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve.
    ///
    /// # Errors
    /// When the socket cannot be used or no thread be started.
    pub fn start<C: Cloud + Send + 'static>(
        service: Arc<Service<C>>,
        listening: Listening,
    ) -> std::io::Result<Self> {
        listening.socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("lab-cloud".to_owned())
            .spawn(move || runtime.block_on(run(service, listening, stopped)))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A thread that has ended already has nobody listening.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run<C: Cloud + Send + 'static>(
    service: Arc<Service<C>>,
    listening: Listening,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(socket) = tokio::net::TcpListener::from_std(listening.socket) else {
        return;
    };
    let acceptor = listening.tls.map(TlsAcceptor::from);
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let origin: Arc<Origin> = Arc::new(listening.origin);
    let mut tick = tokio::time::interval(TICK);
    loop {
        let (stream, peer) = tokio::select! {
            _ = stopped.changed() => return,
            _ = tick.tick() => {
                service.tick();
                continue;
            }
            accepted = socket.accept() => match accepted {
                Ok(accepted) => accepted,
                // The peer was faster, or descriptors are short: others may still get through.
                Err(_) => continue,
            },
        };
        let caller = Caller {
            service: service.clone(),
            from: origin(peer),
            scheme,
            control: listening.control,
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                None => connection(caller, stream).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(caller, stream).await;
                    }
                }
            }
        });
    }
}

/// One connection.
struct Caller<C> {
    service: Arc<Service<C>>,
    from: Option<NicId>,
    scheme: &'static str,
    control: bool,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct Lost;

async fn connection<C, S>(caller: Caller<C>, stream: S)
where
    C: Cloud + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| exchange(&caller, request));
    // A peer that hangs up, and an answer lost on purpose, end here alike.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn exchange<C: Cloud>(
    caller: &Caller<C>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(_) => return Ok(plain(&Response::empty(413))),
    };
    let host = head
        .headers
        .get("host")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("localhost");
    let request = Request {
        method: head.method.as_str().to_owned(),
        base: format!("{}://{host}", caller.scheme),
        path: decode(head.uri.path(), false),
        query: head.uri.query().map(pairs).unwrap_or_default(),
        headers: head
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect(),
        body,
        from: caller.from.clone(),
    };
    let reply = caller.service.answer(&request, caller.control);
    tokio::time::sleep(reply.after).await;
    reply.response.as_ref().map(plain).ok_or(Lost)
}

fn plain(response: &Response) -> hyper::Response<Full<Bytes>> {
    let mut builder = hyper::Response::builder().status(response.status);
    for (name, value) in &response.headers {
        builder = builder.header(name, value);
    }
    builder
        .body(Full::new(Bytes::from(response.body.clone())))
        .unwrap_or_else(|_: hyper::http::Error| internal_error())
}

fn internal_error() -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn pairs(query: &str) -> std::collections::BTreeMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

/// Undoes percent-encoding (RFC 3986 §2.1), and `+` for a space in a query.
fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, escaped) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            (b'+', _) if plus => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_the_address_that_its_nic_holds() {
        let (_, fabric) = crate::cloud::azure::example::example().expect("the example is valid");
        let origin = by_address(Arc::new(RwLock::new(fabric)));
        let nic = |address: &str| origin(address.parse().expect("an address")).map(|nic| nic.0);
        assert_eq!(nic("10.77.60.4:5000").as_deref(), Some("ce-router-nic"));
        assert_eq!(nic("10.77.60.9:5000"), None);
        assert_eq!(nic("[::1]:5000"), None);
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("/a%20b%2", false), "/a b%2");
        let query = pairs("api-version=1&%24filter=roleName+eq+%27x%27&flag");
        assert_eq!(
            query.get("$filter").map(String::as_str),
            Some("roleName eq 'x'")
        );
        assert_eq!(query.get("flag").map(String::as_str), Some(""));
    }
}
