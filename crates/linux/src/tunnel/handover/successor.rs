//! The process that takes over, until its predecessor has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::IfName;
use routerd_core::key::PublicKey;

use super::super::device::Device;
use super::super::server::Server;
use super::super::{Shared, TICK, essential, tick, tick_once};
use super::estate::{Estate, PeerNote, keepalives, reproduce};
use super::{Answer, Ask, COMMIT_LIMIT, REQUEST, link, say};
use crate::namespace::pass::receive_line;

/// How long peers have for the handshake: two repetitions (`REKEY_TIMEOUT`, 5 s), and long enough for a peer that gets
/// packets to send at least a keepalive (`KEEPALIVE_TIMEOUT`, 10 s), so that silence means that nobody is there.
const SETTLE_LIMIT: Duration = Duration::from_secs(12);

/// How often to look whether a peer has answered.
const LOOK: Duration = Duration::from_millis(1);

/// How often to look after peers that still use sessions of the predecessor.
const ROUND: Duration = Duration::from_millis(100);

/// How long nothing must have come for the predecessor's sessions: longer than packets are under way.
const QUIET: Duration = Duration::from_secs(3);

/// How long a peer may go on with a session of the predecessor before it gets another handshake.
const INSIST: Duration = Duration::from_secs(1);

/// The least time between two initiations to one peer (`REKEY_TIMEOUT`).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// When no session of the predecessor can be alive any more (`REJECT_AFTER_TIME`).
const EXPIRY: Duration = Duration::from_secs(180);

/// Takes the device over that answers at `path`.
pub(in crate::tunnel) fn succeed(
    ifname: &IfName,
    path: PathBuf,
) -> io::Result<(Arc<Shared>, Server)> {
    let predecessor = Predecessor::ask(&path)?;
    let (estate, mut fds) = predecessor.estate()?;
    let link = Arc::new(fds.pop().ok_or(io::ErrorKind::InvalidData)?);
    let state = estate.state()?;
    let indices = estate.indices();
    let mut server = Server::bind_beside(&path)?;

    let device = estate.sort(fds)?.device(ifname, state.fwmark)?;
    let shared = Shared::new(device, path)?;
    let device = &shared.device;
    let shut = device.gate.shut();
    device.neighbour.set_unconfirmed(true);
    device.reserve(indices.keys().copied().collect());
    device.set(reproduce(&state))?;
    shared.receive_from(device.udp.sockets().into_iter().flatten())?;
    hear(&shared, &link)?;
    settle(&predecessor, device, &estate)?;

    let notes = predecessor.switch()?;
    device.inherit(&[], &notes);
    predecessor.commit()?;
    server.step_in(&shared.path)?;
    device.neighbour.meet(link, Some(indices));
    device.neighbour.set_unconfirmed(false);
    drop(shut);
    device.confirm();
    device.set(keepalives(&state))?;
    {
        let device = Arc::clone(device);
        essential("timers", move || tick(&device))?;
    }
    let moving = Moving::new(device, &estate, notes);
    *shared.aftermath.lock() = Some(predecessor.stream);
    let follower = Arc::clone(&shared);
    essential("aftermath", move || {
        follower.aftermath.follow(&follower.device, moving);
        Ok(())
    })?;
    Ok((shared, server))
}

/// Takes what the predecessor reads and we can deal with.
fn hear(shared: &Shared, link: &Arc<OwnedFd>) -> io::Result<()> {
    let device = Arc::clone(&shared.device);
    let (link, handshakes) = (Arc::clone(link), shared.handshakes.clone());
    essential("link", move || link::receive(&device, &link, &handshakes))
}

