//! The control packet (RFC 5880, section 4.1) and why one is discarded (section 6.8.6).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a control packet without authentication.
pub const LENGTH: usize = 24;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The state of a session.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum State {
    /// Held down by a person.
    AdminDown,
    /// The peer is not heard.
    #[default]
    Down,
    /// The peer is heard, and does not hear us yet as far as we know.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AdminDown => "admin-down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        })
    }
}

/// Why a session left `Up` (RFC 5880, section 4.1, with the assignments of RFC 6428).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Diagnostic {
    /// Nothing happened.
    #[default]
    None,
    /// Nothing was heard for the detection time.
    DetectionTimeExpired,
    /// The echo function failed.
    EchoFailed,
    /// The peer said that it is down.
    NeighborSignaledDown,
    /// The forwarding plane was reset.
    ForwardingPlaneReset,
    /// The path is down.
    PathDown,
    /// A path that this one is made of is down.
    ConcatenatedPathDown,
    /// Held down by a person.
    AdministrativelyDown,
    /// The reverse of a path that this one is made of is down.
    ReverseConcatenatedPathDown,
    /// A code without a name here.
    Other(u8),
}

impl Diagnostic {
    fn from_code(code: u8) -> Self {
        match code & 0x1f {
            0 => Self::None,
            1 => Self::DetectionTimeExpired,
            2 => Self::EchoFailed,
            3 => Self::NeighborSignaledDown,
            4 => Self::ForwardingPlaneReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            other => Self::Other(other),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::DetectionTimeExpired => 1,
            Self::EchoFailed => 2,
            Self::NeighborSignaledDown => 3,
            Self::ForwardingPlaneReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Other(code) => code & 0x1f,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::DetectionTimeExpired => f.pad("detection time expired"),
            Self::EchoFailed => f.pad("echo function failed"),
            Self::NeighborSignaledDown => f.pad("neighbor signaled session down"),
            Self::ForwardingPlaneReset => f.pad("forwarding plane reset"),
            Self::PathDown => f.pad("path down"),
            Self::ConcatenatedPathDown => f.pad("concatenated path down"),
            Self::AdministrativelyDown => f.pad("administratively down"),
            Self::ReverseConcatenatedPathDown => f.pad("reverse concatenated path down"),
            Self::Other(code) => write!(f, "code {code}"),
        }
    }
}

/// A control packet. Intervals have whole microseconds on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session last left `Up`.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// The sender asks for an answer at once.
    pub poll: bool,
    /// This is the answer.
    pub is_final: bool,
    /// The sender's BFD does not share the fate of its control plane.
    pub control_plane_independent: bool,
    /// The sender wishes not to be sent periodic packets.
    pub demand: bool,
    /// How many intervals without a packet mean that the sender is gone; not 0.
    pub detect_multiplier: u8,
    /// The sender's number of this session; not 0.
    pub my_discriminator: u32,
    /// The receiver's number of this session as far as the sender knows it, else 0.
    pub your_discriminator: u32,
    /// The sender would not like to send more often.
    pub desired_min_tx: Duration,
    /// The sender cannot receive more often; 0: it wants no periodic packets.
    pub required_min_rx: Duration,
}

/// Why a packet is not looked at further.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    thiserror::Error,
    Serialize,
    Deserialize,
)]
pub enum Discard {
    /// Fewer bytes than the length field says, or than a packet has.
    #[error("truncated")]
    Truncated,
    /// Not version 1.
    #[error("version is not 1")]
    Version,
    /// The length field is too small.
    #[error("bad length field")]
    Length,
    /// A multiplier of 0.
    #[error("detect multiplier is 0")]
    Multiplier,
    /// The multipoint bit.
    #[error("multipoint bit is set")]
    Multipoint,
    /// A sender without discriminator.
    #[error("my discriminator is 0")]
    NoDiscriminator,
    /// A sender in a session that does not know the receiver.
    #[error("your discriminator is 0 in state init or up")]
    NotAddressed,
    /// Authentication, which is not in use.
    #[error("authentication is not in use")]
    Authentication,
    /// It came over more hops than the session has.
    #[error("hop limit too low")]
    HopLimit,
    /// There is no such session.
    #[error("no such session")]
    NoSession,
    /// The session is held down.
    #[error("the session is held down")]
    AdminDown,
}

impl Packet {
    /// Reads a packet and checks what can be checked without a session.
    ///
    /// # Errors
    /// The first of the standard's reasons to discard it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Discard> {
        let bytes = check_length(bytes)?;
        let flags = bytes[1];
        let packet = Self {
            diagnostic: Diagnostic::from_code(bytes[0]),
            state: State::from_bits(flags >> 6),
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            detect_multiplier: bytes[2],
            my_discriminator: word(bytes, 4),
            your_discriminator: word(bytes, 8),
            desired_min_tx: Duration::from_micros(word(bytes, 12).into()),
            required_min_rx: Duration::from_micros(word(bytes, 16).into()),
        };
        if packet.detect_multiplier == 0 {
            return Err(Discard::Multiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        if packet.my_discriminator == 0 {
            return Err(Discard::NoDiscriminator);
        }
        if packet.your_discriminator == 0 && packet.state > State::Down {
            return Err(Discard::NotAddressed);
        }
        if flags & AUTHENTICATION != 0 {
            return Err(Discard::Authentication);
        }
        Ok(packet)
    }

    /// The packet as it is sent. Intervals of more than 71 minutes become that.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut flags = (self.state as u8) << 6;
        for (set, flag) in [
            (self.poll, POLL),
            (self.is_final, FINAL),
            (self.control_plane_independent, CONTROL_PLANE_INDEPENDENT),
            (self.demand, DEMAND),
        ] {
            flags |= if set { flag } else { 0 };
        }
        bytes[0] = VERSION << 5 | self.diagnostic.code();
        bytes[1] = flags;
        bytes[2] = self.detect_multiplier;
        bytes[3] = LENGTH as u8;
        bytes[4..8].copy_from_slice(&self.my_discriminator.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.your_discriminator.to_be_bytes());
        bytes[12..16].copy_from_slice(&micros(self.desired_min_tx));
        bytes[16..20].copy_from_slice(&micros(self.required_min_rx));
        bytes
    }
}

/// The packet itself: a datagram may be longer than its length field says.
fn check_length(bytes: &[u8]) -> Result<&[u8], Discard> {
    let header = bytes.get(..LENGTH).ok_or(Discard::Truncated)?;
    if header[0] >> 5 != VERSION {
        return Err(Discard::Version);
    }
    let least = if header[1] & AUTHENTICATION != 0 {
        LENGTH + 2
    } else {
        LENGTH
    };
    let length = usize::from(header[3]);
    if length < least {
        return Err(Discard::Length);
    }
    bytes.get(..length).ok_or(Discard::Truncated)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_be_bytes(word.copied().unwrap_or_default())
}

fn micros(interval: Duration) -> [u8; 4] {
    u32::try_from(interval.as_micros())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}
