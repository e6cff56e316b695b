//! A process takes a running device over from another one, of another build for example, and loses no packet.
//!
//! The descriptors go over as they are (`SCM_RIGHTS`): the TUN queues, the UDP sockets, a link between the two. What
//! cannot go over is the protocol state: keys are in nobody's hands but the library's. So the successor shakes hands
//! with every peer by itself while the predecessor still forwards, and the packets change sides in an order in which at
//! any moment whoever reads a packet can deal with it:
//!
//! 1. The successor gets the configuration and draws receiver indices that the predecessor does not use. It sends
//!    initiations from the shared socket. Answers reach the predecessor, who sees that the index is not its own and
//!    passes them on. A responder must not send with a new session before it has seen data in it (WireGuard paper,
//!    section 5.4.5, key confirmation): by keeping back the confirming keepalive the successor sees to it that every
//!    peer goes on sending to the predecessor.
//! 2. Once every peer that has a session has two, the gates change: the predecessor ends the batch that it has in hand
//!    and reads no more, the successor starts to read. Packets wait in the queues of the kernel for as long as one
//!    exchange over a Unix socket takes. The new configuration socket is renamed into place.
//! 3. The successor confirms its sessions, by traffic or an empty packet. What is still under way to the predecessor's
//!    sessions is recognised by its index and passed back, decrypted and delivered there. A peer that goes on using
//!    them, since the confirmation was lost or since its own handshake crossed ours, gets another handshake.
//! 4. When all peers have moved and nothing came for the old sessions for a while, or when they have expired
//!    (`REJECT_AFTER_TIME`), the predecessor ends.
//!
//! Until the commit, in step 2, the end of the successor changes nothing: the predecessor opens its gate again.
//! Afterwards the death of either leaves the other at work.
//!
//! The greatest timestamp of an initiation (section 5.1) does not go over, since it is in the protocol state: as after
//! any restart a peer's initiation from before can be replayed once. It takes a slot for a session that is never
//! confirmed; no traffic moves to it.

mod estate;
mod link;
mod predecessor;
mod successor;

use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(super) use estate::PeerNote;
pub(super) use link::Neighbour;
pub(super) use predecessor::{Office, give};
pub(super) use successor::{Aftermath, succeed};

/// The request on the configuration socket that begins it; the number is that of this protocol.
pub(super) const REQUEST: &str = "takeover=1\n\n";

/// How long the predecessor stands still for a successor that was about to commit.
const COMMIT_LIMIT: Duration = Duration::from_secs(2);

/// What the successor says; each is answered by one [`Answer`].
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    /// What are the peers' figures?
    Look,
    /// Stop reading.
    Switch,
    /// The packets are mine.
    Commit,
    /// Not needed any more.
    End,
}

/// What the predecessor says.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// Everything there is; the descriptors are attached.
    Estate(estate::Estate),
    /// The figures as they are now.
    Peers(Vec<PeerNote>),
    /// The configuration is not that of the estate any more.
    Changed,
    /// They are; nothing is read here any more.
    Retired,
    /// Ending, with the figures as they were last.
    Farewell(Vec<PeerNote>),
}

fn say(
    stream: &UnixStream,
    word: &impl serde::Serialize,
    fds: &[std::os::fd::BorrowedFd<'_>],
) -> std::io::Result<()> {
    let line = serde_json::to_string(word)?;
    crate::namespace::pass::send_line(stream, &line, fds)
}
