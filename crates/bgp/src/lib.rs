//! The BGP speaker of routerd, sans-I/O: what comes in are events and octets with the time at which they came, what goes
//! out are octets, best paths and events. No socket, no clock, no thread, no randomness; the same inputs give
//! the same outputs, so that a recorded session replays.
//!
//! ```text
//! Input ─► wire ─► session FSM ─► import policy ─► Adj-RIB-In ─► best path ─► Loc-RIB ─┬─► Output::Routes (FIB)
//!                                                                                      └─► update groups ─► Output::Send
//! ```
//!
//! # Driving it
//!
//! ```text
//! let mut speaker = Speaker::new(config, Start { … });
//! loop {
//!     while let Some(output) = speaker.poll_output() { … }        // until there is none
//!     wait for sockets, or for speaker.next_timeout()
//!     speaker.handle(now, Input::…);                              // one or more
//! }
//! ```
//!
//! Nothing is held back for a batch: what a batch is depends on how many inputs the shell handles before it polls again.
//! Octets of [`Output::Send`] are acknowledged by [`Input::Sent`]; a peer that takes none falls behind
//! on its own, with one bit per route, and is told the outcome, not the history, when it takes octets again.

mod attr;
pub mod bfd;
pub mod bmp;
pub mod config;
mod io;
pub mod mrt;
mod rib;
mod session;
mod speaker;
mod types;
mod view;
mod wire;

pub use attr::{Origin, PathAttributes, Segment, UnknownAttribute};
pub use config::{
    AddPath, Admission, CommunityPolicy, DynamicPeerConfig, GracefulRestart, LengthRange,
    NextHopRewrite, NextHopTracking, PeerConfig, Policy, PrefixList, SpeakerConfig, Timers,
};
pub use io::{
    AdminAction, DownReason, Event, EventKind, Input, LocalRoute, NextHopState, Notice, Output,
    PathState, RouteChange,
};
pub use speaker::{Speaker, Start};
pub use types::{
    Asn, Community, ConnId, ExtendedCommunity, Family, LargeCommunity, ParseError, Prefix,
    RouterId, StandardCommunity, Time,
};
pub use view::{
    Counters, ExplainedPath, Explanation, FamilyView, PeerView, RejectReason, Rivals, RouteQuery,
    RouteView, SessionState, Table,
};
