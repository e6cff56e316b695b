//! A peer that says what a test wants it to say, octet by octet.

use std::fmt::Write;
use std::net::IpAddr;

use bgp::{
    ConnId, EventKind, Input, Output, PeerConfig, RouteQuery, Speaker, SpeakerConfig, Start, Table,
    Time,
};

use crate::fabric::{config, ip};

pub(crate) struct Raw {
    pub(crate) speaker: Speaker,
    pub(crate) now: Time,
    pub(crate) log: Vec<String>,
    pub(crate) sent: Vec<u8>,
    pub(crate) closed: bool,
}

pub(crate) const PEER: &str = "10.0.0.2";
const CONN: ConnId = ConnId(7);

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("length");
    let mut out = vec![0xff; 16];
    out.extend(length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// An OPEN of router 10.0.0.2 with these capabilities.
pub(crate) fn open(asn: u16, capabilities: &[u8]) -> Vec<u8> {
    open_of([10, 0, 0, 2], asn, capabilities)
}

pub(crate) fn open_of(id: [u8; 4], asn: u16, capabilities: &[u8]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend([0, 90]);
    body.extend(id);
    let length = u8::try_from(capabilities.len()).expect("length");
    body.extend([length + 2, 2, length]);
    body.extend_from_slice(capabilities);
    message(1, &body)
}

pub(crate) fn four_octet(asn: u32) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 65, 4];
    capabilities.extend(asn.to_be_bytes());
    capabilities
}

impl Raw {
    /// A speaker with one passive peer, not connected yet.
    pub(crate) fn new(peer: PeerConfig, change: impl FnOnce(&mut SpeakerConfig)) -> Self {
        let mut config = config("10.0.0.1");
        let passive = PeerConfig {
            passive: true,
            ..peer
        };
        config.peers.insert(ip(PEER), passive);
        change(&mut config);
        let start = Start {
            now: Time::default(),
            seed: 1,
            restarting: None,
        };
        Self {
            speaker: Speaker::new(config, start),
            now: Time::default(),
            log: Vec::new(),
            sent: Vec::new(),
            closed: false,
        }
    }

    /// A speaker with one peer and a session.
    pub(crate) fn established(peer: PeerConfig, capabilities: &[u8]) -> Self {
        let asn = u16::try_from(peer.asn.get()).unwrap_or(23456);
        let mut raw = Self::new(peer, |_| ());
        raw.accept();
        raw.receive(&open(asn, capabilities));
        raw.receive(&message(4, &[]));
        assert!(raw.log.iter().any(|l| l.starts_with("up")), "{:?}", raw.log);
        raw.log.clear();
        raw.sent.clear();
        raw
    }

    pub(crate) fn accept(&mut self) {
        self.input(Input::Accepted {
            conn: CONN,
            local: ip("10.0.0.1"),
            remote: ip(PEER),
        });
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.speaker.handle(self.now, input);
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Send { conn, bytes } => {
                    self.sent.extend_from_slice(&bytes);
                    let count = bytes.len();
                    self.speaker.handle(self.now, Input::Sent { conn, count });
                }
                Output::Close { .. } => self.closed = true,
                Output::Event(event) => self.log.push(words(&event.kind)),
                _ => {}
            }
        }
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let bytes = bytes.to_vec().into();
        self.input(Input::Received { conn: CONN, bytes });
    }

    pub(crate) fn routes(&self, table: Table) -> Vec<bgp::RouteView> {
        self.speaker.routes(&RouteQuery {
            table,
            peer: None,
            prefix: None,
            limit: usize::MAX,
            after: None,
        })
    }

    /// What there is now, for a golden.
    pub(crate) fn state(&self) -> String {
        let mut text = String::new();
        for line in &self.log {
            let _ = writeln!(text, "{line}");
        }
        let peer: IpAddr = ip(PEER);
        let view = self.speaker.peer(peer).expect("peer");
        let _ = writeln!(text, "session {}", view.state);
        for route in self
            .routes(Table::In)
            .iter()
            .chain(&self.routes(Table::Rejected))
        {
            let json = serde_json::to_value(&route.attributes).expect("json");
            let json = json.as_object().expect("object");
            let _ = write!(text, "route {}", route.prefix);
            for (name, value) in json {
                let value = value.to_string().replace('"', "");
                if !matches!(value.as_str(), "null" | "[]" | "false") {
                    let _ = write!(text, " {name}={value}");
                }
            }
            if let Some(reason) = route.rejected {
                let _ = write!(text, " refused: {reason}");
            }
            text.push('\n');
        }
        text
    }
}

fn words(kind: &EventKind) -> String {
    match kind {
        EventKind::Up { .. } => "up".to_owned(),
        EventKind::Down { reason, .. } => format!("down: {reason}"),
        EventKind::Failed(reason) => format!("failed: {reason}"),
        EventKind::Malformed { error, handling } => format!("{error}: {handling}"),
        EventKind::Refused { prefix, reason } => format!("refused {prefix}: {reason}"),
        other => format!("{other:?}"),
    }
}
