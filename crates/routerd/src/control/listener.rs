//! The Unix socket: who may connect, how many, for how long.

use std::convert::Infallible;
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::action::journal::Actor;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a client may take for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(15);
/// How long to wait after the system refused a connection for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection, as the kernel says (SO_PEERCRED, unix(7)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    uid: u32,
    pid: Option<i32>,
}

impl Caller {
    /// The one who is held responsible: the user by name, if he has one.
    pub(crate) fn actor(self) -> Actor {
        let user = nix::unistd::User::from_uid(self.uid.into());
        let user = user.ok().flatten();
        Actor {
            name: user.map_or_else(|| "unknown".to_owned(), |user| user.name),
            uid: Some(self.uid),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, " pid {pid}"))
    }
}

/// Makes the socket, mode 0660. A file that a dead daemon left is replaced; that no living one is behind it is
/// for the caller to know.
pub(crate) fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove old socket {}", path.display()));
        }
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)
        .with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))
        .and_then(|()| listener.set_nonblocking(true))
        .with_context(|| format!("set up socket {}", path.display()))?;
    Ok(listener)
}

/// Answers until `stop` says why to stop; then lets the requests that are under way end.
pub(crate) async fn serve<T>(
    listener: UnixListener,
    router: Router,
    stop: impl Future<Output = T>,
) -> T {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let why = tokio::select! {
        never = accept(&listener, &router, &places) => match never {},
        why = stop => why,
    };
    drop(listener);
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(GRACE, places.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("a request takes too long to wait for");
    }
    why
}

async fn accept(listener: &UnixListener, router: &Router, places: &Arc<Semaphore>) -> Infallible {
    loop {
        let place = Arc::clone(places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, router).await {
                        tracing::debug!("connection ended: {error:#}");
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

async fn answer(stream: UnixStream, router: Router) -> Result<()> {
    let peer = stream.peer_cred().context("ask who is calling")?;
    let caller = Caller {
        uid: peer.uid(),
        pid: peer.pid(),
    };
    let service = TowerToHyperService::new(router.layer(axum::Extension(caller)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .context("serve")
}
