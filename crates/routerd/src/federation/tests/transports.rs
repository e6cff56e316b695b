//! The whole runtime: configured, started, stopped.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use routerd_core::Effective;
use routerd_core::federation::intent::{Auth, NatsIntent, Transport};
use routerd_core::federation::receive::{Outcome, Refusal};
use tokio::sync::watch;

use super::site::{GROUP, Node, Virtual, pair, run};

const DEADLINE: Duration = Duration::from_secs(30);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn free_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    socket.local_addr().expect("address")
}

/// What a daemon does with a node: the thread follows the configuration.
fn start(node: &Node) -> (super::super::Running, watch::Sender<Arc<Effective>>) {
    let effective = Effective {
        federation: (*node.shared.intent()).clone(),
        ..Effective::default()
    };
    node.shared.set_intent(Default::default());
    let (sender, receiver) = watch::channel(Arc::new(effective));
    let running = super::super::start(Arc::clone(&node.shared), receiver).expect("start");
    (running, sender)
}

fn listening_on(node: &Node, address: SocketAddr) {
    let mut intent = (*node.shared.intent()).clone();
    let group = intent.groups.get_mut(GROUP).expect("group");
    group.listen = Some(address);
    node.shared.set_intent(intent);
}

#[tokio::test]
async fn a_shared_secret_signs_as_well_and_rotates() {
    let (onprem, cloud, address, _listening) = pair().await;
    let write = |node: &Node, text: &str| {
        let path = node.folder.path().join("secret");
        std::fs::write(&path, text).expect("write");
        Auth::Hmac(path)
    };
    let auth = write(&onprem, "old-secret-of-the-group\n");
    onprem.configure(auth, Transport::Direct, &[("cloud", Some(address), vec![])]);
    let auth = write(&cloud, "old-secret-of-the-group\n");
    cloud.configure(auth, Transport::Direct, &[("onprem", None, vec![])]);
    onprem.observe(&["a"]);
    run(&mut onprem.courier("cloud"), &onprem.time, 5).await;
    write(&cloud, "new-secret-of-the-group\nold-secret-of-the-group\n");
    onprem.observe(&["b"]);
    run(&mut onprem.courier("cloud"), &onprem.time, 5).await;
    write(&onprem, "new-secret-of-the-group\n");
    onprem.observe(&["c"]);
    run(&mut onprem.courier("cloud"), &onprem.time, 5).await;
    assert_eq!(cloud.ids(), ["a", "b", "c"]);
    write(&onprem, "somebody-else's-secret\n");
    onprem.observe(&["d"]);
    run(&mut onprem.courier("cloud"), &onprem.time, 2).await;
    assert_eq!(cloud.refusals(Refusal::Signature), 2);
}

/// The daemon's thread, its listener that waits for its address, and an event that another process wrote.
#[tokio::test]
async fn the_thread_carries_what_another_process_emitted() {
    let time = Virtual::new();
    let (onprem, cloud) = (Node::new("onprem", &time), Node::new("cloud", &time));
    let address = free_port();
    onprem.join(&[("cloud", Some(address), vec![])]);
    cloud.join(&[("onprem", None, vec![onprem.key()])]);
    listening_on(&cloud, address);
    // The address is taken: the group says so, and listens as soon as it is free.
    let squatter = std::net::TcpListener::bind(address).expect("bind");
    let (there, _cloud_intent) = start(&cloud);
    let (here, _onprem_intent) = start(&onprem);
    until("the trouble is known", || {
        !cloud.shared.troubles().is_empty()
    })
    .await;
    drop(squatter);
    until("it listens", || cloud.shared.troubles().is_empty()).await;

    let other = crate::store::EventStore::open(&onprem.folder.path().join("routerd.db"));
    let outcomes = other
        .expect("store")
        .append(time.now(), vec![onprem.event("a")]);
    assert_eq!(outcomes.expect("append"), [Outcome::Accepted]);
    // Attempts that failed meanwhile wait for the virtual clock.
    until("it is there", || {
        time.advance(1_000);
        cloud.ids() == ["a"]
    })
    .await;
    here.stop();
    there.stop();
}

/// A NATS server for the length of a test.
struct Nats(Child);

impl Nats {
    fn start(address: SocketAddr, folder: &Path) -> Option<Self> {
        let mut command = Command::new("nats-server");
        command
            .args([
                "-js",
                "-a",
                "127.0.0.1",
                "-p",
                &address.port().to_string(),
                "-sd",
            ])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().ok().map(Self)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sender and recipient are never up together, and the server restarts in between.
#[tokio::test]
async fn nats_keeps_events_for_a_node_that_is_down() {
    let folder = tempfile::tempdir().expect("folder");
    let address = free_port();
    let Some(server) = Nats::start(address, folder.path()) else {
        // `tools/setup` installs it; without it CI fails in the bench and here there is nothing to test against.
        panic!("nats-server is not installed: run tools/setup");
    };
    let time = Virtual::new();
    let (onprem, cloud) = (Node::new("onprem", &time), Node::new("cloud", &time));
    let nats = || {
        Transport::Nats(NatsIntent {
            servers: vec![address],
            credentials: None,
        })
    };
    onprem.configure(Auth::NodeKey, nats(), &[("cloud", None, vec![])]);
    cloud.configure(
        Auth::NodeKey,
        nats(),
        &[("onprem", None, vec![onprem.key()])],
    );

    onprem.observe(&["a", "b"]);
    let (here, _intent) = start(&onprem);
    until("NATS has it", || {
        time.advance(500);
        onprem
            .shared
            .store
            .outboxes()
            .expect("outboxes")
            .iter()
            .any(|o| o.delivered == 2)
    })
    .await;
    here.stop();
    drop(server);

    let _server = Nats::start(address, folder.path()).expect("nats-server");
    // Later than the replay window: NATS may hold a message for as long as the group keeps events.
    time.advance(3_600_000);
    let (there, _intent) = start(&cloud);
    until("it is there", || cloud.ids() == ["a", "b"]).await;
    there.stop();
    assert_eq!(cloud.outcomes(Outcome::Accepted), 2);

    // A message that is forged on the way is refused as with any transport.
    let forger = Node::new("onprem", &time);
    forger.configure(Auth::NodeKey, nats(), &[("cloud", None, vec![])]);
    forger.observe(&["forged"]);
    run(&mut forger.courier("cloud"), &time, 5).await;
    let cloud = cloud.restart();
    let (there, _intent) = start(&cloud);
    until("it is refused", || cloud.refusals(Refusal::Signature) == 1).await;
    there.stop();
    assert_eq!(cloud.ids(), ["a", "b"]);
}
