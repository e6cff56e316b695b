//! Event federation of a daemon as a process: what it has acknowledged, or only stored, survives kill -9.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use api::event::Event;
use api::time::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use routerd_core::federation::receive::{Batch, Outcome};
use routerd_core::federation::signature::Signer;
use routerd_core::federation::wire::{Address, Head, METHOD, PATH, Reply};

use super::daemon::{Daemon, until};
use super::namespace::isolated;

const LISTEN: &str = "127.0.0.1:65433";

fn config(key: &str) -> String {
    format!(
        "apiVersion: federation.routerd.net/v1alpha1
kind: EventGroup
metadata: {{name: cloudedge}}
spec:
  nodeName: cloud
  listen: {{address: 127.0.0.1, port: 65433}}
---
apiVersion: federation.routerd.net/v1alpha1
kind: EventPeer
metadata: {{name: onprem}}
spec: {{groupRef: cloudedge, nodeName: onprem, publicKey: {key}}}
"
    )
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    Timestamp::from_millis(u64::try_from(since.as_millis()).expect("milliseconds"))
}

fn event(id: &str) -> Event {
    Event {
        id: id.into(),
        group: "cloudedge".into(),
        source_node: "onprem".into(),
        kind: "routerd.client.ipv4.observed".into(),
        subject: "10.88.60.9/32".into(),
        dedupe_key: None,
        payload: BTreeMap::new(),
        observed_at: Timestamp::from_millis(now().as_millis() - 1_000),
        expires_at: now().plus_millis(600_000),
    }
}

/// Sends a message; hears the answer unless `unheard`, which runs while the answer is left alone.
async fn send(head: &Head, body: &[u8], unheard: Option<&mut dyn FnMut()>) -> Option<(u16, Reply)> {
    let stream = tokio::net::TcpStream::connect(LISTEN)
        .await
        .expect("connect");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let handshake = hyper::client::conn::http2::handshake(executor, io).await;
    let (mut sender, connection) = handshake.expect("handshake");
    tokio::spawn(connection);
    let mut request = hyper::Request::builder()
        .method(METHOD)
        .uri(format!("http://{LISTEN}{PATH}"));
    for (name, value) in Head::NAMES.iter().zip(head.values()) {
        request = request.header(*name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_vec())))
        .expect("request");
    let answer = sender.send_request(request);
    if let Some(meanwhile) = unheard {
        // The connection's own task sends it; nobody waits for the answer.
        let waiting = tokio::spawn(answer);
        tokio::task::yield_now().await;
        for _ in 0..50 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        meanwhile();
        waiting.abort();
        return None;
    }
    let response = answer.await.expect("answer");
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("body")
        .to_bytes();
    Some((status, serde_json::from_slice(&body).expect("reply")))
}

fn message(signer: &Signer, nonce: &str, events: Vec<Event>) -> (Head, Vec<u8>) {
    let body = serde_json::to_vec(&Batch { events }).expect("json");
    let address = Address {
        group: "cloudedge",
        sender: "onprem",
        recipient: "cloud",
    };
    (
        Head::sign(signer, &address, now(), nonce.into(), &body),
        body,
    )
}

/// What `routerctl federation … --state-file` runs.
fn offline(database: &Path, request: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_routerd"))
        .args(["federation", "--state-file"])
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("routerd starts");
    let mut input = child.stdin.take().expect("input");
    input.write_all(request.as_bytes()).expect("write");
    drop(input);
    let output = child.wait_with_output().expect("output");
    String::from_utf8(output.stdout).expect("text")
}

fn stored(database: &Path) -> i64 {
    let db = rusqlite::Connection::open(database).expect("open");
    let count = db.query_row("SELECT count(*) FROM federation_events", [], |row| {
        row.get(0)
    });
    count.expect("count")
}

#[test]
fn what_is_stored_survives_kill_9_and_is_taken_once() {
    isolated(
        "federation::what_is_stored_survives_kill_9_and_is_taken_once",
        survive,
    );
}

fn survive() {
    let folder = tempfile::tempdir().expect("folder");
    let database: PathBuf = folder.path().join("state/routerd.db");
    let file = folder.path().join("cloud.yaml");
    let signer = Signer::node_key(&[9; 32]);
    let key = signer.public_key().expect("key").to_string();
    std::fs::write(&file, config(&key)).expect("write");
    let mut daemon = Daemon::new(folder.path());
    daemon.start();
    let file = file.display().to_string();
    let (code, said) = daemon.routerctl(&["apply", "-f", &file]);
    assert_eq!(code, 0, "{said}");
    until("it listens", || {
        std::net::TcpStream::connect(LISTEN).is_ok()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("runtime");

    // Killed when the batch is stored, whether or not it has answered; nobody hears an answer.
    let (head, body) = message(&signer, "n1", vec![event("a"), event("b")]);
    let first = event("a");
    let mut kill = || {
        until("it is stored", || stored(&database) == 2);
        daemon.kill();
    };
    runtime.block_on(send(&head, &body, Some(&mut kill)));
    assert_eq!(stored(&database), 2);

    daemon.start();
    until("it listens", || {
        std::net::TcpStream::connect(LISTEN).is_ok()
    });
    let resend: Batch = serde_json::from_slice(&body).expect("batch");
    assert_eq!(resend.events[0].id, first.id);
    let (again, same) = message(&signer, "n2", resend.events);
    let answer = runtime.block_on(send(&again, &same, None));
    let duplicates = Reply::Outcomes(vec![Outcome::Duplicate; 2]);
    assert_eq!(answer, Some((200, duplicates)));
    // The very message that was not acknowledged is a replay: its nonce was stored with it.
    let (status, _) = runtime.block_on(send(&head, &body, None)).expect("answer");
    assert_eq!((status, stored(&database)), (409, 2));

    let metrics = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(folder.path().join("run/routerd.sock"))
        .arg("http://routerd/metrics")
        .output();
    if let Ok(metrics) = metrics {
        let text = String::from_utf8_lossy(&metrics.stdout).into_owned();
        let line = "routerd_federation_received_messages_total{group=\"cloudedge\",result=\"replay\",status=\"409\"} 1";
        assert!(text.contains(line), "{text}");
    }
    emit_beside(&daemon, &database);
    daemon.stop();
}

/// Into the database of a running node, and seen there.
fn emit_beside(daemon: &Daemon, database: &Path) {
    let request = r#"{"request":"emit","group":"cloudedge","type":"routerd.client.ipv4.observed",
        "subject":"10.88.60.10/32","payload":{"address":"10.88.60.10/32"},"ttl":1800000}"#;
    let answer = offline(database, request);
    assert!(answer.contains(r#""answer":"emitted""#), "{answer}");
    assert!(answer.contains(r#""sourceNode":"cloud""#), "{answer}");
    let (code, said) = daemon.routerctl(&["federation", "event", "list"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("10.88.60.10/32"), "{said}");
    let refused = offline(database, &request.replace("cloudedge", "other"));
    assert!(
        refused.contains("there is no EventGroup `other` in force (cloudedge)"),
        "{refused}"
    );
    let (code, said) = daemon.routerctl(&["get", "eventgroups"]);
    assert!(code == 0 && said.contains("PUBLIC KEY"), "{said}");
    let (code, said) = daemon.routerctl(&["doctor", "federation"]);
    assert!(
        code == 0 && said.contains("event-group EventGroup/cloudedge"),
        "{said}"
    );
}
