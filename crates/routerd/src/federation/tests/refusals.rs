//! Each refusal has its own status, its own counter, and leaves nothing behind.

use std::sync::Arc;

use api::event::Event;
use hyper::body::Bytes;
use routerd_core::federation::receive::{Batch, MAX_BODY, Outcome, Refusal};
use routerd_core::federation::signature::Signer;
use routerd_core::federation::wire::{Address, Head, METHOD, PATH, Reply};

use super::super::exchange::{Exchange, Taken};
use super::site::{GROUP, Node, Virtual, pair};

/// A message to be sent in any way.
struct Message {
    head: Head,
    body: Vec<u8>,
}

fn message(from: &Node, to: &str, nonce: &str, events: Vec<Event>) -> Message {
    let body = serde_json::to_vec(&Batch { events }).expect("json");
    signed(from, to, nonce, body)
}

fn signed(from: &Node, to: &str, nonce: &str, body: Vec<u8>) -> Message {
    let signer = from.shared.node_key.signer().expect("key");
    Message {
        head: head(&signer, from, GROUP, to, nonce, &body),
        body,
    }
}

fn head(signer: &Signer, from: &Node, group: &str, to: &str, nonce: &str, body: &[u8]) -> Head {
    let address = Address {
        group,
        sender: from.name,
        recipient: to,
    };
    Head::sign(signer, &address, from.time.now(), nonce.into(), body)
}

/// Sends a message as it is to a fresh listener of `to`; status and answer.
async fn send(to: &Node, message: &Message) -> (u16, Reply) {
    let (address, listening) = to.listen().await;
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connect");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let handshake = hyper::client::conn::http2::handshake(executor, io).await;
    let (mut sender, connection) = handshake.expect("handshake");
    tokio::spawn(connection);
    let mut request = hyper::Request::builder()
        .method(METHOD)
        .uri(format!("http://{address}{PATH}"));
    for (name, value) in Head::NAMES.iter().zip(message.head.values()) {
        request = request.header(*name, value);
    }
    let body = http_body_util::Full::new(Bytes::from(message.body.clone()));
    let response = sender
        .send_request(request.body(body).expect("request"))
        .await;
    let response = response.expect("response");
    let status = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    let body = body.expect("body").to_bytes();
    listening.abort();
    (status, serde_json::from_slice(&body).expect("reply"))
}

/// Sends these events, well signed, once.
pub(super) async fn post(from: &Node, to: &Node, events: Vec<Event>) -> (u16, Reply) {
    let nonce = format!(
        "{:x}",
        u64::from_be_bytes(super::super::key::random().expect("random"))
    );
    send(to, &message(from, to.name, &nonce, events)).await
}

async fn refused(to: &Node, message: &Message, refusal: Refusal) {
    let (before, stored) = (to.refusals(refusal), to.ids().len());
    let (status, reply) = send(to, message).await;
    assert_eq!(status, refusal.status(), "{refusal:?}: {reply:?}");
    assert!(
        matches!(&reply, Reply::Refused { reason, .. } if reason == refusal.counter()),
        "{refusal:?}: {reply:?}"
    );
    assert_eq!(to.refusals(refusal), before + 1, "{refusal:?} is counted");
    assert_eq!(to.ids().len(), stored, "{refusal:?} stores nothing");
}

