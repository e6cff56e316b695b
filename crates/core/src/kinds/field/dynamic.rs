//! What dynamic configuration is made of: sources, points in time, digests, event types.

use api::time::Timestamp;

use super::{Complaint, TextField};
use crate::dynamic::Digest;
use crate::observer::parse_mac;

impl TextField for Timestamp {
    const FORMAT: &'static str = "date-time";
    const WHAT: &'static str = "a point in time (RFC 3339, as 2026-05-31T01:30:55Z)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse()
            .map_err(|_| Complaint::not::<Self>("bad-time", text))
    }
}

/// Who says something dynamic: `EventSubscription/clients`, or a word of one's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceName(pub(crate) String);

impl TextField for SourceName {
    const FORMAT: &'static str = "dynamic-source";
    const WHAT: &'static str = "a source (`EventSubscription/NAME`, `DynamicConfigSource/NAME`, or letters, digits, \
                                `-`, `_`, `.` and `/`)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts && text.len() <= 300 && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Complaint::not::<Self>("bad-source", text))
        }
    }
}

impl TextField for Digest {
    const FORMAT: &'static str = "sha256-digest";
    const WHAT: &'static str = "a digest (`sha256:` and 64 hexadecimal digits)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse()
            .map_err(|()| Complaint::not::<Self>("bad-digest", text))
    }
}

/// The type of an event, `routerd.client.ipv4.observed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Topic(pub(crate) String);

impl TextField for Topic {
    const FORMAT: &'static str = "event-topic";
    const WHAT: &'static str =
        "the type of an event (words of letters, digits, `-` and `_` with dots between)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let word = |word: &str| !word.is_empty() && word.chars().all(legal);
        if text.len() <= 253 && text.split('.').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Complaint::not::<Self>("bad-event-type", text))
        }
    }
}

/// The hardware address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HardwareAddress(pub(crate) [u8; 6]);

impl TextField for HardwareAddress {
    const FORMAT: &'static str = "hardware-address";
    const WHAT: &'static str = "a hardware address (six bytes, as 52:54:00:12:34:56)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let unicast = |mac: &[u8; 6]| mac[0] & 1 == 0 && *mac != [0; 6];
        parse_mac(text)
            .filter(unicast)
            .map(Self)
            .ok_or_else(|| Complaint::not::<Self>("bad-hardware-address", text))
    }
}
