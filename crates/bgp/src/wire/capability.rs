//! Capabilities (RFC 5492).

use std::collections::{BTreeMap, BTreeSet};

use super::reader::Reader;
use crate::types::{Asn, Family};

/// Everything one side says that it can do. Unknown capabilities and families are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// RFC 4760.
    pub(crate) families: BTreeSet<Family>,
    /// RFC 2918.
    pub(crate) route_refresh: bool,
    /// RFC 7313.
    pub(crate) enhanced_refresh: bool,
    /// RFC 8654.
    pub(crate) extended_messages: bool,
    /// RFC 6793: the number, 0 included.
    pub(crate) four_octet_asn: Option<u32>,
    /// RFC 4724.
    pub(crate) restart: Option<Restart>,
    /// RFC 9494.
    pub(crate) long_lived: BTreeMap<Family, LongLivedFamily>,
    /// RFC 7911.
    pub(crate) add_path: BTreeMap<Family, AddPathModes>,
}

/// Graceful restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Restart {
    /// Whether the sender has just restarted.
    pub(crate) restarted: bool,
    /// Seconds that the sender needs to come back.
    pub(crate) time: u16,
    pub(crate) families: BTreeMap<Family, RestartFamily>,
}

/// Graceful restart of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestartFamily {
    /// Whether the sender still forwards as before.
    pub(crate) forwarding: bool,
}

/// Long-lived graceful restart of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LongLivedFamily {
    pub(crate) forwarding: bool,
    /// Seconds.
    pub(crate) stale_time: u32,
}

/// Directions in which several paths of a prefix go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AddPathModes {
    pub(crate) receive: bool,
    pub(crate) send: bool,
}

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_REFRESH: u8 = 70;
const LONG_LIVED: u8 = 71;

impl Capabilities {
    pub(crate) fn encode(&self, asn: Asn, out: &mut Vec<u8>) {
        for family in &self.families {
            put(out, MULTIPROTOCOL, &family.wire());
        }
        if self.route_refresh {
            put(out, ROUTE_REFRESH, &[]);
        }
        if self.extended_messages {
            put(out, EXTENDED_MESSAGE, &[]);
        }
        if let Some(restart) = &self.restart {
            put(out, GRACEFUL_RESTART, &restart.encode());
        }
        put(out, FOUR_OCTET_AS, &asn.get().to_be_bytes());
        let mut value = Vec::new();
        for (family, modes) in &self.add_path {
            let [afi_high, afi_low, _, safi] = family.wire();
            let mode = u8::from(modes.receive) | u8::from(modes.send) << 1;
            value.extend_from_slice(&[afi_high, afi_low, safi, mode]);
        }
        if !value.is_empty() {
            put(out, ADD_PATH, &value);
        }
        if self.enhanced_refresh {
            put(out, ENHANCED_REFRESH, &[]);
        }
        let mut value = Vec::new();
        for (family, long_lived) in &self.long_lived {
            let [afi_high, afi_low, _, safi] = family.wire();
            let flags = u8::from(long_lived.forwarding) << 7;
            value.extend_from_slice(&[afi_high, afi_low, safi, flags]);
            value.extend_from_slice(&long_lived.stale_time.to_be_bytes()[1..]);
        }
        if !value.is_empty() {
            put(out, LONG_LIVED, &value);
        }
    }

    /// Adds what one optional parameter holds. `None` if it is malformed.
    pub(crate) fn decode(&mut self, parameter: &[u8]) -> Option<()> {
        let mut reader = Reader(parameter);
        while !reader.is_empty() {
            let code = reader.u8()?;
            let length = usize::from(reader.u8()?);
            self.decode_one(code, reader.take(length)?)?;
        }
        Some(())
    }

    fn decode_one(&mut self, code: u8, value: &[u8]) -> Option<()> {
        let mut value = Reader(value);
        match code {
            MULTIPROTOCOL => {
                let [afi_high, afi_low, _, safi] = value.array()?;
                self.families.extend(family(afi_high, afi_low, safi));
            }
            ROUTE_REFRESH => self.route_refresh = true,
            EXTENDED_MESSAGE => self.extended_messages = true,
            GRACEFUL_RESTART => self.restart = Some(Restart::decode(value)?),
            FOUR_OCTET_AS => self.four_octet_asn = Some(value.u32()?),
            ADD_PATH => {
                while !value.is_empty() {
                    let [afi_high, afi_low, safi, mode] = value.array()?;
                    let modes = AddPathModes {
                        receive: mode & 1 != 0,
                        send: mode & 2 != 0,
                    };
                    // Any other mode has to be ignored (RFC 7911, section 4).
                    if let (Some(family), 1..=3) = (family(afi_high, afi_low, safi), mode) {
                        self.add_path.insert(family, modes);
                    }
                }
            }
            ENHANCED_REFRESH => self.enhanced_refresh = true,
            LONG_LIVED => {
                while !value.is_empty() {
                    let [afi_high, afi_low, safi, flags, time @ ..] = value.array::<7>()?;
                    let long_lived = LongLivedFamily {
                        forwarding: flags & 0x80 != 0,
                        stale_time: u32::from_be_bytes([0, time[0], time[1], time[2]]),
                    };
                    if let Some(family) = family(afi_high, afi_low, safi) {
                        self.long_lived.insert(family, long_lived);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

impl Restart {
    const RESTARTED: u16 = 0x8000;

    fn encode(&self) -> Vec<u8> {
        let flag = if self.restarted { Self::RESTARTED } else { 0 };
        let mut value = (flag | self.time & 0xfff).to_be_bytes().to_vec();
        for (family, state) in &self.families {
            let [afi_high, afi_low, _, safi] = family.wire();
            value.extend_from_slice(&[afi_high, afi_low, safi, u8::from(state.forwarding) << 7]);
        }
        value
    }

    fn decode(mut value: Reader<'_>) -> Option<Self> {
        let head = value.u16()?;
        let mut families = BTreeMap::new();
        while !value.is_empty() {
            let [afi_high, afi_low, safi, flags] = value.array()?;
            let forwarding = flags & 0x80 != 0;
            if let Some(family) = family(afi_high, afi_low, safi) {
                families.insert(family, RestartFamily { forwarding });
            }
        }
        Some(Self {
            restarted: head & Self::RESTARTED != 0,
            time: head & 0xfff,
            families,
        })
    }
}

fn family(afi_high: u8, afi_low: u8, safi: u8) -> Option<Family> {
    Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi)
}

fn put(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    out.push(code);
    out.push(u8::try_from(value.len()).unwrap_or(0));
    out.extend_from_slice(value);
}