#[tokio::test]
async fn a_replayed_message_is_refused_even_after_a_restart() {
    let (onprem, cloud, _, _listening) = pair().await;
    let original = message(&onprem, "cloud", "n1", vec![onprem.event("a")]);
    assert_eq!(send(&cloud, &original).await.0, 200);
    refused(&cloud, &original, Refusal::Replay).await;
    let cloud = cloud.restart();
    refused(&cloud, &original, Refusal::Replay).await;
    // Outside the window its time alone refuses it, and the nonce is forgotten.
    cloud.time.advance(300_002);
    refused(&cloud, &original, Refusal::Skew).await;
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone() {
    let (onprem, cloud, _, _listening) = pair().await;
    let forged = Event {
        source_node: "aws".into(),
        ..onprem.event("a")
    };
    refused(
        &cloud,
        &message(&onprem, "cloud", "n1", vec![forged]),
        Refusal::Source,
    )
    .await;
}

#[tokio::test]
async fn a_wrong_key_an_unknown_node_and_a_changed_body_are_one_refusal() {
    let (onprem, cloud, _, _listening) = pair().await;
    let stranger = Node::new("onprem", &onprem.time);
    let by_stranger = message(&stranger, "cloud", "n1", vec![onprem.event("a")]);
    refused(&cloud, &by_stranger, Refusal::Signature).await;
    let unknown = Node::new("rogue", &onprem.time);
    let by_unknown = message(&unknown, "cloud", "n2", vec![unknown.event("a")]);
    refused(&cloud, &by_unknown, Refusal::Signature).await;
    let mut changed = message(&onprem, "cloud", "n3", vec![onprem.event("a")]);
    changed.body = String::from_utf8(changed.body)
        .expect("text")
        .replace("10.88.60.9", "10.88.60.8")
        .into_bytes();
    refused(&cloud, &changed, Refusal::Signature).await;
}

#[tokio::test]
async fn a_message_is_for_one_group_one_node_and_one_time() {
    let (onprem, cloud, _, _listening) = pair().await;
    let body = serde_json::to_vec(&Batch {
        events: vec![onprem.event("a")],
    })
    .expect("json");
    let signer = onprem.shared.node_key.signer().expect("key");
    let other = Message {
        head: head(&signer, &onprem, "other", "cloud", "n1", &body),
        body,
    };
    refused(&cloud, &other, Refusal::Group).await;
    let for_aws = message(&onprem, "aws", "n2", vec![onprem.event("a")]);
    refused(&cloud, &for_aws, Refusal::Recipient).await;
    for skew in [-300_001_i64, 300_001] {
        let time = Virtual::new();
        let there = onprem
            .time
            .now()
            .as_millis()
            .checked_add_signed(skew)
            .expect("time");
        time.set(there);
        let skewed = Node {
            time,
            folder: tempfile::tempdir().expect("folder"),
            name: "onprem",
            shared: Arc::clone(&onprem.shared),
        };
        let late = message(
            &skewed,
            "cloud",
            &format!("n{skew}"),
            vec![onprem.event("a")],
        );
        refused(&cloud, &late, Refusal::Skew).await;
    }
}

#[tokio::test]
async fn too_much_and_nonsense_are_told_apart() {
    let (onprem, cloud, _, _listening) = pair().await;
    let huge = signed(&onprem, "cloud", "n1", vec![b' '; MAX_BODY + 1]);
    refused(&cloud, &huge, Refusal::TooLarge).await;
    let nonsense = signed(&onprem, "cloud", "n2", b"{\"events\": 7}".to_vec());
    refused(&cloud, &nonsense, Refusal::Malformed).await;
    let mut headless = message(&onprem, "cloud", "n3", vec![onprem.event("a")]);
    headless.head.nonce.clear();
    refused(&cloud, &headless, Refusal::Malformed).await;
}

/// 409: the one with other content is refused for good, the others of its batch are stored.
#[tokio::test]
async fn an_id_with_other_content_is_a_conflict() {
    let (onprem, cloud, _, _listening) = pair().await;
    assert_eq!(post(&onprem, &cloud, vec![onprem.event("a")]).await.0, 200);
    let other = Event {
        subject: "10.88.60.10/32".into(),
        ..onprem.event("a")
    };
    let (status, reply) = post(&onprem, &cloud, vec![other, onprem.event("b")]).await;
    assert_eq!(status, 409);
    assert_eq!(
        reply,
        Reply::Outcomes(vec![Outcome::Conflict, Outcome::Accepted])
    );
    assert_eq!(cloud.outcomes(Outcome::Conflict), 1);
    assert_eq!(cloud.ids(), ["a", "b"]);
}

/// While a node changes its key both are believed; afterwards the old one is not.
#[tokio::test]
async fn a_key_rotates_without_a_gap() {
    let (onprem, cloud, _, _listening) = pair().await;
    let next = Node::new("onprem", &onprem.time);
    cloud.join(&[("onprem", None, vec![onprem.key(), next.key()])]);
    assert_eq!(post(&onprem, &cloud, vec![onprem.event("a")]).await.0, 200);
    assert_eq!(post(&next, &cloud, vec![next.event("b")]).await.0, 200);
    cloud.join(&[("onprem", None, vec![next.key()])]);
    let old = message(&onprem, "cloud", "n9", vec![onprem.event("c")]);
    refused(&cloud, &old, Refusal::Signature).await;
}

/// 429: a sender has so many messages under way and no more.
#[tokio::test]
async fn a_flood_is_told_to_come_again() {
    let (onprem, cloud, _, _listening) = pair().await;
    // Another process keeps the store busy, so that messages pile up.
    let other = rusqlite::Connection::open(cloud.folder.path().join("routerd.db")).expect("open");
    other.execute_batch("BEGIN IMMEDIATE").expect("begin");
    let exchange = Exchange::new(Arc::clone(&cloud.shared), GROUP.to_owned());
    let flood = (0..20).map(|n| {
        let events = vec![onprem.event(&format!("e{n}"))];
        message(&onprem, "cloud", &format!("n{n}"), events)
    });
    let taken: Vec<Taken> = std::thread::scope(|scope| {
        let take = |message: Message| exchange.take(Ok(message.head), &message.body);
        let threads: Vec<_> = flood.map(|one| scope.spawn(move || take(one))).collect();
        while cloud.refusals(Refusal::Busy) < 16 {
            assert!(
                threads.iter().any(|thread| !thread.is_finished()),
                "all were taken"
            );
            std::thread::yield_now();
        }
        other.execute_batch("COMMIT").expect("commit");
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("thread"));
        ended.collect()
    });
    let busy = taken
        .iter()
        .filter(|t| **t == Taken::Refused(Refusal::Busy))
        .count();
    assert_eq!((busy, cloud.ids().len()), (16, 4));
    assert_eq!(Refusal::Busy.status(), 429);
}
