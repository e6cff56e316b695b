//! One transport connection.

use std::net::IpAddr;
use std::time::Duration;

use super::PeerIx;
use crate::types::Time;
use crate::wire::Open;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnState {
    OpenSent,
    OpenConfirm,
    Established,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: PeerIx,
    pub(crate) local: IpAddr,
    /// Whether we opened it.
    pub(crate) outgoing: bool,
    pub(crate) state: ConnState,
    /// What the peer said in its OPEN.
    pub(crate) open: Option<Open>,
    /// Both OPENs as they went over the wire: ours, the peer's.
    pub(crate) opens: (Vec<u8>, Vec<u8>),
    /// Whether messages beyond 4096 octets may come.
    pub(crate) extended: bool,
    /// The beginning of a message whose end is not there yet.
    pub(crate) partial: Vec<u8>,
    /// Negotiated; zero: no hold timer.
    pub(crate) hold: Duration,
    pub(crate) keepalive: Duration,
    /// Octets that the system has not taken yet.
    pub(crate) queued: usize,
    /// When the system last took octets, or had none to take.
    pub(crate) progress: Time,
}

impl Conn {
    pub(crate) fn new(peer: PeerIx, local: IpAddr, outgoing: bool, now: Time) -> Self {
        Self {
            peer,
            local,
            outgoing,
            state: ConnState::OpenSent,
            open: None,
            opens: (Vec::new(), Vec::new()),
            extended: false,
            partial: Vec::new(),
            hold: Duration::ZERO,
            keepalive: Duration::ZERO,
            queued: 0,
            progress: now,
        }
    }
}
