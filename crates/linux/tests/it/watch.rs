//! Every change that matters wakes, and soon.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::{Duration, Instant};

use linux::watch::{Wake, watch};
use linux::wireguard::Drivers;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use routerd_core::observed::Driver;

use crate::namespace::{fresh, run};
use crate::wireguard::program;

/// What the product promises; typical times are far below.
const LIMIT: Duration = Duration::from_millis(200);

fn start(drivers: Drivers) -> Receiver<Wake> {
    let (wake, woken) = channel();
    watch(drivers, move |why| {
        // The thread lives as long as the process, the receiver only as long as the test.
        let _ = wake.send(why);
    })
    .expect("watch");
    woken
}

/// Runs a command and returns how long after its end, or before, the wake came.
#[track_caller]
fn time_to(wanted: Wake, woken: &Receiver<Wake>, command: &str) -> Duration {
    while woken.try_recv().is_ok() {}
    run(command);
    let done = Instant::now();
    loop {
        let left = LIMIT.saturating_sub(done.elapsed());
        match woken.recv_timeout(left) {
            Ok(why) if why == wanted => return done.elapsed(),
            Ok(_) => {}
            Err(_) => panic!("no {wanted:?} within {LIMIT:?} after: {command}"),
        }
    }
}

#[test]
fn changes_wake_in_time() {
    fresh(|| {
        let woken = start(Drivers::new("routerd"));
        let cases = [
            (
                Wake::Link,
                "ip link add lan type veth peer name far; ip link set far up",
            ),
            (Wake::Link, "ip link set lan up"),
            (Wake::Sysctl, "sysctl -qw net.ipv4.conf.lan.forwarding=1"),
            (Wake::Sysctl, "sysctl -qw net.ipv4.conf.lan.rp_filter=1"),
            (Wake::Address, "ip addr add 10.0.0.1/24 dev lan"),
            (Wake::Address, "ip addr add 10.0.0.9/32 dev lan"),
            (Wake::Address, "ip addr del 10.0.0.9/32 dev lan"),
            (
                Wake::Route,
                "ip route add 10.0.0.9/32 dev lan metric 120 proto 82",
            ),
            (
                Wake::Route,
                "ip route replace 10.0.0.9/32 dev far metric 120",
            ),
            (Wake::Route, "ip route del 10.0.0.9/32"),
            (Wake::Route, "ip rule add from 10.0.0.9 table 100"),
            (Wake::Neighbour, "ip neigh add proxy 10.0.0.9 dev lan"),
            (Wake::Neighbour, "ip neigh del proxy 10.0.0.9 dev lan"),
            (Wake::Firewall, "nft add table inet routerd_mss"),
            (Wake::Firewall, "nft add chain inet routerd_mss forward"),
            (
                Wake::Firewall,
                "nft add rule inet routerd_mss forward counter",
            ),
            (Wake::Firewall, "nft flush ruleset"),
            (Wake::Link, "ip link set lan mtu 1300"),
            (Wake::Link, "ip link del lan"),
        ];
        let mut times: Vec<Duration> = cases
            .iter()
            .map(|(wanted, command)| time_to(*wanted, &woken, command))
            .collect();
        times.sort_unstable();
        println!("{times:?}");
        assert!(times[times.len() / 2] < Duration::from_millis(50));
    });
}

#[test]
fn the_host_firewall_of_others_wakes_nobody() {
    fresh(|| {
        let woken = start(Drivers::new("routerd"));
        run(
            "nft add table inet theirs; nft add set inet theirs s '{ type ipv4_addr; }'; \
             nft add element inet theirs s '{ 10.0.0.1 }'; nft delete table inet theirs",
        );
        // Had one of those counted, it would be here before this.
        run("ip link add lan type veth peer name far");
        let mut heard = Vec::new();
        while heard.last() != Some(&Wake::Link) {
            heard.push(woken.recv_timeout(LIMIT).expect("link"));
        }
        assert!(!heard.contains(&Wake::Firewall), "{heard:?}");
    });
}

#[test]
fn what_was_lost_is_said() {
    fresh(|| {
        // Each wake waits until it is taken, and with it the thread that should read on.
        let (wake, woken) = sync_channel(0);
        watch(Drivers::new("routerd"), move |why| {
            let _ = wake.send(why);
        })
        .expect("watch");
        run(
            "ip link add lan type veth peer name far; ip link set lan up; \
             seq 1 8000 | awk '{ printf \"route add 10.%d.%d.%d dev lan\\n\", \
             $1/65536, $1/256%256, $1%256 }' | ip -batch -",
        );
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if woken.recv_timeout(LIMIT) == Ok(Wake::Overrun) {
                return;
            }
        }
        panic!("no word of the loss");
    });
}

#[test]
fn the_end_of_a_tunnel_process_wakes() {
    fresh(|| {
        let sockets = tempfile::tempdir().expect("directory");
        let drivers = Drivers::new(program()).with_socket_dir(sockets.path());
        let tunnel = "wg0".parse().expect("interface name");
        let start_tunnel = || {
            let created = drivers.create(&tunnel, Driver::UserSpace);
            created.expect("create");
        };
        start_tunnel();
        run("ip link set wg0 up");
        // One that was there before, and one that comes later.
        let woken = start(drivers.clone());
        for table in [101, 102] {
            // When this is heard, so is the link.
            let rule = format!("ip rule add from 10.0.0.9 table {table}");
            time_to(Wake::Route, &woken, &rule);
            let kill = format!("kill -9 {}", process(&sockets.path().join("wg0.sock")));
            println!("{:?}", time_to(Wake::Tunnel, &woken, &kill));
            start_tunnel();
        }
        drivers.delete(&tunnel).expect("delete");
    });
}

/// The process that listens there.
fn process(socket: &Path) -> i32 {
    let stream = UnixStream::connect(socket).expect("connect");
    let credentials = getsockopt(&stream, PeerCredentials).expect("credentials");
    credentials.pid()
}