/// Sees to it that every peer that has a session with the predecessor has one with us.
fn settle(predecessor: &Predecessor, device: &Device, estate: &Estate) -> io::Result<()> {
    device.inherit(&[], &without_figures(&estate.peers));
    let live = estate.peers.iter().filter(|peer| peer.live);
    let mut missing: BTreeMap<PublicKey, u64> =
        live.map(|peer| (peer.key, peer.rx_bytes)).collect();
    missing.keys().for_each(|key| device.initiate(key));
    let started = Instant::now();
    let mut next_tick = started + TICK;
    while !missing.is_empty() && started.elapsed() < SETTLE_LIMIT {
        std::thread::sleep(LOOK);
        missing.retain(|key, _| !device.is_settled(key));
        if Instant::now() >= next_tick {
            // Repeats initiations.
            tick_once(device);
            next_tick += TICK;
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let heard = |note: &PeerNote| missing.get(&note.key).is_some_and(|rx| note.rx_bytes > *rx);
    match predecessor.look()?.iter().find(|note| heard(note)) {
        None => Ok(()),
        Some(note) => Err(io::Error::other(format!(
            "peer {} has a session and answers no handshake",
            note.key
        ))),
    }
}

fn without_figures(notes: &[PeerNote]) -> Vec<PeerNote> {
    let blank = |note: &PeerNote| PeerNote {
        rx_bytes: 0,
        tx_bytes: 0,
        ..note.clone()
    };
    notes.iter().map(blank).collect()
}

/// The process that has the device so far.
struct Predecessor {
    stream: UnixStream,
}

impl Predecessor {
    fn ask(path: &std::path::Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_write_timeout(Some(COMMIT_LIMIT))?;
        stream.set_read_timeout(Some(COMMIT_LIMIT))?;
        (&stream).write_all(REQUEST.as_bytes())?;
        Ok(Self { stream })
    }

    fn estate(&self) -> io::Result<(Estate, Vec<OwnedFd>)> {
        let (line, fds) = self.line()?;
        match serde_json::from_str(&line) {
            Ok(Answer::Estate(estate)) => Ok((estate, fds)),
            _ if line == format!("errno={}", libc::EBUSY) => Err(io::Error::other(
                "another take-over of the device is not over yet",
            )),
            _ => Err(io::Error::other(
                "the process that runs the device cannot hand it over",
            )),
        }
    }

    fn look(&self) -> io::Result<Vec<PeerNote>> {
        match self.request(&Ask::Look)? {
            Answer::Peers(notes) => Ok(notes),
            other => Err(unexpected(&other)),
        }
    }

    fn switch(&self) -> io::Result<Vec<PeerNote>> {
        match self.request(&Ask::Switch)? {
            Answer::Peers(notes) => Ok(notes),
            Answer::Changed => Err(io::Error::other("the configuration changed meanwhile")),
            other => Err(unexpected(&other)),
        }
    }

    fn commit(&self) -> io::Result<()> {
        match self.request(&Ask::Commit)? {
            Answer::Retired => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn request(&self, ask: &Ask) -> io::Result<Answer> {
        say(&self.stream, ask, &[])?;
        let (line, _) = self.line()?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    fn line(&self) -> io::Result<(String, Vec<OwnedFd>)> {
        receive_line(&self.stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn unexpected(answer: &Answer) -> io::Error {
    let kind = match answer {
        Answer::Estate(_) => "estate",
        Answer::Peers(_) => "peers",
        Answer::Changed => "changed",
        Answer::Retired => "retired",
        Answer::Farewell(_) => "farewell",
    };
    io::Error::other(format!("unexpected answer: {kind}"))
}

/// The time in which the predecessor deals with what comes late.
#[derive(Default)]
pub(in crate::tunnel) struct Aftermath {
    predecessor: Mutex<Option<UnixStream>>,
}

impl Aftermath {
    pub(in crate::tunnel) fn is_going_on(&self) -> bool {
        self.lock().is_some()
    }

    /// Ends it at once.
    pub(in crate::tunnel) fn dismiss(&self) {
        let Some(stream) = self.lock().take() else {
            return;
        };
        // The stream ends with the process, which lets go of the sockets by that.
        let _ = say(&stream, &Ask::End, &[]).and_then(|()| receive_line(&stream));
        let _ = receive_line(&stream);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<UnixStream>> {
        self.predecessor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, device: &Device, mut moving: Moving) {
        while self.is_going_on() && !moving.is_over(device) {
            std::thread::sleep(ROUND);
        }
        if let Some(stream) = self.lock().take() {
            let farewell = Predecessor { stream }.request(&Ask::End);
            if let Ok(Answer::Farewell(notes)) = farewell {
                let before = notes.iter().filter_map(|note| moving.note(&note.key));
                let before: Vec<_> = before.cloned().collect();
                device.inherit(&before, &notes);
            }
        }
        device.neighbour.part();
        device.reserve(BTreeSet::new());
        tracing::info!("the device is taken over");
    }
}

/// Peers on their way from the predecessor's sessions to ours.
struct Moving {
    since: Instant,
    /// As the predecessor left them.
    notes: Vec<PeerNote>,
    /// Those with a session, with what we had received of them then.
    live: BTreeMap<PublicKey, u64>,
    /// When they got another handshake.
    insisted: BTreeMap<PublicKey, Instant>,
}

impl Moving {
    fn new(device: &Device, estate: &Estate, notes: Vec<PeerNote>) -> Self {
        let live = estate.peers.iter().chain(&notes).filter(|note| note.live);
        let live = live.filter_map(|note| Some((note.key, device.received(&note.key)?)));
        Self {
            since: Instant::now(),
            live: live.collect(),
            notes,
            insisted: BTreeMap::new(),
        }
    }

    fn note(&self, key: &PublicKey) -> Option<&PeerNote> {
        self.notes.iter().find(|note| note.key == *key)
    }

    /// Looks after every peer and says whether there is none left.
    fn is_over(&mut self, device: &Device) -> bool {
        let now = Instant::now();
        let mut over = true;
        for (key, before) in &self.live {
            let insisted = self.insisted.get(key);
            let progress = Progress {
                moved: device.received(key).is_none_or(|bytes| bytes > *before),
                since: now - self.since,
                late: device.neighbour.last_passed(key).map(|t| now - t),
                insisted: insisted.map(|t| now - *t),
            };
            match progress.verdict() {
                Verdict::Over => {}
                Verdict::Wait => over = false,
                Verdict::Insist => {
                    over = false;
                    self.insisted.insert(*key, now);
                    device.initiate(key);
                }
            }
        }
        over
    }
}

/// How far a peer is.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Whether it has used our session.
    moved: bool,
    /// How long ago the packets changed sides.
    since: Duration,
    /// How long ago it last used a session of the predecessor, if it has since.
    late: Option<Duration>,
    /// How long ago it got another handshake.
    insisted: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Insist,
    Over,
}

impl Progress {
    fn verdict(self) -> Verdict {
        let quiet = self.since >= QUIET && self.late.is_none_or(|late| late >= QUIET);
        if self.since >= EXPIRY || (self.moved && quiet) {
            return Verdict::Over;
        }
        let stays = self.since >= INSIST && self.late.is_some_and(|late| late < INSIST);
        if stays && self.insisted.is_none_or(|ago| ago >= REKEY_TIMEOUT) {
            return Verdict::Insist;
        }
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_moved_when_it_uses_the_new_session_and_no_old_one_for_a_while() {
        let seconds = Duration::from_secs_f64;
        let at = |moved, since: f64, late: Option<f64>, insisted: Option<f64>| {
            Progress {
                moved,
                since: seconds(since),
                late: late.map(seconds),
                insisted: insisted.map(seconds),
            }
            .verdict()
        };
        // What is under way in the first moments is nothing to wonder about.
        assert_eq!(at(false, 0.2, Some(0.0), None), Verdict::Wait);
        assert_eq!(at(true, 1.2, Some(1.1), None), Verdict::Wait);
        assert_eq!(at(true, 3.1, None, None), Verdict::Over);
        assert_eq!(at(true, 4.0, Some(2.0), None), Verdict::Wait);
        assert_eq!(at(true, 4.0, Some(3.5), None), Verdict::Over);
        // It goes on with the old one.
        assert_eq!(at(false, 1.5, Some(0.1), None), Verdict::Insist);
        assert_eq!(at(true, 1.5, Some(0.1), Some(0.5)), Verdict::Wait);
        assert_eq!(at(true, 8.0, Some(0.1), Some(5.5)), Verdict::Insist);
        // It has nothing to say.
        assert_eq!(at(false, 100.0, None, None), Verdict::Wait);
        assert_eq!(at(false, 181.0, Some(0.1), Some(0.1)), Verdict::Over);
    }
}
