//! Nodes for tests: each with its store, key and listener, all on one virtual clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::ResourceId;
use api::event::Event;
use api::federation::Outbox;
use api::time::Timestamp;
use routerd_core::federation::intent::{
    Auth, Federation, GroupIntent, PeerIntent, Retention, Transport,
};
use routerd_core::federation::receive::{Outcome, Refusal};
use routerd_core::federation::signature::NodePublicKey;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::courier::{Courier, Next};
use super::super::exchange::Exchange;
use super::super::{Clock, Shared, listener, metrics};
use crate::metrics::Metrics;

pub(super) const GROUP: &str = "cloudedge";
const START: u64 = 1_780_191_055_000;

/// A clock that only tests move.
#[derive(Clone)]
pub(super) struct Virtual(Arc<AtomicU64>);

impl Virtual {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    pub(super) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    pub(super) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let this = self.clone();
        Arc::new(move || this.now())
    }
}

/// A node.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) folder: TempDir,
    pub(super) shared: Arc<Shared>,
    pub(super) time: Virtual,
}

impl Node {
    pub(super) fn new(name: &'static str, time: &Virtual) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let shared = open(&folder, time);
        Self {
            name,
            folder,
            shared,
            time: time.clone(),
        }
    }

    /// The same node after its daemon died; what it knew of its peers is configured anew.
    pub(super) fn restart(self) -> Self {
        let intent = self.shared.intent();
        let shared = open(&self.folder, &self.time);
        shared.set_intent(Federation::clone(&intent));
        Self { shared, ..self }
    }

    pub(super) fn key(&self) -> NodePublicKey {
        let signer = self.shared.node_key.signer().expect("key");
        signer.public_key().expect("node key")
    }

    /// Configures the group and its peers: name, endpoint, keys.
    pub(super) fn join(&self, peers: &[(&str, Option<SocketAddr>, Vec<NodePublicKey>)]) {
        self.configure(Auth::NodeKey, Transport::Direct, peers);
    }

    pub(super) fn configure(
        &self,
        auth: Auth,
        transport: Transport,
        peers: &[(&str, Option<SocketAddr>, Vec<NodePublicKey>)],
    ) {
        let group = GroupIntent {
            owner: ResourceId::new("EventGroup", GROUP),
            node: self.name.to_owned(),
            listen: None,
            retention: Retention {
                max_events: 1_000_000,
                max_age: 86_400_000,
            },
            replay_window: 300_000,
            auth,
            transport,
        };
        let peers = peers.iter().map(|(name, endpoint, keys)| {
            let intent = PeerIntent {
                owner: ResourceId::new("EventPeer", *name),
                group: GROUP.to_owned(),
                node: (*name).to_owned(),
                endpoint: *endpoint,
                filter: Default::default(),
                keys: keys.clone(),
            };
            ((*name).to_owned(), intent)
        });
        self.shared.set_intent(Federation {
            groups: BTreeMap::from([(GROUP.to_owned(), group)]),
            peers: peers.collect(),
            ..Federation::default()
        });
    }

    pub(super) fn event(&self, id: &str) -> Event {
        Event {
            id: id.into(),
            group: GROUP.into(),
            source_node: self.name.into(),
            kind: "routerd.client.ipv4.observed".into(),
            subject: "10.88.60.9/32".into(),
            dedupe_key: None,
            payload: BTreeMap::from([("address".into(), "10.88.60.9/32".into())]),
            observed_at: self.time.now(),
            expires_at: self.time.now().plus_millis(7_200_000),
        }
    }

    /// Observes something.
    pub(super) fn observe(&self, ids: &[&str]) {
        let events = ids.iter().map(|id| self.event(id)).collect();
        let outcomes = self.shared.store.append(self.time.now(), events);
        assert!(
            outcomes
                .expect("append")
                .iter()
                .all(|o| *o == Outcome::Accepted)
        );
    }

    /// Receives on a port of the loopback interface until the handle is aborted.
    pub(super) async fn listen(&self) -> (SocketAddr, JoinHandle<()>) {
        self.listen_on("127.0.0.1:0".parse().expect("address"))
            .await
    }

    pub(super) async fn listen_on(&self, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let socket = TcpListener::bind(address).await.expect("bind");
        let address = socket.local_addr().expect("address");
        let exchange = Arc::new(Exchange::new(Arc::clone(&self.shared), GROUP.to_owned()));
        (address, tokio::spawn(listener::serve(exchange, socket)))
    }

    pub(super) fn courier(&self, peer: &str) -> Courier {
        Courier::new(Arc::clone(&self.shared), peer).expect("a peer that is sent events")
    }

    /// The ids of all events here, oldest first.
    pub(super) fn ids(&self) -> Vec<String> {
        let all = api::federation::Selection {
            limit: u32::MAX,
            ..Default::default()
        };
        let events = self.shared.store.list_events(self.time.now(), &all);
        let ids = events
            .expect("list")
            .into_iter()
            .map(|stored| stored.event.id);
        ids.rev().collect()
    }

    pub(super) fn outbox(&self, peer: &str) -> Outbox {
        let outboxes = self.shared.store.outboxes().expect("outboxes");
        let found = outboxes.into_iter().find(|outbox| outbox.peer == peer);
        found.expect("an outbox")
    }

    /// How often a message was refused for this reason.
    pub(super) fn refusals(&self, refusal: Refusal) -> u64 {
        let status = refusal.status().to_string();
        let labels = [
            ("group", GROUP),
            ("result", refusal.counter()),
            ("status", &status),
        ];
        self.shared.metrics.get(metrics::MESSAGES, &labels)
    }

    /// How many events had this outcome.
    pub(super) fn outcomes(&self, outcome: Outcome) -> u64 {
        let labels = [("group", GROUP), ("outcome", outcome.counter())];
        self.shared.metrics.get(metrics::EVENTS, &labels)
    }
}

fn open(folder: &TempDir, time: &Virtual) -> Arc<Shared> {
    let path = folder.path().join("routerd.db");
    Shared::with_clock(&path, Arc::new(Metrics::default()), time.clock()).expect("store")
}

/// Two nodes that know each other; the second one listens.
pub(super) async fn pair() -> (Node, Node, SocketAddr, JoinHandle<()>) {
    let time = Virtual::new();
    let (onprem, cloud) = (Node::new("onprem", &time), Node::new("cloud", &time));
    let (address, listening) = cloud.listen().await;
    onprem.join(&[("cloud", Some(address), vec![cloud.key()])]);
    cloud.join(&[("onprem", None, vec![onprem.key()])]);
    (onprem, cloud, address, listening)
}

/// Has a courier go as often as it wants, moving the clock to where it wants to go on; says how often it went.
pub(super) async fn run(courier: &mut Courier, time: &Virtual, rounds: usize) -> usize {
    for round in 1..=rounds {
        match courier.round().await.expect("round") {
            Next::Now => {}
            Next::At(at) => time.advance(at.millis_since(time.now())),
            Next::News => return round,
        }
    }
    rounds
}
