//! The BGP speaker without sockets: what a route costs when there are few and when there are many, of routes and of
//! clients. Ours against ours: the goal is a straight line. Against other speakers it is measured over real sessions.

use std::net::IpAddr;

use anyhow::{Context, Result};
use bgp::{
    Asn, ConnId, DynamicPeerConfig, Input, Output, PeerConfig, RouterId, Speaker, SpeakerConfig,
    Start, Time,
};

use crate::Row;

/// A reflector, two senders and some receivers.
struct Star {
    speaker: Speaker,
    receivers: u64,
    octets: u64,
}

const SENDERS: u64 = 2;

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    let length = u16::try_from(19 + body.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

fn address(conn: u64) -> [u8; 4] {
    let [.., high, low] = (conn + 10).to_be_bytes();
    [10, 99, high, low]
}

impl Star {
    fn new(receivers: u64) -> Result<Self> {
        let asn = Asn::try_from(65000)?;
        let mut config = SpeakerConfig::new(asn, RouterId::try_from(0x0a63_0001)?);
        config.fib = false;
        let template = PeerConfig {
            route_reflector_client: true,
            ..PeerConfig::new(asn)
        };
        config.dynamic.push(DynamicPeerConfig {
            name: "clients".into(),
            sources: vec!["10.99.0.0/16".parse()?],
            template,
            max_peers: 60_000,
            admissions: None,
        });
        let start = Start {
            now: Time::default(),
            seed: 1,
            restarting: None,
        };
        let mut star = Self {
            speaker: Speaker::new(config, start),
            receivers,
            octets: 0,
        };
        for conn in 0..SENDERS + receivers {
            star.establish(conn);
        }
        Ok(star)
    }

    fn establish(&mut self, conn: u64) {
        let id = address(conn);
        self.input(Input::Accepted {
            conn: ConnId(conn),
            local: IpAddr::from([10, 99, 0, 1]),
            remote: IpAddr::from(id),
        });
        let mut open = vec![4, 0xfd, 0xe8, 0, 0];
        open.extend(id);
        open.extend([14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8]);
        self.receive(conn, &frame(1, &open));
        self.receive(conn, &frame(4, &[]));
    }

    fn input(&mut self, input: Input<'_>) {
        self.speaker.handle(Time::default(), input);
        while let Some(output) = self.speaker.poll_output() {
            if let Output::Send { conn, bytes } = output {
                let count = bytes.len();
                self.octets += count as u64;
                self.speaker
                    .handle(Time::default(), Input::Sent { conn, count });
            }
        }
    }

    fn receive(&mut self, conn: u64, bytes: &[u8]) {
        let conn = ConnId(conn);
        self.input(Input::Received {
            conn,
            bytes: bytes.into(),
        });
    }

    /// Sends everything as a socket would hand it over; seconds.
    fn bulk(&mut self, conn: u64, stream: &[u8]) -> f64 {
        let start = on_cpu();
        for piece in stream.chunks(256 * 1024) {
            self.receive(conn, piece);
        }
        on_cpu() - start
    }
}

/// UPDATEs for so many `/32`s, all with the same attributes or each with its own.
fn updates(sender: u64, routes: u32, preference: u32, own_attributes: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let per_update = if own_attributes { 1 } else { 800 };
    for first in (0..routes).step_by(per_update) {
        let last = routes.min(first + u32::try_from(per_update).unwrap_or(1));
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
        attributes.extend(address(sender));
        attributes.extend([0x40, 5, 4]);
        attributes.extend(preference.to_be_bytes());
        if own_attributes {
            attributes.extend([0xc0, 32, 12]);
            for word in [65000, first, 1] {
                attributes.extend(word.to_be_bytes());
            }
        }
        let mut body = vec![0, 0];
        body.extend(u16::try_from(attributes.len()).unwrap_or(0).to_be_bytes());
        body.extend(attributes);
        for route in first..last {
            body.push(32);
            body.extend((0x1400_0000 + route).to_be_bytes());
        }
        out.extend(frame(2, &body));
    }
    out
}

/// Seconds that this thread has run: the core is one thread, and others use the machine as well.
fn on_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat
        .split_whitespace()
        .next()
        .and_then(|n| n.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

/// Resident memory in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// Nanoseconds a route for bulk, takeover and the owner's death.
fn phases(routes: u32, receivers: u64, own: bool) -> Result<[f64; 3]> {
    let before = resident();
    let mut star = Star::new(receivers)?;
    let (first, second) = (updates(0, routes, 100, own), updates(1, routes, 200, own));
    let streams = resident();
    let bulk = star.bulk(0, &first);
    let loaded = resident();
    let takeover = star.bulk(1, &second);
    let both = resident();
    let start = on_cpu();
    let reason = String::new();
    star.input(Input::Closed {
        conn: ConnId(1),
        reason,
    });
    let death = on_cpu() - start;
    let per_route = |seconds: f64| seconds * 1e9 / f64::from(routes);
    let [bulk, takeover, death] = [bulk, takeover, death].map(per_route);
    eprintln!(
        "  {routes} routes, {} clients, {} attributes: bulk {bulk:.0} takeover {takeover:.0} death {death:.0} ns/route, \
         {:.0} MB + {:.0} MB ({:.0} before), {} MB sent",
        star.receivers,
        if own { "own" } else { "shared" },
        loaded - streams,
        both - loaded,
        before,
        star.octets >> 20,
    );
    Ok([bulk, takeover, death])
}

pub fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for own in [false, true] {
        let what = if own { "own" } else { "shared" };
        let large = if own { 300_000 } else { 1_000_000 };
        let few = phases(100_000, 4, own).context("few routes")?;
        let many = phases(large, 4, own).context("many routes")?;
        for (phase, (few, many)) in ["bulk", "takeover", "death"]
            .iter()
            .zip(few.iter().zip(many))
        {
            rows.push(Row::less(
                format!("bgp core {phase}, {what}, {large}"),
                "ns/route",
                many,
                ("100,000 routes", *few),
                0.5,
            ));
        }
    }
    let few = phases(100_000, 10, false)?;
    let many = phases(100_000, 1000, false)?;
    let per_client = |nanos: f64, clients: f64| nanos / clients;
    rows.push(Row::less(
        "bgp core bulk, 1000 clients",
        "ns/route/client",
        per_client(many[0], 1000.0),
        ("10 clients", per_client(few[0], 10.0)),
        0.8,
    ));
    Ok(rows)
}
