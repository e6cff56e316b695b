//! Bidirectional Forwarding Detection (RFC 5880): asynchronous mode over one hop (RFC 5881) and over several
//! (RFC 5883), without authentication and without echo.
//!
//! A [`Detector`] holds all sessions of a node. It is told what arrived and when, and says what to send and when it
//! has to be asked again. Three things are done beyond the standard's text:
//!
//! - **Arrival times count, not processing times.** The caller hands over the kernel's time of a packet, so a busy
//!   processor on this side does not look like a dead peer.
//! - **After a false alarm the session becomes more patient**: a peer that is heard again, as the same session of the
//!   same process, right after it was declared dead was not dead. Both intervals double, up to eight times, and
//!   halve again after ten quiet minutes.
//! - **Leaving is announced**: a session that is removed says `AdminDown` for a detection time, so that the peer does
//!   not take it for a failure.

mod detector;
mod packet;
mod patience;
mod session;
#[cfg(test)]
mod tests;

pub use detector::{
    Arrival, Detector, Discards, Output, Scope, SessionId, SessionPath, SessionView,
};
pub use packet::{Diagnostic, Discard, LENGTH, Packet, State};
pub use session::{Settings, Transition};

use std::time::Duration;

/// A point in time: how long ago an arbitrary fixed moment was. Never goes back.
pub type Moment = Duration;

/// UDP port of single-hop sessions (RFC 5881).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// UDP port of multihop sessions (RFC 5883).
pub const MULTI_HOP_PORT: u16 = 4784;
/// UDP source ports are chosen from here up (RFC 5881, section 4).
pub const FIRST_SOURCE_PORT: u16 = 49_152;
/// Hop limit of every packet sent, and of every packet that a single-hop session takes (RFC 5881, section 5).
pub const HOP_LIMIT: u8 = 255;
