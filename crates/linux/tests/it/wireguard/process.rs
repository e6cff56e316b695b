//! The life of the process behind a user-space device.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use routerd_core::observed::Driver;

use super::site::{connected, eventually};
use crate::namespace::fresh;

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("signal");
}

fn running(pid: i32) -> bool {
    // A process that nobody waits for yet is a zombie, with nothing left in it.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    state.is_some_and(|state| state != "Z")
}

#[test]
fn nothing_but_the_process_is_lost_when_it_is_killed() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        a.run("ip route add 10.70.0.9/32 dev wg0 metric 120 proto 82");
        let look = "ip -o link show wg0 | cut -d: -f1; ip addr show dev wg0 | grep inet; \
                    ip route show dev wg0 | sed 's/ linkdown//'";
        let before = a.run(look);
        let ended = a.drivers.death_watch(&a.ifname).expect("a process");
        signal(a.pid(), Signal::SIGKILL);
        let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut fds, PollTimeout::from(5_000_u16)),
            Ok(1),
            "death is told"
        );
        eventually("the device is gone", || a.observe().is_none().then_some(()));
        assert!(a.drivers.death_watch(&a.ifname).is_none());
        assert_eq!(a.run(look), before, "link, addresses and routes stay");

        a.create(Driver::UserSpace).expect("start again");
        a.set(&super::site::introduction(&a, &b, 2));
        a.reaches("10.9.0.2");
        assert_eq!(a.run(look), before);
        let alias = a.run("ip link show wg0");
        assert!(alias.contains("alias managed by routerd"), "{alias}");
    });
}

#[test]
fn it_stands_alone() {
    fresh(|| {
        let (a, _b) = connected(Driver::UserSpace, Driver::UserSpace);
        let pid = a.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let field = |name: &str| -> i32 {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("field");
            line.split_whitespace()
                .last()
                .and_then(|v| v.parse().ok())
                .expect("number")
        };
        assert_ne!(field("PPid:"), std::process::id() as i32, "nobody's child");
        assert_eq!(field("NSsid:"), field("NSpid:"), "a session of its own");
        a.create(Driver::UserSpace).expect("create again");
        assert_eq!(a.pid(), pid, "what runs is left alone");
        let mode = std::fs::metadata(a.socket()).expect("socket").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o077, 0);
    });
}

#[test]
fn delete_takes_link_process_and_socket() {
    fresh(|| {
        let (a, _b) = connected(Driver::UserSpace, Driver::UserSpace);
        let pid = a.pid();
        a.inside(|| a.drivers.delete(&a.ifname)).expect("delete");
        assert!(a.try_run("ip link show wg0").is_err());
        assert!(!a.socket().exists());
        assert!(!running(pid));
        a.inside(|| a.drivers.delete(&a.ifname))
            .expect("nothing left to delete is fine");
    });
}

#[test]
fn it_ends_by_itself_when_the_link_is_deleted() {
    fresh(|| {
        let (a, _b) = connected(Driver::UserSpace, Driver::UserSpace);
        let pid = a.pid();
        a.run("ip link del wg0");
        eventually("the process ends", || (!running(pid)).then_some(()));
        eventually("the socket goes", || (!a.socket().exists()).then_some(()));
    });
}

#[test]
fn a_link_that_is_deleted_can_be_made_again_at_once() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        for _ in 0..10 {
            a.run("ip link del wg0");
            a.create(Driver::UserSpace).expect("create");
            a.set(&super::site::introduction(&a, &b, 2));
            super::site::address(&a, 1);
            a.reaches("10.9.0.2");
        }
    });
}

#[test]
fn one_that_is_told_to_end_leaves_the_link() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let pid = a.pid();
        signal(pid, Signal::SIGTERM);
        eventually("the process ends", || (!running(pid)).then_some(()));
        a.run("ip link show wg0");
        a.create(Driver::UserSpace).expect("start again");
        a.set(&super::site::introduction(&a, &b, 2));
        a.reaches("10.9.0.2");
    });
}

#[test]
fn one_that_hangs_holds_nobody_up_and_is_replaced() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let pid = a.pid();
        signal(pid, Signal::SIGSTOP);
        let started = Instant::now();
        assert!(a.observe().is_none());
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        a.create(Driver::UserSpace).expect("replace");
        assert!(!running(pid));
        a.set(&super::site::introduction(&a, &b, 2));
        a.reaches("10.9.0.2");
    });
}

#[test]
fn a_start_that_fails_says_why() {
    fresh(|| {
        let (a, _b) = super::site::underlay();
        a.run("ip link add wg0 type veth peer name other");
        let error = a.create(Driver::UserSpace).expect_err("the name is taken");
        assert!(error.to_string().contains("Invalid argument"), "{error}");
        let drivers = a.drivers.clone().with_socket_dir("/proc/nowhere");
        a.run("ip link del wg0");
        let error = a.inside(|| drivers.create(&a.ifname, Driver::UserSpace));
        assert!(error.is_err());
    });
}
