//! What breaks between two nodes: every event arrives, none is stored twice, nobody waits for somebody else's peer.

use std::time::{Duration, Instant};

use api::time::Timestamp;
use routerd_core::federation::receive::Outcome;
use tokio::net::TcpListener;

use super::super::courier::{Courier, Next};
use super::site::{Node, Virtual, pair, run};

#[tokio::test]
async fn what_is_observed_here_is_stored_there_once() {
    let (onprem, cloud, _, _listening) = pair().await;
    onprem.observe(&["a", "b", "c"]);
    let mut courier = onprem.courier("cloud");
    run(&mut courier, &onprem.time, 10).await;
    assert_eq!(cloud.ids(), ["a", "b", "c"]);
    onprem.observe(&["d"]);
    run(&mut courier, &onprem.time, 10).await;
    assert_eq!(cloud.ids(), ["a", "b", "c", "d"]);
    let outbox = onprem.outbox("cloud");
    assert_eq!(
        (outbox.pending, outbox.delivered, outbox.failures),
        (0, 4, 0)
    );
    assert_eq!(
        (
            cloud.outcomes(Outcome::Accepted),
            cloud.outcomes(Outcome::Duplicate)
        ),
        (4, 0)
    );
}

/// The receiver is down for an hour of the virtual clock: the sender tries ever more rarely, and all arrives.
#[tokio::test]
async fn a_receiver_that_is_down_for_an_hour_misses_nothing() {
    let (onprem, cloud, address, listening) = pair().await;
    listening.abort();
    assert!(listening.await.expect_err("aborted").is_cancelled());
    onprem.observe(&["a", "b"]);
    let mut courier = onprem.courier("cloud");
    let (began, mut attempts) = (onprem.time.now(), 0);
    while onprem.time.now().millis_since(began) < 3_600_000 {
        match courier.round().await.expect("round") {
            Next::At(at) => onprem.time.advance(at.millis_since(onprem.time.now())),
            other => panic!("{other:?} while nobody listens"),
        }
        attempts += 1;
    }
    // Doubling from half a second up to a minute, with jitter over the second half.
    assert!(
        (60..=140).contains(&attempts),
        "{attempts} attempts in an hour"
    );
    assert_eq!(onprem.outbox("cloud").pending, 2);
    assert!(
        onprem
            .outbox("cloud")
            .error
            .expect("an error")
            .contains("connect to")
    );

    let (_, _listening) = cloud.listen_on(address).await;
    let onprem = onprem.restart();
    run(&mut onprem.courier("cloud"), &onprem.time, 10).await;
    assert_eq!(cloud.ids(), ["a", "b"]);
    assert_eq!(onprem.outbox("cloud").failures, 0);
}

#[tokio::test]
async fn what_expires_in_the_outbox_is_a_dead_letter() {
    let (onprem, cloud, _, listening) = pair().await;
    listening.abort();
    onprem.observe(&["a"]);
    let mut courier = onprem.courier("cloud");
    let deadline = onprem.event("x").expires_at;
    while onprem.time.now() < deadline {
        let Next::At(at) = courier.round().await.expect("round") else {
            panic!("nobody listens");
        };
        onprem.time.advance(at.millis_since(onprem.time.now()));
    }
    run(&mut courier, &onprem.time, 10).await;
    let outbox = onprem.outbox("cloud");
    assert_eq!((outbox.pending, outbox.dead, outbox.delivered), (0, 1, 0));
    assert!(cloud.ids().is_empty());
}

