//! A reflector against a slow model of one, over random histories.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp::{Community, Input, LargeCommunity, LocalRoute, Table};
use proptest::prelude::*;

use crate::fabric::{Fabric, ip, leaf, prefix, star};

const CLIENTS: usize = 4;
const PREFIXES: u8 = 6;

#[derive(Debug, Clone)]
enum Op {
    /// Client, prefix, LOCAL_PREF, MED, large community.
    Originate(usize, u8, u32, u32, u32),
    Withdraw(usize, u8),
    /// The connection breaks; the client comes back with what it has.
    Break(usize),
    /// The client takes no octets from now on, or takes them again.
    Stall(usize, bool),
    Refresh(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let client = 1..=CLIENTS;
    prop_oneof![
        6 => (client.clone(), 0..PREFIXES, 100u32..102, 0u32..2, 0u32..3)
            .prop_map(|(c, p, l, m, x)| Op::Originate(c, p, l, m, x)),
        3 => (client.clone(), 0..PREFIXES).prop_map(|(c, p)| Op::Withdraw(c, p)),
        1 => client.clone().prop_map(Op::Break),
        2 => (client.clone(), any::<bool>()).prop_map(|(c, on)| Op::Stall(c, on)),
        1 => client.prop_map(Op::Refresh),
        2 => (0u64..20).prop_map(Op::Wait),
    ]
}

fn name(number: u8) -> String {
    format!("10.9.0.{number}/32")
}

/// What is said of a path: the higher the better, apart from the client, of which the lower is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    local_preference: u32,
    lower_med: std::cmp::Reverse<u32>,
    client: std::cmp::Reverse<usize>,
    mark: u32,
}

/// All routes of all clients.
type Model = BTreeMap<(u8, usize), Path>;

fn apply(fabric: &mut Fabric, model: &mut Model, op: &Op) {
    match *op {
        Op::Originate(client, number, local_preference, med, mark) => {
            let path = Path {
                local_preference,
                lower_med: std::cmp::Reverse(med),
                client: std::cmp::Reverse(client),
                mark,
            };
            model.insert((number, client), path);
            let communities = vec![Community::Large(LargeCommunity([65000, 1, mark]))];
            let route = LocalRoute {
                prefix: prefix(&name(number)),
                next_hop: ip(&leaf(client - 1)),
                local_preference: Some(local_preference),
                med: Some(med),
                communities,
            };
            fabric.input(client, Input::Originate(vec![route]));
        }
        Op::Withdraw(client, number) => {
            model.remove(&(number, client));
            fabric.input(client, Input::Withdraw(vec![prefix(&name(number))]));
        }
        Op::Break(client) => fabric.kill(client),
        Op::Stall(client, false) => fabric.nodes[client].reads = false,
        Op::Stall(client, true) => fabric.resume(client),
        Op::Refresh(client) => {
            let peer = ip("10.0.0.1");
            let action = bgp::AdminAction::RefreshIn;
            fabric.input(client, Input::Admin { peer, action });
        }
        Op::Wait(seconds) => fabric.pass(Duration::from_secs(seconds)),
    }
    fabric.settle();
}

/// What the reflector tells a client, by the model.
fn expected(model: &Model, client: usize) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for number in 0..PREFIXES {
        let paths = model
            .range((number, 0)..=(number, CLIENTS))
            .map(|(_, path)| path);
        let Some(best) = paths.max().filter(|best| best.client.0 != client) else {
            continue;
        };
        let source = leaf(best.client.0 - 1);
        let words = format!(
            "via {source} lp {} med {} mark {} originator {source} clusters 10.0.0.1",
            best.local_preference, best.lower_med.0, best.mark
        );
        told.insert(name(number), words);
    }
    told
}

/// What a client has from the reflector.
fn received(fabric: &Fabric, client: usize) -> BTreeMap<String, String> {
    let routes = fabric.routes(client, Table::In, Some(0));
    let words = |route: bgp::RouteView| {
        let a = route.attributes;
        let clusters: Vec<String> = a.cluster_list.iter().map(ToString::to_string).collect();
        let text = format!(
            "via {} lp {} med {} mark {} originator {} clusters {}",
            a.next_hop,
            a.local_preference.expect("preference"),
            a.med.expect("med"),
            a.large_communities[0].0[2],
            a.originator_id.expect("originator"),
            clusters.join(" "),
        );
        (route.prefix.to_string(), text)
    };
    routes.into_iter().map(words).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_reflector_tells_what_the_model_tells(
        ops in prop::collection::vec(op(), 1..40),
        piece in prop_oneof![Just(usize::MAX), 1usize..50],
    ) {
        let mut fabric = star(CLIENTS);
        fabric.piece = piece;
        let mut model = Model::new();
        for op in &ops {
            apply(&mut fabric, &mut model, op);
        }
        for client in 1..=CLIENTS {
            fabric.resume(client);
        }
        // Sessions that a stalled peer lost come back, and what was kept for it goes.
        fabric.pass(Duration::from_secs(1000));
        for client in 1..=CLIENTS {
            prop_assert_eq!(received(&fabric, client), expected(&model, client), "client {}", client);
        }
    }
}
