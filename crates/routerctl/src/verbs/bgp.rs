//! `routerctl get bgp …` and `routerctl describe bgp …`: what the speaker knows.

use std::net::IpAddr;

use bgp::{
    Event, EventKind, Explanation, PathAttributes, PeerView, Prefix, RouteView, Segment,
    SessionState,
};
use routerd_core::bgp::{BfdView, DatedEvent, Happened, SpeakerView};

use super::events::utc;
use crate::cli::{Get, Show};
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::output::{Cell, Table, print};
use crate::terminal::{Colour, Terminal};

/// Routes in one request.
const PAGE: usize = 10_000;

const WHAT: &str = "peers, routes, bfd, next-hops, monitoring or events";

pub(super) fn run(
    options: &Get,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let show = options.show;
    match options.name.as_deref() {
        Some("peers") => peers(show, client, terminal),
        Some("routes") => routes(options, client, terminal),
        Some("bfd") => bfd(show, client, terminal),
        Some("monitoring") => monitoring(show, client, terminal),
        Some("next-hops") => next_hops(show, client, terminal),
        Some("events") => events(options, client, terminal),
        other => {
            let what = other.map_or_else(String::new, |other| format!(", not {other}"));
            let message = format!("after `bgp` comes {WHAT}{what}");
            Err(Failure::Argument(message, "`routerctl get bgp peers`"))
        }
    }
}

fn peers(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let view: SpeakerView = client.get("/v1/bgp")?;
    print(terminal, show.output, &view, |view, terminal| {
        let headings = [
            "PEER",
            "AS",
            "STATE",
            "SINCE",
            "ACCEPTED",
            "REJECTED",
            "STALE",
            "BFD",
            "LAST ERROR",
        ];
        let mut table = Table::new(headings);
        for (peer, since) in view.peers.iter().zip(&view.since) {
            table.row(peer_row(peer, *since));
        }
        table.print(terminal)?;
        for (what, why) in &view.problems {
            writeln!(terminal.out, "{what}: {why}")?;
        }
        Ok(())
    })?;
    Ok(OK)
}

fn peer_row(peer: &PeerView, since: u64) -> [Cell; 9] {
    let sum = |count: fn(&bgp::FamilyView) -> u32| peer.families.values().map(count).sum::<u32>();
    let colour = match peer.state {
        SessionState::Established => Colour::Green,
        _ => Colour::Yellow,
    };
    let bfd = match peer.bfd {
        None => "",
        Some(true) => "up",
        Some(false) => "down",
    };
    let error = peer.last_error.as_ref();
    [
        peer.address.to_string().into(),
        peer.asn.to_string().into(),
        Cell::painted(colour, peer.state.to_string()),
        age(since).into(),
        sum(|family| family.accepted).to_string().into(),
        sum(|family| family.rejected).to_string().into(),
        sum(|family| family.stale).to_string().into(),
        bfd.into(),
        error.map_or_else(String::new, ToString::to_string).into(),
    ]
}

/// `42s`, `12m`, `3h12m`, `5d3h`.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m"),
        3_600..86_400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

fn routes(options: &Get, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let destination = options.destination.as_deref().map(prefix).transpose()?;
    let asked = &options.bgp;
    let (table, peer) = match (asked.rejected, asked.received_from, asked.sent_to) {
        (true, ..) => ("rejected", None),
        (_, Some(peer), _) => ("in", Some(peer)),
        (.., Some(peer)) => ("out", Some(peer)),
        _ if destination.is_some() => ("in", None),
        _ => ("best", None),
    };
    let mut path = format!("/v1/bgp/routes?table={table}&limit={PAGE}");
    let more = [
        peer.map(|peer| format!("&peer={peer}")),
        destination.map(|prefix| format!("&prefix={prefix}")),
    ];
    path.extend(more.into_iter().flatten());
    let mut routes: Vec<RouteView> = client.get(&path)?;
    // A table that does not fit into one answer comes page by page.
    let mut page = routes.len();
    while page >= PAGE && destination.is_none() {
        let Some(last) = routes.last().map(|route| route.prefix) else {
            break;
        };
        let next: Vec<RouteView> = client.get(&format!("{path}&after={last}"))?;
        page = next.len();
        routes.extend(next);
    }
    print(terminal, options.show.output, &routes, route_table)?;
    Ok(OK)
}

