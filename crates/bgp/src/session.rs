//! Peers and their connections: what a session is before and while it carries routes.

mod conn;
mod peer;
mod random;
mod timers;

pub(crate) use conn::{Conn, ConnState};
pub(crate) use peer::{Peer, PeerIx, Peers, Phase, Session};
pub(crate) use random::Random;
pub(crate) use timers::{TimerId, Timers};
