//! The user-space WireGuard process: one device, its TUN queue, its UDP sockets, its configuration socket.
//!
//! Protocol state, handshake and cryptography are `boringtun::noise`; the way of the packets around them is
//! ours. The process is detached from whoever started it and outlives it; the TUN device is persistent and
//! outlives the process.

mod ahead;
mod allowed_ips;
mod bucket;
pub(crate) mod checksum;
mod device;
mod flow;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub(crate) mod gate;
mod handover;
mod handshake;
mod inbound;
pub(crate) mod join;
pub(crate) mod mmsg;
mod outbound;
mod outbox;
mod pace;
mod peer;
pub(crate) mod program;
mod server;
pub(crate) mod split;
pub(crate) mod tun;
pub(crate) mod uapi;
mod udp;
pub(crate) mod urgency;
pub(crate) mod vnet;

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use api::IfName;

use device::Device;
use handover::{Aftermath, Office};
use handshake::Message;
use server::Server;
pub(crate) use server::listen;
use tun::Tun;
use udp::Udp;

/// What a process prints on standard output once its configuration socket stands.
pub(crate) const READY: &str = "ready";

/// How often time alone makes something happen: the protocol counts in seconds.
const TICK: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device; it is made if it is not there.
    pub interface: IfName,
    /// Where its configuration socket is to stand.
    pub uapi_dir: PathBuf,
    /// Stay a child of the caller. Otherwise a process in a session of its own goes on, and the call returns.
    pub foreground: bool,
    /// Take the device over from the process that runs it, without losing a packet.
    pub take_over: bool,
}

/// Runs a device. Prints `ready` on standard output and closes it once the configuration socket stands, or
/// prints why it cannot.
///
/// In the foreground this returns when the device is deleted, and never otherwise. Must be called before
/// the process has other threads.
///
/// # Errors
/// When the device or one of its sockets cannot be made.
pub fn run(options: &Options) -> io::Result<()> {
    if !options.foreground {
        return detach();
    }
    let started = start(options);
    announce(&started)?;
    let (shared, server) = started?;
    carry(&shared, server)
}

/// Starts this program again with the same arguments, in the foreground of a new session, and leaves it to
/// init.
pub(crate) fn detach() -> io::Result<()> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(arguments.next().unwrap_or_else(|| "routerd".into()))
        .args(arguments)
        .arg("--foreground")
        .current_dir("/")
        .stdin(Stdio::null());
    command.spawn().map(drop)
}

/// The device and what configures it.
struct Shared {
    device: Arc<Device>,
    handshakes: SyncSender<Message>,
    /// Where the configuration socket stands.
    path: PathBuf,
    /// What this process runs.
    build: String,
    office: Office,
    aftermath: Aftermath,
}

impl Shared {
    /// Everything about a device, with a thread for its handshakes.
    fn new(device: Device, path: PathBuf) -> io::Result<Arc<Self>> {
        let device = Arc::new(device);
        let (handshakes, messages) = sync_channel(handshake::BACKLOG);
        let shared = Self {
            device: Arc::clone(&device),
            handshakes,
            path,
            build: program::running()?,
            office: Office::default(),
            aftermath: Aftermath::default(),
        };
        essential("handshake", move || {
            handshake::run(&device, &messages);
            Ok(())
        })?;
        Ok(Arc::new(shared))
    }

    /// Applies a request; new sockets get threads that receive from them.
    fn set(&self, request: uapi::SetDevice) -> io::Result<()> {
        let mut duty = self.office.duty();
        if duty.retired {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        duty.changes += 1;
        if let Some(port) = request.listen_port {
            self.listen(port)?;
        }
        self.device.set(request)
    }

    fn listen(&self, port: u16) -> io::Result<()> {
        if port == 0 || port != self.device.udp.port() {
            // It holds the port that is left.
            self.aftermath.dismiss();
        }
        let sockets = self.device.udp.listen(port)?;
        self.receive_from(sockets)
    }

    fn receive_from(&self, sockets: impl IntoIterator<Item = Arc<udp::Socket>>) -> io::Result<()> {
        for socket in sockets {
            let device = Arc::clone(&self.device);
            let handshakes = self.handshakes.clone();
            essential("inbound", move || {
                inbound::run(&device, &socket, &handshakes)
            })?;
        }
        Ok(())
    }
}

fn start(options: &Options) -> io::Result<(Arc<Shared>, Server)> {
    harden()?;
    let path = crate::wireguard::socket_path(&options.uapi_dir, &options.interface);
    if options.take_over {
        return handover::succeed(&options.interface, path);
    }
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tun = Tun::open(&options.interface, lanes)?;
    let shared = Shared::new(Device::new(tun, Udp::new())?, path)?;
    shared.listen(0)?;
    let server = Server::bind(&shared.path)?;
    let device = Arc::clone(&shared.device);
    essential("timers", move || tick(&device))?;
    Ok((shared, server))
}

/// Keys in memory are nobody else's business, and a thread that panics takes the process with it: a new one
/// finds the device as this one leaves it.
pub(crate) fn harden() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    // A process that is started from a shell is not to end with it; one that leads a session already may.
    let _ = nix::unistd::setsid();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    Ok(())
}

/// Tells whoever started us how it went, and lets go of him.
pub(crate) fn announce<T>(started: &io::Result<T>) -> io::Result<()> {
    let word = match started {
        Ok(_) => READY.to_owned(),
        Err(error) => error.to_string(),
    };
    let mut stdout = io::stdout();
    // He may have gone already, which is no reason to end.
    let _ = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(null)?;
    Ok(())
}

/// Works until the device is deleted, which shows as a descriptor in a bad state.
fn carry(shared: &Arc<Shared>, server: Server) -> io::Result<()> {
    let place = server.place()?;
    {
        let shared = Arc::clone(shared);
        essential("uapi-accept", move || server.run(&shared))?;
    }
    let ended = outbound::run(&shared.device);
    place.clear();
    match ended {
        Err(error) if error.raw_os_error() != Some(libc::EBADFD) => Err(error),
        _ => Ok(()),
    }
}

/// A thread without which the process is of no use.
pub(crate) fn essential(
    name: &'static str,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        if let Err(error) = work() {
            // The device that is gone is noticed, and orderly ended for, by the thread that reads from it.
            if error.raw_os_error() != Some(libc::EBADFD) {
                tracing::error!(thread = name, %error, "cannot go on");
                std::process::abort();
            }
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)?;
    Ok(())
}

/// What is due by time, for every peer.
fn tick(device: &Device) -> io::Result<()> {
    loop {
        std::thread::sleep(TICK);
        let _turn = device.gate.enter();
        tick_once(device);
    }
}

/// What is due now.
fn tick_once(device: &Device) {
    let mut dst = [0; peer::HANDSHAKE_SPACE];
    // Only padding depends on it. A device that is gone or has another name is dealt with elsewhere.
    let _ = device.tun.refresh_mtu();
    let tables = device.tables();
    let Some(identity) = tables.identity() else {
        return;
    };
    identity.gate.reset_count();
    for peer in tables.peers() {
        let mut state = peer.lock();
        let due = state.tick(&mut dst);
        if let (Some(length), Some(endpoint)) = (due, state.endpoint) {
            drop(state);
            device.udp.send(&dst[..length], endpoint);
        }
    }
}
