//! Two network namespaces with a link between them, and a WireGuard device in each.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::IfName;
use linux::namespace::Namespaces;
use linux::netlink::{Socket, link};
use linux::wireguard::{Drivers, WireGuardError};
use routerd_core::key::{KeySource, PublicKey, SecretKey};
use routerd_core::observed::{Driver, WireGuardDevice};
use routerd_core::plan::{AllowedIpsChange, PeerChange, WireGuardChange};
use tempfile::TempDir;

/// How long anything may take to become true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so, and says what it waited for if it never is.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Tells threads of a scope to stop, also when the test fails: the scope waits for them.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A network and mount namespace; it goes with this value.
pub struct Site {
    holder: Child,
    namespaces: Namespaces,
    sockets: TempDir,
    pub drivers: Drivers,
    pub ifname: IfName,
    pub key: SecretKey,
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed halfway leaves its device to the namespace; its process ends with the link.
        let others = ["t0", "t1", "wg1"].map(|name| name.parse().expect("name"));
        for ifname in std::iter::once(self.ifname.clone()).chain(others) {
            let drivers = self.drivers.clone();
            let _ = self.inside(move || drivers.delete(&ifname).map_err(drop));
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Site {
    fn new(key: u8) -> Self {
        let sockets = TempDir::new().expect("directory");
        let script = "mount -t tmpfs none /run; mkdir -p /run/wireguard; \
                      mount --bind \"$0\" /run/wireguard; ip link set lo up; echo up; exec cat";
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-ec", script])
            .arg(sockets.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut up = [0; 3];
        let stdout = holder.stdout.as_mut().expect("stdout");
        stdout.read_exact(&mut up).expect("namespace");
        Self {
            namespaces: Namespaces::of_process(holder.id()).expect("namespaces"),
            holder,
            drivers: Drivers::new(program()).with_socket_dir(sockets.path()),
            sockets,
            ifname: "wg0".parse().expect("name"),
            key: secret(key),
        }
    }

    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Does something in the network namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespaces.in_network(work).expect("enter")
    }

    /// Runs a command line and returns what it printed.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        self.try_run(command)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    pub fn try_run(&self, command: &str) -> Result<String, String> {
        let output = Command::new("nsenter")
            .args(["-n", "-m", "-t", &self.holder.id().to_string()])
            .args(["sh", "-ec", command])
            .output()
            .expect("nsenter");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr) + &text(&output.stdout)),
        }
    }

    /// Starts a program that stays.
    pub fn spawn(&self, command: &str) -> Child {
        Command::new("nsenter")
            .args(["-n", "-m", "-t", &self.holder.id().to_string()])
            .args(["sh", "-ec", command])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter")
    }

    pub fn create(&self, driver: Driver) -> Result<(), WireGuardError> {
        self.inside(|| self.drivers.create(&self.ifname, driver))
    }

    #[track_caller]
    pub fn set(&self, change: &WireGuardChange) {
        self.inside(|| self.drivers.set(&self.ifname, change))
            .expect("set");
    }

    /// The device, if it is there.
    pub fn observe(&self) -> Option<WireGuardDevice> {
        self.observe_with(&self.drivers)
    }

    /// The device as a daemon of another build sees it.
    pub fn observe_with(&self, drivers: &Drivers) -> Option<WireGuardDevice> {
        self.inside(|| {
            let mut socket = Socket::open(0).expect("netlink");
            let entries = link::dump(&mut socket).expect("links");
            let links = entries.into_iter().map(|entry| (entry.name, entry.link));
            let links: BTreeMap<_, _> = links.collect();
            drivers
                .observe(&links)
                .expect("observe")
                .remove(&self.ifname)
        })
    }

    pub fn socket(&self) -> PathBuf {
        self.sockets.path().join("wg0.sock")
    }

    /// The process behind the device.
    pub fn pid(&self) -> i32 {
        peer_pid(&self.socket())
    }

    /// The process of a plain tunnel.
    pub fn plain_pid(&self, ifname: &str) -> i32 {
        let socket = format!("tunnels/{ifname}.sock");
        peer_pid(&self.sockets.path().join(socket))
    }

    /// Whether one ping is answered within a second.
    pub fn pings(&self, address: &str) -> bool {
        self.try_run(&format!("ping -n -c1 -W1 {address}")).is_ok()
    }

    #[track_caller]
    pub fn reaches(&self, address: &str) {
        eventually(&format!("{address} answers"), || {
            self.pings(address).then_some(())
        });
    }
}

