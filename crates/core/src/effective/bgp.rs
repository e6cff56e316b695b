//! What the BGP speaker is asked to be, and how its peers are reached.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use api::{IfName, ResourceId};
use bgp::{PrefixList, SpeakerConfig};

/// The speaker of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// What it is told to be.
    pub speaker: SpeakerConfig,
    /// Where it listens; the unspecified address stands for all.
    pub listen: SocketAddrV4,
    /// How the peers of fixed addresses are reached.
    pub peers: BTreeMap<IpAddr, Transport>,
    /// How the peers of each range are reached, by the range's name.
    pub ranges: BTreeMap<String, Transport>,
    /// What of the host's routes is announced.
    pub redistribute: Redistribute,
    /// Who is told what peers say.
    pub monitoring: Monitoring,
}

/// Who is told what peers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitoring {
    /// BMP stations, with the time between two statistics.
    pub stations: BTreeMap<SocketAddr, Duration>,
    /// Files.
    pub archive: Option<MrtArchive>,
}

impl Monitoring {
    /// Whether somebody is told.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.stations.is_empty() || self.archive.is_some()
    }
}

/// MRT files in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MrtArchive {
    /// Where; made if it is not there.
    pub directory: PathBuf,
    /// How long one file of updates is written.
    pub rotate: Duration,
    /// The time between two tables; none are written if absent.
    pub tables: Option<Duration>,
    /// How many files of each sort are kept.
    pub keep_files: usize,
}

/// What of the host's routes is announced; nothing unless told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redistribute {
    /// Networks of the host's interfaces.
    pub connected: PrefixList,
    /// Routes of IPv4Route resources.
    pub fixed: PrefixList,
}

/// How a peer is reached, below the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// Who asks.
    pub owner: ResourceId,
    /// TCP MD5 (RFC 2385).
    pub password: Option<PasswordSource>,
    /// How far away it is.
    pub hops: Hops,
    /// Whether the path is watched, and how.
    pub bfd: Option<BfdIntent>,
}

/// How far away a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hops {
    /// TTL of packets to it; absent: the system's.
    pub ttl: Option<u8>,
    /// TTL that packets from it must still have (RFC 5082); absent: any.
    pub least: Option<u8>,
}

/// A watched path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The interface of a single-hop session; absent: as the kernel routes to the peer.
    pub interface: Option<IfName>,
    /// We send no faster.
    pub min_tx: Duration,
    /// The peer shall send no faster.
    pub min_rx: Duration,
    /// Intervals without a packet before the path is down.
    pub multiplier: NonZeroU8,
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file; its first line.
    File(PathBuf),
    /// The configuration itself.
    Inline(Password),
}

/// A TCP MD5 password: 1 to 80 bytes. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The longest that the kernel takes.
    pub const MAX_LEN: usize = 80;

    /// A password; absent if it has a wrong length or control characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }

    /// For the kernel alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
