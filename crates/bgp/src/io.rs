//! What goes into a speaker and what comes out: all of it serializes, so that a session can be recorded and replayed.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::SpeakerConfig;
use crate::types::{Asn, Community, ConnId, Family, Prefix, RouterId, Time};
use crate::view::RejectReason;

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input<'a> {
    /// The time of [`crate::Speaker::next_timeout`] has come. (Every input advances time; this one does nothing else.)
    Tick,
    /// A connection came in. It is closed by [`Output::Close`] if no peer is meant.
    Accepted {
        /// Its number.
        conn: ConnId,
        /// Our end.
        local: IpAddr,
        /// The other end.
        remote: IpAddr,
    },
    /// The connection that [`Output::Connect`] asked for is open.
    Connected {
        /// Its number.
        conn: ConnId,
        /// Our end.
        local: IpAddr,
        /// The peer.
        remote: IpAddr,
    },
    /// It could not be opened.
    ConnectFailed {
        /// The peer.
        remote: IpAddr,
        /// What the system said.
        reason: String,
    },
    /// Octets came. Any split of the stream is right; 64 KiB and more at once is fast.
    Received {
        /// From which connection.
        conn: ConnId,
        /// The octets.
        #[serde(with = "octets")]
        bytes: Cow<'a, [u8]>,
    },
    /// So many octets of earlier [`Output::Send`]s were taken by the system. Without it sending stops after a while.
    Sent {
        /// On which connection.
        conn: ConnId,
        /// How many octets more.
        count: usize,
    },
    /// A connection ended without our doing.
    Closed {
        /// Which.
        conn: ConnId,
        /// What the system said.
        reason: String,
    },
    /// The configuration is another now: the difference is applied, sessions that it does not touch stay up.
    Configure(Box<SpeakerConfig>),
    /// Routes of our own: added or replaced.
    Originate(Vec<LocalRoute>),
    /// Routes of our own that are no more.
    Withdraw(Vec<Prefix>),
    /// BFD towards a peer changed.
    Bfd {
        /// The peer.
        peer: IpAddr,
        /// What it says.
        path: PathState,
    },
    /// What became of next hops that [`Output::NextHop`] asked for.
    NextHops(Vec<(IpAddr, NextHopState)>),
    /// What an operator asked for.
    Admin {
        /// The peer.
        peer: IpAddr,
        /// What to do.
        action: AdminAction,
    },
}

/// What BFD says of the path to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    /// Packets get through.
    Up,
    /// They do not: by the word of a BFD that goes on while control planes restart (RFC 5882, section 4.3.1).
    Down,
    /// Nothing is heard of a peer whose BFD shares the fate of its control plane: the path is down, or the peer restarts
    /// (RFC 5882, section 4.3.2).
    Silent,
}

/// Whether and how far away a next hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextHopState {
    /// There is a route to it, of this metric; lower is nearer.
    Reachable(u32),
    /// There is none: its routes are not eligible.
    Unreachable,
}

/// What an operator may ask of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminAction {
    /// End the session and start it again; the peer is told why (RFC 9003).
    Reset(String),
    /// End the session and keep it down until [`AdminAction::Enable`]; the peer is told why.
    Shutdown(String),
    /// Allow the session again.
    Enable,
    /// Ask the peer for its routes once more (RFC 2918).
    RefreshIn,
    /// Send the peer our routes once more.
    RefreshOut,
}

