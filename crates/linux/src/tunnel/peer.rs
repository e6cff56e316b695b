//! One peer: its protocol state, where it is, and what passed.
//!
//! Handshake and cryptography are `boringtun`'s; here is what a change of the configuration and the wish to
//! lose nothing add around them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use routerd_core::key::{PublicKey, SecretKey};

use super::mmsg::Endpoint;

/// What encryption adds to a packet.
pub(super) const OVERHEAD: usize = 32;

/// The largest message that is not data: a handshake initiation.
pub(super) const HANDSHAKE_SPACE: usize = 148;

/// A peer of a device.
pub(super) struct Peer {
    pub(super) key: PublicKey,
    /// The queue of the TUN device that its packets are written to, so that the kernel uses it for their answers, too:
    /// then a peer is one thread's business, and threads do not wait for each other.
    pub(super) lane: usize,
    state: Mutex<State>,
}

/// What changes about a peer while it runs.
pub(super) struct State {
    current: Session,
    /// The protocol state from before the preshared key changed: it carries traffic until the new one can.
    retired: Option<Session>,
    pub(super) endpoint: Option<Endpoint>,
    persistent_keepalive: u16,
    pub(super) preshared_key: Option<SecretKey>,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    pub(super) last_handshake: Option<SystemTime>,
    /// Whether an authenticated message passed in either direction since the last tick.
    passed: bool,
    /// What persistent keepalive counts from; absent: one is due.
    last_passed: Option<Instant>,
    /// Whether packets wait inside the protocol state for a session.
    waiting: bool,
}

/// The protocol state and the upper 24 bits of the receiver indices that it uses.
struct Session {
    index: u32,
    tunn: Tunn,
}

/// What a new protocol state is made of.
pub(super) struct Seed {
    pub(super) private_key: SecretKey,
    pub(super) index: u32,
    pub(super) limiter: Arc<RateLimiter>,
}

/// What became of a packet for the peer.
pub(super) enum Sealed {
    /// This many bytes of the buffer are to be sent.
    Send(usize),
    /// It waits for a session.
    Kept,
}

/// What a message from the peer was.
pub(super) enum Opened<'a> {
    /// A packet and the source address that it claims.
    Packet(&'a mut [u8], IpAddr),
    /// A message that has to be answered with this.
    Answer(&'a mut [u8]),
    /// Authentic, and done with.
    Nothing,
    /// Not authentic, replayed or malformed.
    Refused,
}

impl Peer {
    /// A peer without endpoint, allowed IPs or session.
    pub(super) fn new(key: PublicKey, seed: &Seed) -> Self {
        Self {
            key,
            lane: seed.index as usize,
            state: Mutex::new(State {
                current: Session::new(key, None, seed),
                retired: None,
                endpoint: None,
                persistent_keepalive: 0,
                preshared_key: None,
                rx_bytes: 0,
                tx_bytes: 0,
                last_handshake: None,
                passed: false,
                last_passed: None,
                waiting: false,
            }),
        }
    }

    /// Exclusive access. A thread that panics ends the process, so there is no poisoned state to find.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn new(key: PublicKey, preshared_key: Option<&SecretKey>, seed: &Seed) -> Self {
        let tunn = Tunn::new(
            x25519::StaticSecret::from(*seed.private_key.expose()),
            x25519::PublicKey::from(key.0),
            preshared_key.map(|key| *key.expose()),
            // Kept by us, because here it could not be changed any more.
            None,
            seed.index,
            Some(Arc::clone(&seed.limiter)),
        );
        Self {
            index: seed.index,
            tunn,
        }
    }

    fn established(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }
}

impl State {
    /// The receiver indices that lead to this peer.
    pub(super) fn indices(&self) -> impl Iterator<Item = u32> {
        let retired = self.retired.as_ref().map(|session| session.index);
        std::iter::once(self.current.index).chain(retired)
    }

    /// Whether traffic has a session to go by.
    pub(super) fn is_live(&self) -> bool {
        let retired = self.retired.as_ref();
        self.current.established() || retired.is_some_and(Session::established)
    }

    /// What another process counted and knew, where it is newer.
    pub(super) fn inherit(&mut self, rx_bytes: u64, tx_bytes: u64, handshake: Option<SystemTime>) {
        self.rx_bytes += rx_bytes;
        self.tx_bytes += tx_bytes;
        self.last_handshake = self.last_handshake.max(handshake);
    }

    /// A handshake initiation, whatever was sent before.
    pub(super) fn initiate(&mut self, dst: &mut [u8]) -> Option<usize> {
        match self.current.tunn.format_handshake_initiation(dst, true) {
            TunnResult::WriteToNetwork(message) => {
                let length = message.len();
                self.sent(length);
                Some(length)
            }
            _ => None,
        }
    }

    /// The session that a handshake message is for: initiations are for the current one.
    pub(super) fn index_of(&self, message: &[u8]) -> u32 {
        let at = match message.first() {
            Some(2) => 8,
            Some(3) => 4,
            _ => return self.current.index,
        };
        match message.get(at..at + 4) {
            Some(index) => u32::from_le_bytes([index[0], index[1], index[2], index[3]]) >> 8,
            None => self.current.index,
        }
    }

    /// Encrypts a packet into `dst`, or keeps it and writes the handshake initiation that is due.
    ///
    /// `dst` holds at least [`HANDSHAKE_SPACE`] bytes and [`OVERHEAD`] more than the packet.
    pub(super) fn seal(&mut self, packet: &[u8], dst: &mut [u8]) -> Sealed {
        let sealed = match &mut self.retired {
            Some(retired) if retired.established() => retired.tunn.encapsulate(packet, dst),
            _ => self.current.tunn.encapsulate(packet, dst),
        };
        match sealed {
            TunnResult::WriteToNetwork(message) => {
                self.waiting |= !is_data(message);
                let length = message.len();
                self.sent(length);
                Sealed::Send(length)
            }
            _ => {
                self.waiting = true;
                Sealed::Kept
            }
        }
    }