/// A destination as a prefix: a bare address is a host.
fn prefix(text: &str) -> Result<Prefix, Failure> {
    let host = text.parse::<IpAddr>().ok().map(Prefix::host);
    host.or_else(|| text.parse().ok()).ok_or_else(|| {
        let message = format!("`{text}` is neither an address nor a prefix");
        Failure::Argument(message, "for example 10.77.60.5 or 10.77.60.0/24")
    })
}

fn route_table(routes: &Vec<RouteView>, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let rejected = routes.iter().any(|route| route.rejected.is_some());
    let mut headings = vec![
        "",
        "PREFIX",
        "NEXT HOP",
        "FROM",
        "PREF",
        "MED",
        "AS PATH",
        "COMMUNITIES",
    ];
    headings.extend(rejected.then_some("REFUSED"));
    let mut table = Table::new(headings);
    for route in routes {
        let mut row = route_row(route).to_vec();
        row.extend(route.rejected.map(|reason| Cell::from(reason.to_string())));
        table.row(row);
    }
    table.print(terminal)
}

fn route_row(route: &RouteView) -> [Cell; 8] {
    let attributes = &route.attributes;
    let number = |number: Option<u32>| number.map_or_else(String::new, |n| n.to_string());
    let from = route
        .peer
        .map_or_else(|| "local".to_owned(), |peer| peer.to_string());
    [
        flags(route).into(),
        route.prefix.to_string().into(),
        attributes.next_hop.to_string().into(),
        from.into(),
        number(attributes.local_preference).into(),
        number(attributes.med).into(),
        as_path(attributes).into(),
        communities(attributes).into(),
    ]
}

/// `*` best, `s` stale, `!` next hop unreachable.
fn flags(route: &RouteView) -> String {
    let flags = [
        (route.best, '*'),
        (route.stale, 's'),
        (
            !route.reachable && route.peer.is_some() && route.rejected.is_none(),
            '!',
        ),
    ];
    flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| flag)
        .collect()
}

fn as_path(attributes: &PathAttributes) -> String {
    let words = |numbers: &[u32], between: &str| {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        numbers.join(between)
    };
    let segments = attributes.as_path.iter().map(|segment| match segment {
        Segment::Sequence(numbers) => words(numbers, " "),
        Segment::Set(numbers) => format!("{{{}}}", words(numbers, ",")),
    });
    segments.collect::<Vec<_>>().join(" ")
}

fn communities(attributes: &PathAttributes) -> String {
    let standard = attributes.communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    standard.chain(large).collect::<Vec<_>>().join(" ")
}

/// Why one path to a destination is best, and the others are not.
pub(super) fn explain(
    destination: &str,
    show: Show,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let prefix = prefix(destination)?;
    let explanation: Explanation = client.get(&format!("/v1/bgp/explain?prefix={prefix}"))?;
    print(
        terminal,
        show.output,
        &explanation,
        |explanation, terminal| {
            let title = terminal.paint(Colour::Bold, &explanation.prefix.to_string());
            writeln!(terminal.out, "{title}")?;
            let mut table =
                Table::new(["", "NEXT HOP", "FROM", "PREF", "MED", "AS PATH", "VERDICT"]);
            for path in &explanation.paths {
                let [flags, _, hop, from, preference, med, as_path, _] = route_row(&path.route);
                let verdict = path.verdict.as_str().into();
                table.row([flags, hop, from, preference, med, as_path, verdict]);
            }
            table.print(terminal)
        },
    )?;
    Ok(OK)
}

fn bfd(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let view: SpeakerView = client.get("/v1/bgp")?;
    print(terminal, show.output, &view.bfd, |sessions, terminal| {
        let headings = [
            "PEER",
            "SCOPE",
            "STATE",
            "PEER'S",
            "INTERVAL",
            "DETECTION",
            "PATIENCE",
            "DIAGNOSTIC",
        ];
        let mut table = Table::new(headings);
        sessions
            .iter()
            .for_each(|session| table.row(bfd_row(session)));
        table.print(terminal)
    })?;
    Ok(OK)
}

