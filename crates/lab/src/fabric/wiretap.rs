//! A tap on the underlay: looks into every packet for what must not be there in clear.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use memchr::memmem::Finder;
use serde::Serialize;

use super::frame::Frame;

/// Bytes of each packet that are kept for the evidence.
const SNAP: usize = 96;
/// Packets that are kept for the evidence.
const KEEP: usize = 2000;

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// Frames looked into.
    pub frames: u64,
    /// Bytes looked into.
    pub bytes: u64,
    /// Frames with an inner address or a marker in clear.
    pub clear: u64,
    /// The first of them, described.
    pub example: Option<String>,
}

#[derive(Debug, Default)]
struct Seen {
    sighting: Sighting,
    /// Packets with the time since the tap was laid.
    kept: Vec<(Duration, Vec<u8>)>,
}

/// The tap.
#[derive(Debug)]
pub struct Wiretap {
    inner: Vec<Ipv4Net>,
    needles: Vec<(String, Finder<'static>)>,
    seen: Mutex<Seen>,
    since: Instant,
}

impl Wiretap {
    /// Looks for packets from or to `inner` addresses, for headers between any two of `hosts` inside other
    /// packets, and for `marker`.
    pub fn new(inner: Vec<Ipv4Net>, hosts: &[Ipv4Addr], marker: &[u8]) -> Self {
        let mut needles = vec![(
            "the payload marker".to_owned(),
            Finder::new(marker).into_owned(),
        )];
        for a in hosts {
            for b in hosts.iter().filter(|b| *b != a) {
                let addresses = [a.octets(), b.octets()].concat();
                let what = format!("a header {a} -> {b}");
                needles.push((what, Finder::new(&addresses).into_owned()));
            }
        }
        Self {
            inner,
            needles,
            seen: Mutex::default(),
            since: Instant::now(),
        }
    }

    /// Looks into a packet.
    pub fn look(&self, frame: &Frame) {
        let packet = frame.packet();
        let found = self.find(frame, packet);
        let mut seen = super::lock(&self.seen);
        seen.sighting.frames += 1;
        seen.sighting.bytes += packet.len() as u64;
        if let Some(what) = found {
            seen.sighting.clear += 1;
            let (from, to) = (frame.source(), frame.destination());
            seen.sighting
                .example
                .get_or_insert_with(|| format!("{what} in a packet {from} -> {to}"));
        }
        if seen.kept.len() < KEEP {
            let head = packet[..packet.len().min(SNAP)].to_vec();
            seen.kept.push((self.since.elapsed(), head));
        }
    }

    fn find(&self, frame: &Frame, packet: &[u8]) -> Option<String> {
        let is_inner = |a: Ipv4Addr| self.inner.iter().any(|p| p.contains(&a));
        for address in [frame.source(), frame.destination()] {
            if is_inner(address) {
                return Some(format!("inner address {address}"));
            }
        }
        let hit = |(_, finder): &&(String, Finder<'_>)| finder.find(packet).is_some();
        self.needles.iter().find(hit).map(|(what, _)| what.clone())
    }

    /// What was seen since the last call; forgets it.
    pub fn take(&self) -> Sighting {
        std::mem::take(&mut super::lock(&self.seen).sighting)
    }

    /// The packets that were kept, as a capture file (LINKTYPE_RAW); its times begin at zero with the tap.
    pub fn pcap(&self) -> Vec<u8> {
        let seen = super::lock(&self.seen);
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, SNAP as u32, 101] {
            file.extend(word.to_le_bytes());
        }
        for (at, packet) in &seen.kept {
            let total = u32::from(u16::from_be_bytes([packet[2], packet[3]]));
            let (seconds, micros) = (at.as_secs() as u32, at.subsec_micros());
            for word in [seconds, micros, packet.len() as u32, total] {
                file.extend(word.to_le_bytes());
            }
            file.extend(packet);
        }
        file
    }
}