/// The answer is lost after the receiver has stored the batch, as with kill -9 between store and acknowledge: the
/// sender sends again, the receiver knows it already.
#[tokio::test]
async fn a_lost_answer_costs_a_duplicate_and_nothing_else() {
    let (onprem, cloud, address, _listening) = pair().await;
    // Passes everything on until the answer would come, then cuts the connection.
    let wire = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let cut = wire.local_addr().expect("address");
    let store = std::sync::Arc::clone(&cloud.shared);
    tokio::spawn(async move {
        let (mut from, _) = wire.accept().await.expect("accept");
        let mut to = tokio::net::TcpStream::connect(address)
            .await
            .expect("connect");
        let mut news = store.news.subscribe();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
            _ = news.changed() => {}
        }
    });
    onprem.observe(&["a"]);
    onprem.join(&[("cloud", Some(cut), vec![])]);
    let next = onprem.courier("cloud").round().await.expect("round");
    assert!(matches!(next, Next::At(_)), "{next:?}");
    assert_eq!(cloud.ids(), ["a"], "stored before the answer was lost");
    assert_eq!(onprem.outbox("cloud").pending, 1);

    let (onprem, cloud) = (onprem.restart(), cloud.restart());
    let (address, _listening) = cloud.listen().await;
    onprem.join(&[("cloud", Some(address), vec![])]);
    run(&mut onprem.courier("cloud"), &onprem.time, 10).await;
    assert_eq!(cloud.ids(), ["a"]);
    assert_eq!(cloud.outcomes(Outcome::Duplicate), 1);
    assert_eq!(onprem.outbox("cloud").delivered, 1);
}

/// Duplicated, reordered, cut in pieces: what is stored is the same.
#[tokio::test]
async fn order_and_repetition_do_not_matter() {
    let (onprem, cloud, _, _listening) = pair().await;
    let names = ["e", "a", "d", "b", "c"];
    for chunk in [&names[3..], &names[..4], &names[..], &names[1..3]] {
        let events: Vec<_> = chunk.iter().map(|id| onprem.event(id)).collect();
        let answer = super::refusals::post(&onprem, &cloud, events).await;
        assert_eq!(answer.0, 200);
    }
    let mut ids = cloud.ids();
    ids.sort();
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    assert_eq!(cloud.outcomes(Outcome::Accepted), 5);
}

/// Ten peers, one of which accepts connections and never answers: the other nine have everything at once.
#[tokio::test]
async fn a_peer_that_hangs_delays_nobody() {
    const NAMES: [&str; 9] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];
    let time = Virtual::new();
    let onprem = Node::new("onprem", &time);
    let tarpit = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut peers = vec![("tarpit", tarpit.local_addr().ok(), vec![])];
    let mut others = Vec::new();
    for name in NAMES {
        let node = Node::new(name, &time);
        node.join(&[("onprem", None, vec![onprem.key()])]);
        let (address, listening) = node.listen().await;
        peers.push((name, Some(address), vec![]));
        others.push((node, listening));
    }
    onprem.join(&peers);
    let ids: Vec<String> = (0..500).map(|n| format!("e{n:03}")).collect();
    onprem.observe(&ids.iter().map(String::as_str).collect::<Vec<_>>());

    let began = Instant::now();
    let mut hanging: Courier = onprem.courier("tarpit");
    let hanging = tokio::spawn(async move { hanging.round().await });
    let carried = NAMES.map(|name| {
        let (mut courier, time) = (onprem.courier(name), time.clone());
        tokio::spawn(async move {
            run(&mut courier, &time, 10).await;
            (name, began.elapsed())
        })
    });
    for task in carried {
        let (name, took) = task.await.expect("carried");
        println!("{name}: 500 events after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(10), "{name} took {took:?}");
    }
    assert!(!hanging.is_finished(), "the tarpit still holds its courier");
    hanging.abort();
    for (node, _) in &others {
        assert_eq!(node.ids().len(), 500, "{}", node.name);
    }
    assert_eq!(onprem.outbox("tarpit").pending, 500);
}

/// Three senders in one group: each speaks for itself, and their clocks differ by less than the window.
#[tokio::test]
async fn clocks_may_differ_by_less_than_the_window() {
    let (onprem, cloud, _, _listening) = pair().await;
    onprem.observe(&["a"]);
    let ahead = Timestamp::from_millis(onprem.time.now().as_millis() + 299_000);
    let fast = Virtual::new();
    fast.advance(ahead.millis_since(fast.now()));
    let sender = Node {
        time: fast,
        ..onprem
    };
    let answer = super::refusals::post(&sender, &cloud, vec![sender.event("b")]).await;
    assert_eq!(answer.0, 200);
}
