//! Requests as they come over the socket, good ones and bad ones.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use api::control::{ApplyReport, Config, DaemonStatus, Failure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::{Control, bind, serve};
use crate::engine::{Message, channel, run};
use crate::testing::{Bench, onprem};

const DEADLINE: Duration = Duration::from_secs(10);

/// An answer: status and body.
struct Answer(u16, Vec<u8>);

impl Answer {
    fn parsed<T: DeserializeOwned>(&self) -> T {
        let text = String::from_utf8_lossy(&self.1);
        serde_json::from_slice(&self.1).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// A daemon's socket for the length of a test.
fn with_socket(bench: &Bench, test: impl FnOnce(&Path)) {
    let daemon = bench.boot();
    let (outbox, inbox) = channel();
    let actions = bench.actions(Path::new("/nonexistent"));
    let control = Control::new(Arc::clone(&daemon.view), outbox.clone(), actions);
    let socket: PathBuf = bench.folder.path().join("routerd.sock");
    let listener = bind(&socket).expect("bind");
    let looping = thread::spawn(move || run(daemon.engine, &inbox));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).expect("listener");
            let _ = serve(listener, control.router(), stopped).await;
        });
    });
    test(&socket);
    stop.send(()).expect("it still serves");
    serving.join().expect("serving ends");
    outbox.request(Message::Stop).expect("the loop runs");
    looping.join().expect("the loop ends");
}

/// Sends bytes and reads the answer to its end.
fn send(socket: &Path, request: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    // The daemon may refuse before it has read all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let body = body.map(|at| answer[at + 4..].to_vec());
    Answer(status.unwrap_or(0), body.unwrap_or_default())
}

fn get(socket: &Path, path: &str) -> Answer {
    send(
        socket,
        format!("GET {path} HTTP/1.1\r\nHost: r\r\n\r\n").as_bytes(),
    )
}

fn post_text(socket: &Path, path: &str, body: &str) -> Answer {
    let length = body.len();
    let head = "Host: r\r\nContent-Type: application/json";
    let request =
        format!("POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    send(socket, request.as_bytes())
}

fn post(socket: &Path, path: &str, body: &impl Serialize) -> Answer {
    post_text(socket, path, &serde_json::to_string(body).expect("JSON"))
}

#[test]
fn a_configuration_comes_into_force_and_goes() {
    let bench = Bench::onprem();
    with_socket(&bench, |socket| {
        let answer = post(socket, "/v1/apply", &onprem());
        assert_eq!(answer.parsed::<ApplyReport>().generation, 1);
        let status: DaemonStatus = get(socket, "/v1/status").parsed();
        assert!(status.in_sync && !status.resources.is_empty());
        let resources: Vec<api::control::Resource> = get(socket, "/v1/resources").parsed();
        let claim = resources.iter().find(|r| r.id.kind == "RemoteAddressClaim");
        let objects = &claim.expect("claim").objects;
        assert!(
            objects.iter().any(|o| o.contains("10.77.60.7/32")),
            "{objects:?}"
        );
        let plan = post(
            socket,
            "/v1/plan",
            &api::control::PlanRequest { config: None },
        );
        assert!(plan.parsed::<api::control::PlanReport>().plan.is_empty());
        assert_eq!(post(socket, "/v1/teardown", &()).0, 200);
        let events: Vec<api::control::Event> = get(socket, "/v1/events").parsed();
        let kinds: Vec<&str> = events.iter().map(|e| e.kind.as_str()).collect();
        assert_eq!(kinds, ["torn-down", "applied"]);
    });
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let bench = Bench::onprem();
    let before = bench.seen();
    with_socket(&bench, |socket| {
        for (answer, status) in [
            (get(socket, "/v1/nothing"), 404),
            (get(socket, "/v1/doctor/nothing"), 404),
            (get(socket, "/v1/apply"), 404),
            (post_text(socket, "/v1/apply", "{"), 400),
            (post_text(socket, "/v1/apply", "{\"files\": 7}"), 422),
            (post_text(socket, "/v1/plan", &"[".repeat(100_000)), 422),
        ] {
            assert_eq!(answer.0, status);
            assert!(!answer.parsed::<Failure>().message.is_empty());
        }
        let file = api::control::SourceFile {
            name: "broken.yaml".to_owned(),
            text: "kind: [".to_owned(),
        };
        let broken = Config { files: vec![file] };
        for path in ["/v1/apply", "/v1/plan"] {
            let answer = match path {
                "/v1/apply" => post(socket, path, &broken),
                _ => {
                    let config = Some(broken.clone());
                    post(socket, path, &api::control::PlanRequest { config })
                }
            };
            assert_eq!(answer.0, 422, "{path}");
            assert!(!answer.parsed::<Failure>().diagnostics.is_empty());
        }
    });
    assert_eq!(bench.seen(), before);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let bench = Bench::onprem();
    with_socket(&bench, |socket| {
        let head = "POST /v1/apply HTTP/1.1\r\nHost: r\r\nContent-Type: application/json";
        let request = format!("{head}\r\nContent-Length: 99999999999\r\n\r\n{{");
        assert_eq!(send(socket, request.as_bytes()).0, 413);
    });
}

#[test]
fn noise_on_the_socket_ends_nothing() {
    let bench = Bench::onprem();
    with_socket(&bench, |socket| {
        for seed in 0..50_u8 {
            let noise: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(seed) ^ seed).collect();
            send(socket, &[&noise[..], b"\r\n\r\n"].concat());
        }
        assert_eq!(get(socket, "/v1/status").0, 200);
    });
}

#[test]
fn a_second_change_at_the_same_time_is_refused() {
    let bench = Bench::onprem();
    with_socket(&bench, |socket| {
        // Whichever comes first waits for the host.
        let host = bench.host.kernel.lock().expect("host");
        let statuses = thread::scope(|scope| {
            let ask = || scope.spawn(|| post(socket, "/v1/apply", &onprem()).0);
            let both = [ask(), ask()];
            let deadline = Instant::now() + DEADLINE;
            while !both.iter().any(|asked| asked.is_finished()) {
                assert!(Instant::now() < deadline, "nothing was refused");
                thread::yield_now();
            }
            drop(host);
            both.map(|asked| asked.join().expect("answer"))
        });
        assert!(
            statuses == [200, 409] || statuses == [409, 200],
            "{statuses:?}"
        );
    });
}