/// A route of our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalRoute {
    /// Where to.
    pub prefix: Prefix,
    /// Next hop that is told to internal peers.
    pub next_hop: IpAddr,
    /// LOCAL_PREF [100].
    pub local_preference: Option<u32>,
    /// MED [none].
    pub med: Option<u32>,
    /// Communities, standard and large.
    pub communities: Vec<Community>,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Open a connection; answered by [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// Where to.
        remote: IpAddr,
        /// Which port.
        port: u16,
        /// From which address.
        local: Option<IpAddr>,
    },
    /// Give up the attempt to connect that is under way; nothing is answered.
    CancelConnect {
        /// Where to.
        remote: IpAddr,
    },
    /// Write these octets, after all earlier ones of the connection; acknowledged by [`Input::Sent`]. The octets are
    /// shared between all peers of an update group.
    Send {
        /// On which connection.
        conn: ConnId,
        /// The octets: whole messages.
        #[serde(with = "octets")]
        bytes: Bytes,
    },
    /// Write what is still to be written if that goes at once, and close. Nothing more is said of the connection.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Best paths changed: for the FIB. At most one change of a prefix in one output; later outputs win.
    Routes(Vec<RouteChange>),
    /// After our own restart all peers have told their routes (or did not in time): what the FIB still holds from
    /// before and [`Output::Routes`] did not name is to be removed.
    Converged,
    /// A next hop is in use from now on (or no more); its state is to be told whenever it changes.
    NextHop {
        /// The next hop.
        address: IpAddr,
        /// Whether it is in use.
        used: bool,
    },
    /// A BFD session with this peer is wanted from now on (or no more).
    Bfd {
        /// The peer.
        peer: IpAddr,
        /// Our end of the session, once known.
        local: Option<IpAddr>,
        /// Whether it is wanted.
        wanted: bool,
    },
    /// An UPDATE as it came, header included: for BMP and MRT.
    Monitored {
        /// Whose.
        peer: IpAddr,
        /// The message.
        #[serde(with = "octets")]
        message: Bytes,
    },
    /// Something happened: for the log, the journal, the event stream and the counters.
    Event(Event),
}

/// The forwarding of one prefix, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    /// Where to.
    pub prefix: Prefix,
    /// Over which next hops; none: the route is gone.
    pub next_hops: Vec<IpAddr>,
    /// Whether the best path is kept only by graceful restart.
    pub stale: bool,
}

/// Something that happened, at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// With which peer.
    pub peer: IpAddr,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The session is up.
    Up {
        /// Who it is.
        router_id: RouterId,
        /// Its system.
        asn: Asn,
        /// How long the peer may be silent.
        hold: Duration,
        /// Families of the session.
        families: Vec<Family>,
    },
    /// The session is down.
    Down {
        /// Why.
        reason: DownReason,
        /// Whether its routes are kept by graceful restart.
        graceful: bool,
    },
    /// A connection attempt or a session in its making failed.
    Failed(DownReason),
    /// A dynamic peer appeared (or its last trace went).
    Discovered {
        /// The range it belongs to.
        range: String,
        /// False: it is forgotten.
        present: bool,
    },
    /// The peer has told all its routes of a family.
    EndOfRib(Family),
    /// Stale routes of a family were removed: so many.
    StaleRemoved(Family, u32),
    /// Stale routes of a family are kept beyond the restart time, least preferred (RFC 9494).
    LongLivedStale(Family, u32),
    /// An UPDATE was not right; what was done about it (RFC 7606).
    Malformed {
        /// What is wrong.
        error: String,
        /// What was done.
        handling: String,
    },
    /// A route was refused. Told for the first ones of a peer, then only counted.
    Refused {
        /// The route.
        prefix: Prefix,
        /// Why.
        reason: RejectReason,
    },
    /// A connection was not accepted.
    NotAdmitted(String),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum DownReason {
    /// We sent a NOTIFICATION.
    #[error("sent {0}")]
    Sent(Notice),
    /// The peer sent one.
    #[error("received {0}")]
    Received(Notice),
    /// The connection ended.
    #[error("connection lost: {0}")]
    ConnectionLost(String),
    /// BFD went down.
    #[error("BFD down")]
    BfdDown,
    /// The connection could not be opened.
    #[error("connect: {0}")]
    ConnectFailed(String),
    /// Another connection with the same peer was kept (RFC 4271, section 6.8).
    #[error("connection collision")]
    Collision,
    /// The peer took no octet for too long (RFC 9687).
    #[error("send hold timer expired")]
    SendHoldTimer,
}

/// A NOTIFICATION.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Error code (RFC 4271, section 4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the other side said in it (RFC 9003), or our own words.
    pub text: String,
}

/// Octets as hexadecimal digits.
mod octets {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        use std::fmt::Write;
        let mut text = String::with_capacity(bytes.as_ref().len() * 2);
        for byte in bytes.as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: From<Vec<u8>>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect();
        let digits = digits
            .filter(|d| d.len() % 2 == 0)
            .ok_or_else(|| D::Error::custom("octets are pairs of hexadecimal digits"))?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect();
        Ok(T::from(bytes))
    }
}