fn peer_pid(socket: &std::path::Path) -> i32 {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let stream = std::os::unix::net::UnixStream::connect(socket).expect("connect");
    getsockopt(&stream, PeerCredentials)
        .expect("credentials")
        .pid()
}

/// The stand-alone device program, which `cargo test` builds beside the tests.
pub fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("own path");
    let program = tests
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target directory");
    let program = program.join("examples/tunnel");
    assert!(
        program.exists(),
        "build it: cargo build -p routerd-linux --example tunnel"
    );
    program
}

pub fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32])
}

/// Two sites with an underlay between them and nothing more.
pub fn underlay() -> (Site, Site) {
    let (left, right) = (Site::new(1), Site::new(2));
    left.run(&format!(
        "ip link add under type veth peer name under netns {}",
        right.holder.id()
    ));
    for (site, number) in [(&left, 1), (&right, 2)] {
        site.run(&format!(
            "ip addr add 192.0.2.{number}/24 dev under; ip link set under up"
        ));
    }
    (left, right)
}

/// Addresses and the link state that a device needs.
pub fn address(site: &Site, number: u8) {
    site.run(&format!(
        "ip addr add 10.9.0.{number}/24 dev wg0; \
         ip addr add fd09::{number}/64 dev wg0 nodad; ip link set wg0 mtu 1420 up"
    ));
}

/// The whole picture at the head of these tests.
pub fn connected(left: Driver, right: Driver) -> (Site, Site) {
    let (a, b) = underlay();
    a.create(left).expect("create");
    b.create(right).expect("create");
    a.set(&introduction(&a, &b, 2));
    b.set(&introduction(&b, &a, 1));
    address(&a, 1);
    address(&b, 2);
    a.reaches("10.9.0.2");
    (a, b)
}

/// Everything that `me` has to know to talk to `other`.
pub fn introduction(me: &Site, other: &Site, number: u8) -> WireGuardChange {
    let nets = [format!("10.9.0.{number}/32"), format!("fd09::{number}/128")];
    let endpoint = SocketAddr::from(([192, 0, 2, number], 51_820));
    let mut change = peer_change(other.public_key(), &[&nets[0], &nets[1]], Some(endpoint));
    change.private_key = Some(KeySource::Inline(me.key.clone()));
    change.listen_port = Some(51_820);
    change
}

/// A change of one peer: its new prefixes, all of them.
pub fn peer_change(key: PublicKey, nets: &[&str], endpoint: Option<SocketAddr>) -> WireGuardChange {
    let all: std::collections::BTreeSet<_> = nets
        .iter()
        .map(|net| net.parse().expect("prefix"))
        .collect();
    let set = PeerChange::Set {
        preshared_key: None,
        allowed_ips: Some(AllowedIpsChange {
            add: all.clone(),
            all,
            ..AllowedIpsChange::default()
        }),
        endpoint,
        persistent_keepalive: None,
    };
    WireGuardChange {
        peers: BTreeMap::from([(key, set)]),
        ..WireGuardChange::default()
    }
}

/// Sends bytes over TCP from one site to the other and returns whether they arrived as they were.
pub fn transfers(from: &Site, to: &Site, address: &str, bytes: usize) -> bool {
    let data: Vec<u8> = (0..bytes)
        .map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8)
        .collect();
    let target: SocketAddr = format!("{address}:7000").parse().expect("address");
    let listener = to.inside(|| TcpListener::bind(target)).expect("listen");
    let connect = || TcpStream::connect_timeout(&target, PATIENCE);
    let mut sender = from.inside(connect).expect("connect");
    // A connection that was reset is never accepted.
    listener.set_nonblocking(true).expect("set");
    let (mut receiver, _) = eventually("a connection to accept", || listener.accept().ok());
    receiver.set_nonblocking(false).expect("set");
    for stream in [&sender, &receiver] {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&data).expect("send");
            sender
                .shutdown(std::net::Shutdown::Write)
                .expect("shut down");
        });
        let mut received = Vec::with_capacity(bytes);
        receiver.read_to_end(&mut received).expect("receive");
        received == data
    })
}
