//! A new build takes a device over while traffic runs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use linux::wireguard::Drivers;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use routerd_core::observed::{Build, Driver};
use tempfile::TempDir;

use super::site::{Site, Stop, connected, eventually, program};
use crate::namespace::fresh;

/// Probes in one direction, 1,000 a second.
const PROBES: usize = 2_500;

/// The same program in a file of its own is another build.
pub struct NewBuild {
    pub drivers: Drivers,
    _dir: TempDir,
}

pub fn new_build(site: &Site) -> NewBuild {
    let dir = TempDir::new().expect("directory");
    let file = dir.path().join("tunnel");
    std::fs::copy(program(), &file).expect("copy");
    let sockets = site.socket();
    let sockets = sockets.parent().expect("directory");
    NewBuild {
        drivers: Drivers::new(file).with_socket_dir(sockets),
        _dir: dir,
    }
}

impl NewBuild {
    fn take_over(&self, site: &Site) {
        site.inside(|| self.drivers.take_over(&site.ifname));
    }

    fn sees(&self, site: &Site) -> Build {
        site.observe_with(&self.drivers).expect("device").build
    }
}

pub fn running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    state.is_some_and(|state| state != "Z")
}

pub fn probe(site: &Site, address: &str) -> Child {
    site.spawn(&format!(
        "exec ping -n -q -i 0.001 -c {PROBES} -W 2 {address} > /run/ping-$$"
    ))
}

#[track_caller]
pub fn all_came_back(site: &Site, mut ping: Child) {
    let pid = ping.id();
    ping.wait().expect("ping");
    let result = site.run(&format!("cat /run/ping-{pid}"));
    assert!(result.contains(&format!(" {PROBES} received")), "{result}");
}

/// Segments that TCP sent again in the namespace of a site, and those of them that the other end then had twice: they
/// had only come late.
pub fn sent_again(site: &Site) -> (u64, u64) {
    let counters = site.run("cat /proc/net/snmp /proc/net/netstat");
    let counter = |group: &str, name: &str| -> u64 {
        let lines = counters.lines().filter(|line| line.starts_with(group));
        let mut lines = lines.map(str::split_whitespace);
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let mut pairs = names.zip(values);
        let found = pairs.find(|(found, _)| *found == name).expect("counter");
        found.1.parse().expect("number")
    };
    let twice = counter("TcpExt:", "TCPDSACKRecvSegs");
    (counter("Tcp:", "RetransSegs"), twice)
}

/// Sends 60 kB in each `period` over one connection until told to stop; returns how many bytes arrived, all as they were.
pub fn stream(from: &Site, to: &Site, address: &str, period: Duration, stop: &AtomicBool) -> usize {
    let target: SocketAddr = format!("{address}:7000").parse().expect("address");
    let listener = to.inside(|| TcpListener::bind(target)).expect("listen");
    let mut sender = from.inside(|| TcpStream::connect(target)).expect("connect");
    let (mut receiver, _) = listener.accept().expect("accept");
    let patience = Some(Duration::from_secs(10));
    sender.set_write_timeout(patience).expect("timeout");
    receiver.set_read_timeout(patience).expect("timeout");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let block: Vec<u8> = (0..=250).collect();
            let block = block.repeat(240);
            let mut due = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                sender.write_all(&block).expect("send");
                due += period;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            sender.shutdown(Shutdown::Write).expect("shut down");
        });
        let mut buffer = vec![0; 64 * 1024];
        let mut arrived = 0;
        loop {
            let count = receiver.read(&mut buffer).expect("receive");
            if count == 0 {
                return arrived;
            }
            for byte in &buffer[..count] {
                assert_eq!(usize::from(*byte), arrived % 251, "at byte {arrived}");
                arrived += 1;
            }
        }
    })
}

#[test]
fn a_new_build_takes_over_under_traffic_and_nothing_is_lost() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let before = [sent_again(&a), sent_again(&b)];
        let (stop, old) = (AtomicBool::new(false), a.pid());
        std::thread::scope(|scope| {
            // Also if this fails halfway: the scope waits for its threads.
            let stopped = Stop(&stop);
            let inward =
                scope.spawn(|| stream(&b, &a, "10.9.0.1", Duration::from_millis(2), &stop));
            let (outgoing, incoming) = (probe(&a, "10.9.0.2"), probe(&b, "10.9.0.1"));
            eventually("traffic runs", || {
                (a.observe().expect("device").peers.values().next()?.rx_bytes > 2_000_000)
                    .then_some(())
            });
            let build = new_build(&a);
            assert_eq!(build.sees(&a), Build::Other);
            let started = Instant::now();
            build.take_over(&a);
            println!("taken over within {:?}", started.elapsed());
            assert_eq!(build.sees(&a), Build::Current);
            assert_ne!(a.pid(), old, "another process answers");
            // And the other end, while the first still has its predecessor.
            let build = new_build(&b);
            build.take_over(&b);
            assert_eq!(build.sees(&b), Build::Current);
            all_came_back(&a, outgoing);
            all_came_back(&b, incoming);
            drop(stopped);
            println!("{} bytes by TCP", inward.join().expect("stream"));
        });
        for (site, before) in [&a, &b].into_iter().zip(before) {
            let after = sent_again(site);
            let (again, twice) = (after.0 - before.0, after.1 - before.1);
            println!("TCP segments sent again: {again}, received twice: {twice}");
            assert_eq!(again, twice);
        }
        eventually("the old process ends", || (!running(old)).then_some(()));
        a.reaches("10.9.0.2");
    });
}

