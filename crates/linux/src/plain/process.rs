//! The process of a user-space tunnel: a TUN device on one side, a raw or UDP socket on the other.
//!
//! Detached from whoever started it, as the user-space WireGuard is. What it is it was told when it started; its
//! socket only tells, and hands everything over to a process of another build. Packets that are larger than the path
//! are not fragmented if they forbid it: their sender is told.

#[cfg(feature = "fuzz")]
pub mod fuzz;
mod handover;
mod inbound;
mod joined;
mod outbound;
mod outer;
mod partial;
mod quiet;
mod server;
mod too_big;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::IfName;
use nix::net::if_::if_nametoindex;
use routerd_core::encapsulation::PlainTunnel;

use super::header::Header;
use crate::tunnel::gate::Gate;
use crate::tunnel::tun::Tun;
use crate::tunnel::{announce, detach, essential, harden};
use outer::Outer;
use quiet::Quiet;
use server::Server;

pub(super) use server::GET;

/// How often a socket that could not be connected is tried again, until its route is there.
const RECONNECT: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device; it is made if it is not there.
    pub interface: IfName,
    /// What it is.
    pub tunnel: PlainTunnel,
    /// Where its socket is to stand.
    pub socket_dir: PathBuf,
    /// Stay a child of the caller. Otherwise a process in a session of its own goes on, and the call returns.
    pub foreground: bool,
    /// Take the tunnel over from the process that carries it, without losing a packet.
    pub take_over: bool,
}

/// A tunnel while it runs.
struct Carrier {
    tunnel: PlainTunnel,
    /// The index that the underlay had when the socket was bound to it.
    underlay: Option<u32>,
    tun: Tun,
    outer: Outer,
    header: Header,
    /// Shut when another process takes the packets.
    gate: Gate,
    #[expect(dead_code, reason = "held, not read")]
    quiet: Option<Quiet>,
}

impl Carrier {
    fn new(options: &Options, underlay: Option<u32>, outer: Outer, tun: Tun) -> Arc<Self> {
        let tunnel = &options.tunnel;
        let quiet = Quiet::keep(&options.interface, tunnel).unwrap_or_else(|error| {
            // A tunnel towards another end in user space does not need it.
            tracing::warn!(%error, interface = %options.interface, "errors about the other end's packets are not dropped");
            None
        });
        Arc::new(Self {
            tunnel: tunnel.clone(),
            underlay,
            outer,
            tun,
            header: Header::new(tunnel.encapsulation),
            gate: Gate::default(),
            quiet,
        })
    }

    /// What it is. One that is bound to a device that went away says so: nothing can pass it any more.
    fn tells(&self) -> PlainTunnel {
        let mut tunnel = self.tunnel.clone();
        let index = |ifname: &IfName| if_nametoindex(ifname.as_str()).ok();
        if tunnel.underlay.as_ref().and_then(index) != self.underlay {
            tunnel.underlay = None;
        }
        tunnel
    }
}

/// Runs a tunnel. Prints `ready` on standard output and closes it once the tunnel stands, or prints why it cannot.
///
/// In the foreground this returns when the device is deleted, and never otherwise. Must be called before the process
/// has other threads.
///
/// # Errors
/// When the device or one of its sockets cannot be made.
pub fn run(options: &Options) -> io::Result<()> {
    if !options.foreground {
        return detach();
    }
    let started = start(options);
    announce(&started)?;
    let (carrier, server) = started?;
    let place = server.path().to_owned();
    spawn(&carrier, "inbound", |carrier| inbound::run(&carrier))?;
    spawn(&carrier, "connect", |carrier| connect(&carrier))?;
    spawn(&carrier, "tell", move |carrier| server.run(&carrier))?;
    let ended = outbound::run(&carrier);
    server::clear(&place);
    match ended {
        // The device is gone.
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Ok(()),
        other => other,
    }
}

fn start(options: &Options) -> io::Result<(Arc<Carrier>, Server)> {
    harden()?;
    let path = super::socket_path(&options.socket_dir, &options.interface);
    if options.take_over {
        return handover::succeed(options, &path);
    }
    let underlay = match &options.tunnel.underlay {
        Some(ifname) => Some(if_nametoindex(ifname.as_str())?),
        None => None,
    };
    let outer = Outer::open(&options.tunnel)?;
    let tun = Tun::open(&options.interface, 1)?;
    let carrier = Carrier::new(options, underlay, outer, tun);
    Ok((carrier, Server::bind(&path)?))
}

fn spawn(
    carrier: &Arc<Carrier>,
    name: &'static str,
    work: impl FnOnce(Arc<Carrier>) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let carrier = Arc::clone(carrier);
    essential(name, move || work(carrier))
}

/// A route to the other end may come later than the tunnel.
fn connect(carrier: &Carrier) -> io::Result<()> {
    while !carrier.outer.connect() {
        std::thread::sleep(RECONNECT);
    }
    Ok(())
}
