//! The daemon of a new build finds a tunnel that the old one started.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::daemon::{Daemon, until};
use super::namespace::{examples, isolated, onprem_links, run};

const SOCKET: &str = "/var/run/wireguard/wg-hybrid.sock";

/// The program of the process that runs the tunnel.
fn behind_the_tunnel() -> Option<PathBuf> {
    let stream = UnixStream::connect(SOCKET).ok()?;
    let pid = getsockopt(&stream, PeerCredentials).ok()?.pid();
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn upgrade() {
    onprem_links();
    let folder = tempfile::tempdir().expect("temporary directory");
    let example = std::fs::read_to_string(examples().join("two-site-onprem.yaml"));
    let keys = folder.path().join("keys").display().to_string();
    let file = folder.path().join("router.yaml");
    let text = example
        .expect("example")
        .replace("/var/lib/routerd/keys", &keys);
    std::fs::write(&file, text).expect("write");
    let mut daemon = Daemon::new(folder.path());
    daemon.start();
    let (code, said) = daemon.routerctl(&["apply", "-f", &file.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    if !Path::new(SOCKET).exists() {
        println!("the kernel runs WireGuard here: there is nothing to take over");
        return;
    }
    let old = behind_the_tunnel().expect("a tunnel process");
    let routes = run("ip route show dev wg-hybrid");
    daemon.stop();

    let new = folder.path().join("routerd");
    std::fs::copy(&old, &new).expect("install");
    daemon.install(&new);
    daemon.start();
    until("the new build has the tunnel", || {
        behind_the_tunnel().as_deref() == Some(&*new)
    });
    assert_eq!(run("ip route show dev wg-hybrid"), routes);
    until("nothing is left to do", || {
        daemon.routerctl(&["plan", "--in-force"]).0 == 0
    });
    let log = daemon.log();
    assert!(log.contains("--interface wg-hybrid --take-over"), "{log}");
    let (code, said) = daemon.routerctl(&["teardown"]);
    assert_eq!(code, 0, "{said}");
    daemon.stop();
}

#[test]
fn a_new_build_takes_over_the_tunnels_of_the_old_one() {
    isolated(
        "upgrade::a_new_build_takes_over_the_tunnels_of_the_old_one",
        upgrade,
    );
}