    /// Decrypts or processes a message into `dst`, which holds at least as many bytes as the message and
    /// [`HANDSHAKE_SPACE`].
    pub(super) fn open<'a>(
        &mut self,
        index: u32,
        from: Endpoint,
        message: &[u8],
        dst: &'a mut [u8],
    ) -> Opened<'a> {
        let tunn = match &mut self.retired {
            Some(retired) if retired.index == index => &mut retired.tunn,
            _ => &mut self.current.tunn,
        };
        let opened = match tunn.decapsulate(Some(from.remote.ip()), message, dst) {
            TunnResult::WriteToTunnelV4(packet, source) => Opened::Packet(packet, source.into()),
            TunnResult::WriteToTunnelV6(packet, source) => Opened::Packet(packet, source.into()),
            TunnResult::WriteToNetwork(answer) => Opened::Answer(answer),
            TunnResult::Done => Opened::Nothing,
            TunnResult::Err(_) => return Opened::Refused,
        };
        self.rx_bytes += message.len() as u64;
        self.passed = true;
        self.endpoint = Some(from);
        if let Opened::Answer(answer) = &opened {
            self.tx_bytes += answer.len() as u64;
        }
        opened
    }

    /// The next packet that waited, encrypted, once there is a session. To be called until it gives nothing.
    pub(super) fn unwait(&mut self, dst: &mut [u8]) -> Option<usize> {
        if !self.waiting || !self.current.established() {
            return None;
        }
        match self.current.tunn.decapsulate(None, &[], dst) {
            TunnResult::WriteToNetwork(message) => {
                let length = message.len();
                self.sent(length);
                Some(length)
            }
            _ => {
                self.waiting = false;
                None
            }
        }
    }

    /// What is due by time alone: handshakes, their repetition, keepalives.
    pub(super) fn tick(&mut self, dst: &mut [u8]) -> Option<usize> {
        self.retire_old_sessions(dst);
        let due = match self.current.tunn.update_timers(dst) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        };
        self.note_handshake();
        let due = due.or_else(|| self.persistent_keepalive(dst))?;
        self.sent(due);
        Some(due)
    }

    /// Sets the interval in seconds, 0 for off. Where it was off, a keepalive is due at once.
    pub(super) fn set_persistent_keepalive(&mut self, seconds: u16) {
        if self.persistent_keepalive == 0 {
            self.last_passed = None;
            self.passed = false;
        }
        self.persistent_keepalive = seconds;
    }

    pub(super) fn keepalive_interval(&self) -> u16 {
        self.persistent_keepalive
    }

    /// A handshake initiation for packets that wait, even if one was sent before: nobody got it.
    pub(super) fn initiate_for_waiting(&mut self, dst: &mut [u8]) -> Option<usize> {
        if !self.waiting {
            return None;
        }
        self.initiate(dst)
    }

    /// Takes a new preshared key. Sessions that stand are used until one with the new key does.
    pub(super) fn set_preshared_key(
        &mut self,
        key: PublicKey,
        preshared_key: Option<SecretKey>,
        seed: &Seed,
    ) {
        let session = Session::new(key, preshared_key.as_ref(), seed);
        self.preshared_key = preshared_key;
        let old = std::mem::replace(&mut self.current, session);
        // A session that never was is no loss, and an older retired one may still be the only that works.
        if old.established() {
            self.retired = Some(old);
        }
    }

    /// Takes a new identity: every session of the old one ends, as the protocol demands.
    pub(super) fn set_private_key(&mut self, private_key: &SecretKey, limiter: &Arc<RateLimiter>) {
        let secret = x25519::StaticSecret::from(*private_key.expose());
        let public = x25519::PublicKey::from(&secret);
        self.retired = None;
        self.current
            .tunn
            .set_static_private(secret, public, Some(Arc::clone(limiter)));
    }

    fn sent(&mut self, length: usize) {
        self.tx_bytes += length as u64;
        self.passed = true;
    }

    fn retire_old_sessions(&mut self, dst: &mut [u8]) {
        let Some(retired) = &mut self.retired else {
            return;
        };
        // Its timers only forget expired sessions; what they would send is the new state's business.
        let _ = retired.tunn.update_timers(dst);
        if self.current.established() || !retired.established() {
            self.retired = None;
        }
    }

    /// The protocol state only knows an age, in steps of its own timer.
    pub(super) fn note_handshake(&mut self) {
        let Some(age) = self.current.tunn.time_since_last_handshake() else {
            return;
        };
        let Some(when) = SystemTime::now().checked_sub(age) else {
            return;
        };
        let newer = |last: SystemTime| when > last + Duration::from_secs(1);
        if self.last_handshake.is_none_or(newer) {
            self.last_handshake = Some(when);
        }
    }

    fn persistent_keepalive(&mut self, dst: &mut [u8]) -> Option<usize> {
        if std::mem::take(&mut self.passed) {
            self.last_passed = Some(Instant::now());
        }
        let interval = Duration::from_secs(self.persistent_keepalive.into());
        let silent = |since: Instant| since.elapsed() >= interval;
        if interval.is_zero() || !self.last_passed.is_none_or(silent) {
            return None;
        }
        let message = if self.current.established() {
            self.current.tunn.encapsulate(&[], dst)
        } else {
            // It also wakes a peer that was given up after 90 s of silence.
            self.current.tunn.format_handshake_initiation(dst, false)
        };
        match message {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }
}

fn is_data(message: &[u8]) -> bool {
    message.first() == Some(&4)
}