#[test]
fn statistics_settings_and_open_connections_go_over() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let mut keep =
            super::site::peer_change(b.public_key(), &["10.9.0.2/32", "10.50.0.0/16"], None);
        for change in keep.peers.values_mut() {
            if let routerd_core::plan::PeerChange::Set {
                persistent_keepalive,
                ..
            } = change
            {
                *persistent_keepalive = Some(25);
            }
        }
        a.set(&keep);
        assert!(super::site::transfers(&a, &b, "10.9.0.2", 200_000));
        let mut client = std::os::unix::net::UnixStream::connect(a.socket()).expect("connect");
        let mut ask = |request: &str| {
            client.write_all(request.as_bytes()).expect("request");
            let mut answer = Vec::new();
            let mut chunk = [0; 4096];
            while !answer.ends_with(b"\n\n") {
                let count = client.read(&mut chunk).expect("answer");
                assert_ne!(count, 0);
                answer.extend_from_slice(&chunk[..count]);
            }
            String::from_utf8(answer).expect("text")
        };
        ask("get=1\n\n");
        let (mut before, old) = (a.observe().expect("device"), a.pid());
        new_build(&a).take_over(&a);
        assert_ne!(a.pid(), old, "another process answers");
        let mut after = a.observe().expect("device");
        for device in [&mut before, &mut after] {
            device.build = Build::Current;
        }
        let peer = |device: &routerd_core::observed::WireGuardDevice| {
            device.peers[&b.public_key()].clone()
        };
        let (was, is) = (peer(&before), peer(&after));
        assert!(
            is.rx_bytes >= was.rx_bytes && is.tx_bytes >= was.tx_bytes,
            "{was:?} {is:?}"
        );
        assert!(is.tx_bytes < was.tx_bytes + 2_000, "{was:?} {is:?}");
        assert_eq!(is.allowed_ips, was.allowed_ips);
        assert_eq!((is.endpoint, is.persistent_keepalive), (was.endpoint, 25));
        assert_eq!(
            (after.listen_port, after.public_key),
            (before.listen_port, before.public_key)
        );
        // A connection that the old process accepted speaks to the new one by now.
        assert_eq!(ask("set=1\nfwmark=7\n\n"), "errno=0\n\n");
        assert!(a.run("wg show wg0 fwmark").contains("0x7"));
        // The old process does not hold a port that is left.
        let change = routerd_core::plan::WireGuardChange {
            listen_port: Some(51_999),
            ..Default::default()
        };
        a.set(&change);
        assert_eq!(a.observe().expect("device").listen_port, 51_999);
        a.inside(|| std::net::UdpSocket::bind("0.0.0.0:51820"))
            .expect("the old port is free");
        a.reaches("10.9.0.2");
    });
}

#[test]
fn a_take_over_that_fails_leaves_the_old_process_at_work() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let old = a.pid();
        let ping = probe(&a, "10.9.0.2");
        // Handshakes do not get out any more, data does.
        b.run(
            "nft add table inet t; nft 'add chain inet t in { type filter hook input priority 0; }'; \
             nft add rule inet t in udp dport 51820 udp length 156 drop",
        );
        let build = new_build(&a);
        std::thread::scope(|scope| {
            let attempt = scope.spawn(|| build.take_over(&a));
            // The successor is killed while it waits for the peer.
            let marker = format!("{}", a.socket().with_extension("next").display());
            let successor = eventually("a successor", || {
                let socket = a.socket();
                let dir = socket.parent()?.display();
                // The brackets keep the shell that says this from being found.
                let look = format!("pgrep -f -- '{dir} [-]-take-over --foreground'");
                let out = a.try_run(&look).ok()?;
                let pid: i32 = out.split_whitespace().next()?.parse().ok()?;
                std::path::Path::new(&marker).exists().then_some(pid)
            });
            assert_eq!(build.sees(&a), Build::Other, "the old one answers");
            kill(Pid::from_raw(successor), Signal::SIGKILL).expect("kill");
            attempt.join().expect("attempt");
        });
        assert!(
            matches!(build.sees(&a), Build::Kept(_)),
            "not tried at once again"
        );
        assert_eq!(a.pid(), old);
        all_came_back(&a, ping);

        b.run("nft delete table inet t");
        let build = new_build(&a);
        build.take_over(&a);
        assert_eq!(build.sees(&a), Build::Current);
        // One at a time: the old process is still there for what comes late.
        let next = new_build(&a);
        next.take_over(&a);
        let Build::Kept(reason) = next.sees(&a) else {
            panic!("a second one at the same time");
        };
        assert!(reason.contains("not over yet"), "{reason}");
        a.reaches("10.9.0.2");
    });
}
