//! The speaker in the daemon against the speakers of others, in namespaces:
//!
//! ```text
//! this namespace               namespace `peer`
//! r0 10.99.0.1/24 ──────────── p0 10.99.0.2/24
//! routerd, 10.77.60.9/32       the other speaker, 10.77.60.5/32 on lo
//! ```

mod claim;
mod doctor;
mod interop;
mod many;
mod misbehaving;
mod monitoring;
mod raw;
mod restart;
mod speakers;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::daemon::{Daemon, until};
use crate::namespace::run;

/// The link to the namespace `peer`, which has an address that answers.
fn topology() {
    run("ip netns add peer");
    run("ip link add r0 type veth peer name p0 netns peer");
    run("ip address add 10.99.0.1/24 dev r0");
    run("ip link set r0 up");
    run("ip -n peer link set lo up");
    run("ip -n peer address add 10.99.0.2/24 dev p0");
    run("ip -n peer link set p0 up");
    run("ip -n peer address add 10.77.60.5/32 dev lo");
}

/// The speaker's routes in the kernel.
fn routes() -> String {
    run("ip route show proto 83")
}

fn installed(prefix: &str) -> bool {
    let host = prefix.trim_end_matches("/32");
    let begins = |line: &str| line.split(' ').next() == Some(host);
    routes().lines().any(begins)
}

fn apply(daemon: &Daemon, folder: &Path, configuration: &str) {
    let file = folder.join("bgp.yaml");
    std::fs::write(&file, configuration).expect("configuration");
    let file = file.display().to_string();
    let (code, said) = daemon.routerctl(&["apply", "-f", &file]);
    assert_eq!(code, 0, "{said}\n{configuration}");
    // The speaker answers once it has taken what it was told before: its socket listens.
    let (code, said) = daemon.routerctl(&["get", "bgp", "peers"]);
    assert_eq!(code, 0, "{said}");
}

/// The peer as the daemon shows it.
fn peer(daemon: &Daemon) -> Value {
    let (code, said) = daemon.routerctl_apart(&["get", "bgp", "peers", "-o", "json"]);
    assert_eq!(code, 0, "{said}");
    let view: Value = serde_json::from_str(&said).expect("JSON");
    let peers = view["peers"].as_array().cloned().unwrap_or_default();
    let found = peers
        .into_iter()
        .find(|peer| peer["address"] == "10.99.0.2");
    found.unwrap_or(Value::Null)
}

fn is_up(daemon: &Daemon) -> bool {
    peer(daemon)["state"] == "established"
}

/// Asks something of the peer through the control socket.
fn admin(folder: &Path, action: &str) {
    let socket = folder.join("run/routerd.sock");
    let mut stream = UnixStream::connect(socket).expect("socket");
    let body = format!("{{\"peer\":\"10.99.0.2\",\"action\":{action}}}");
    let request = format!(
        "POST /v1/bgp/admin HTTP/1.1\r\nhost: routerd\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