fn bfd_row(session: &BfdView) -> [Cell; 8] {
    let interval = session.interval;
    [
        session.peer.to_string().into(),
        session.scope.as_str().into(),
        session.state.as_str().into(),
        session.remote_state.as_str().into(),
        interval
            .map_or_else(String::new, |i| format!("{i:?}"))
            .into(),
        format!("{:?}", session.detection_time).into(),
        format!("x{}", session.patience).into(),
        session
            .failure
            .as_ref()
            .unwrap_or(&session.diagnostic)
            .as_str()
            .into(),
    ]
}

fn monitoring(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let view: SpeakerView = client.get("/v1/bgp")?;
    print(terminal, show.output, &view.monitoring, |told, terminal| {
        let mut table = Table::new(["TO", "OPEN", "WRITTEN", "WAITING", "OVERRUNS", "LAST ERROR"]);
        let stations = told.stations.iter();
        let archives = told.archives.iter();
        let stations = stations.map(|(address, sink)| (format!("bmp {address}"), sink));
        let archives = archives.map(|(folder, sink)| (format!("mrt {}", folder.display()), sink));
        for (name, sink) in stations.chain(archives) {
            let open = if sink.open { "yes" } else { "no" };
            table.row([
                name.into(),
                open.into(),
                sink.written.to_string().into(),
                sink.waiting.to_string().into(),
                sink.overruns.to_string().into(),
                sink.error.as_deref().unwrap_or_default().into(),
            ]);
        }
        table.print(terminal)
    })?;
    Ok(OK)
}

fn next_hops(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let view: SpeakerView = client.get("/v1/bgp")?;
    print(
        terminal,
        show.output,
        &view.next_hops,
        |next_hops, terminal| {
            let mut table = Table::new(["NEXT HOP", "WAY"]);
            for (address, way) in next_hops {
                let way = way.as_deref().unwrap_or("unreachable");
                table.row([address.to_string().into(), way.into()]);
            }
            table.print(terminal)
        },
    )?;
    Ok(OK)
}

fn events(options: &Get, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let mut from = 0;
    loop {
        let happened: Happened = client.get(&format!("/v1/bgp/events?from={from}"))?;
        print(
            terminal,
            options.show.output,
            &happened.events,
            |events, terminal| {
                for event in events {
                    writeln!(terminal.out, "{}", event_line(event))?;
                }
                Ok(())
            },
        )?;
        from = happened.next;
        if !options.bgp.follow {
            return Ok(OK);
        }
    }
}

fn event_line(dated: &DatedEvent) -> String {
    let Event { peer, kind, .. } = &dated.event;
    let what = match kind {
        EventKind::Up { router_id, asn, .. } => format!("up, AS {asn}, {router_id}"),
        EventKind::Down { reason, graceful } => {
            let kept = if *graceful {
                ", its routes are kept"
            } else {
                ""
            };
            format!("down: {reason}{kept}")
        }
        EventKind::Failed(reason) => format!("no session: {reason}"),
        EventKind::Discovered {
            range,
            present: true,
        } => format!("discovered in {range}"),
        EventKind::Discovered { range, .. } => format!("forgotten in {range}"),
        EventKind::EndOfRib(family) => format!("has told all its {family} routes"),
        EventKind::StaleRemoved(family, count) => format!("{count} stale {family} routes removed"),
        EventKind::LongLivedStale(family, count) => {
            format!("{count} stale {family} routes kept, least preferred")
        }
        EventKind::Malformed { error, handling } => {
            format!("malformed update: {error}; {handling}")
        }
        EventKind::Refused { prefix, reason } => format!("{prefix} refused: {reason}"),
        EventKind::NotAdmitted(reason) => format!("not admitted: {reason}"),
    };
    format!("{} {peer} {what}", utc(dated.at))
}
