//! One session: the state machine of RFC 5880, section 6.8.

use std::num::NonZeroU8;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Moment;
use super::packet::{Diagnostic, Discard, Packet, State};
use super::patience::Patience;

/// While a session is not up, nobody sends faster than this (section 6.8.3).
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// What is asked of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Packets are not sent more often, once up.
    pub min_tx: Duration,
    /// The peer is asked not to send more often.
    pub min_rx: Duration,
    /// How many intervals without a packet mean to the peer that we are gone.
    pub detect_multiplier: NonZeroU8,
    /// Whether the peer may take it for a failure of the path when we fall silent: this goes on while the control plane
    /// that it serves restarts (RFC 5882, section 4.3).
    pub control_plane_independent: bool,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
    /// Why, when it went down.
    pub diagnostic: Diagnostic,
    /// The peer's state as it said last: a peer that is `AdminDown` left on purpose, and nothing is known of the path
    /// (RFC 5882, section 3.2).
    pub remote: State,
    /// Whether the peer's BFD goes on while its control plane restarts, by its own word: if not, its silence may mean a
    /// restart (RFC 5882, section 4.3.2).
    pub remote_independent: bool,
    /// The peer says that it is down because it began anew, as another process: the path is not the reason.
    pub remote_began_anew: bool,
}

/// An interval that has a new value, and the one that counts until the peer knows of it.
#[derive(Debug, Clone, Copy)]
struct Interval {
    announced: Duration,
    applied: Duration,
}

impl Interval {
    fn new(value: Duration) -> Self {
        Self {
            announced: value,
            applied: value,
        }
    }
}

/// What the peer said last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote {
    pub(super) discriminator: u32,
    pub(super) state: State,
    pub(super) diagnostic: Diagnostic,
    min_rx: Duration,
    min_tx: Duration,
    multiplier: u8,
    demand: bool,
    pub(super) independent: bool,
    began_anew: bool,
}

impl Default for Remote {
    /// Before it said anything (section 6.8.1).
    fn default() -> Self {
        Self {
            discriminator: 0,
            state: State::Down,
            diagnostic: Diagnostic::None,
            min_rx: Duration::from_micros(1),
            min_tx: SLOW,
            multiplier: 1,
            demand: false,
            independent: false,
            began_anew: false,
        }
    }
}

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    settings: Settings,
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    remote: Remote,
    min_tx: Interval,
    min_rx: Interval,
    /// Whether packets ask for an answer, so that the peer knows of new intervals.
    polling: bool,
    patience: Patience,
    heard: Option<Moment>,
    sent: Option<Moment>,
    detect_at: Option<Moment>,
    transmit_at: Option<Moment>,
    /// After this a session that is leaving is gone.
    gone_at: Option<Moment>,
    random: u64,
}

/// What a step of a session asks for.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) transition: Option<Transition>,
    /// Packets to send, at most one periodic and one answer.
    pub(super) packets: Vec<Packet>,
    /// The patience changed: new intervals.
    pub(super) patience: bool,
}

impl Session {
    pub(super) fn new(now: Moment, settings: Settings, discriminator: u32, random: u64) -> Self {
        Self {
            settings,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::None,
            remote: Remote::default(),
            min_tx: Interval::new(settings.min_tx.max(SLOW)),
            min_rx: Interval::new(settings.min_rx),
            polling: false,
            patience: Patience::new(),
            heard: None,
            sent: None,
            detect_at: None,
            transmit_at: Some(now),
            gone_at: None,
            // Xorshift stands still at 0.
            random: random | 1,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.remote
    }

    pub(super) fn heard(&self) -> Option<Moment> {
        self.heard
    }

    pub(super) fn patience_factor(&self) -> u32 {
        self.patience.factor()
    }

    pub(super) fn false_alarms(&self) -> u32 {
        self.patience.false_alarms()
    }

    pub(super) fn is_gone(&self, now: Moment) -> bool {
        self.gone_at.is_some_and(|at| at <= now)
    }

    pub(super) fn next_timeout(&self) -> Option<Moment> {
        let times = [self.detect_at, self.transmit_at, self.gone_at];
        times.into_iter().flatten().min()
    }

    /// How long nothing is heard before the peer is dead (section 6.8.4).
    pub(super) fn detection_time(&self) -> Duration {
        self.min_rx.applied.max(self.remote.min_tx) * u32::from(self.remote.multiplier)
    }

    /// The time between two packets, before jitter (section 6.8.2); absent if the peer wants none.
    pub(super) fn transmit_interval(&self) -> Option<Duration> {
        let both_up = self.state == State::Up && self.remote.state == State::Up;
        let unwanted = self.remote.min_rx.is_zero() || (self.remote.demand && both_up);
        let wanted = !unwanted || (self.polling && !self.remote.min_rx.is_zero());
        wanted.then(|| self.min_tx.applied.max(self.remote.min_rx))
    }

    /// Takes other intervals while it runs.
    pub(super) fn configure(&mut self, now: Moment, settings: Settings) {
        self.settings = settings;
        self.set_intervals();
        self.reschedule(now);
    }

    /// Says goodbye until the peer must have heard it.
    pub(super) fn leave(&mut self, now: Moment, effects: &mut Effects) {
        let told = self.transmit_interval().unwrap_or(SLOW).max(SLOW);
        self.go(
            now,
            State::AdminDown,
            Diagnostic::AdministrativelyDown,
            effects,
        );
        self.gone_at = Some(now + told * u32::from(self.settings.detect_multiplier.get()));
        self.detect_at = None;
    }

    /// A packet for this session (section 6.8.6, from where the session is known).
    pub(super) fn receive(
        &mut self,
        now: Moment,
        packet: &Packet,
        effects: &mut Effects,
    ) -> Result<(), Discard> {
        let known = self.remote.discriminator;
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            min_rx: packet.required_min_rx,
            min_tx: packet.desired_min_tx,
            multiplier: packet.detect_multiplier,
            demand: packet.demand,
            independent: packet.control_plane_independent,
            began_anew: known != 0 && known != packet.my_discriminator,
        };
        if self.state == State::AdminDown {
            return Err(Discard::AdminDown);
        }
        self.heard = Some(now);
        if packet.is_final && self.polling {
            self.polling = false;
            self.min_tx.applied = self.min_tx.announced;
            self.min_rx.applied = self.min_rx.announced;
        }
        if self.patience.heard(now, packet.my_discriminator) {
            effects.patience = true;
            self.set_intervals();
        }
        self.follow(now, packet.state, effects);
        if self.state == State::Up && self.patience.relax(now) {
            effects.patience = true;
            self.set_intervals();
        }
        self.detect_at = Some(now + self.detection_time());
        if packet.poll {
            effects.packets.push(self.packet(false, true));
        }
        self.reschedule(now);
        Ok(())
    }

    /// What the peer's state does to ours.
    fn follow(&mut self, now: Moment, theirs: State, effects: &mut Effects) {
        let next = match (self.state, theirs) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => State::Down,
            (State::Down, State::Down) => State::Init,
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => State::Up,
            (same, _) => same,
        };
        let diagnostic = if next == State::Down {
            Diagnostic::NeighborSignaledDown
        } else {
            self.diagnostic
        };
        self.go(now, next, diagnostic, effects);
    }

    /// It is `now`: what is due is done.
    pub(super) fn handle_timeout(&mut self, now: Moment, effects: &mut Effects) {
        if self.detect_at.is_some_and(|at| at <= now) {
            self.expire(now, effects);
        }
        if self.transmit_at.is_some_and(|at| at <= now) {
            self.transmit(now, effects);
        }
    }

    /// Nothing was heard for the detection time.
    fn expire(&mut self, now: Moment, effects: &mut Effects) {
        let detection_time = self.detection_time();
        self.detect_at = None;
        self.remote.began_anew = false;
        if self.state == State::Up {
            self.patience
                .alarm(now, self.remote.discriminator, detection_time);
        }
        if self.state > State::Down {
            self.go(now, State::Down, Diagnostic::DetectionTimeExpired, effects);
        }
        // It may come back as another process (section 6.8.1, bfd.RemoteDiscr).
        self.remote.discriminator = 0;
        self.remote.state = State::Down;
        self.remote.demand = false;
    }

    /// Changes the state, which is told to the peer at once (section 6.8.7, end).
    fn go(&mut self, now: Moment, to: State, diagnostic: Diagnostic, effects: &mut Effects) {
        let from = self.state;
        if from == to {
            return;
        }
        self.state = to;
        self.diagnostic = diagnostic;
        if to == State::Up {
            self.diagnostic = Diagnostic::None;
            self.patience.came_up(now);
        }
        effects.transition = Some(Transition {
            from,
            to,
            diagnostic: self.diagnostic,
            remote: self.remote.state,
            remote_independent: self.remote.independent,
            remote_began_anew: self.remote.began_anew,
        });
        self.set_intervals();
        self.transmit(now, effects);
    }

    /// Announces the intervals that settings, state and patience ask for. Where the peer must not be surprised, the
    /// former ones count until it has answered (section 6.8.3).
    fn set_intervals(&mut self) {
        let factor = self.patience.factor();
        let up = self.state == State::Up;
        let min_rx = self.settings.min_rx * factor;
        let min_tx = self.settings.min_tx * factor;
        let min_tx = if up { min_tx } else { min_tx.max(SLOW) };
        if !up {
            self.min_tx = Interval::new(min_tx);
            self.min_rx = Interval::new(min_rx);
            self.polling = false;
            return;
        }
        self.polling |= (min_tx, min_rx) != (self.min_tx.announced, self.min_rx.announced);
        self.min_tx.announced = min_tx;
        self.min_rx.announced = min_rx;
        self.min_tx.applied = self.min_tx.applied.min(min_tx);
        self.min_rx.applied = self.min_rx.applied.max(min_rx);
    }

    fn transmit(&mut self, now: Moment, effects: &mut Effects) {
        self.sent = Some(now);
        if self.transmit_interval().is_some() || self.state != State::Up {
            effects.packets.push(self.packet(self.polling, false));
        }
        self.transmit_at = None;
        self.reschedule(now);
    }

    /// A shorter interval counts at once; a longer one from the next packet on.
    fn reschedule(&mut self, now: Moment) {
        let Some(interval) = self.transmit_interval() else {
            self.transmit_at = None;
            return;
        };
        // As drawn before, unless the interval has become shorter than that.
        let latest = self.sent.map_or(now, |sent| sent + interval);
        if self.transmit_at.is_none_or(|at| at > latest) {
            let jittered = self.jitter(interval);
            self.transmit_at = Some(self.sent.map_or(now, |sent| (sent + jittered).max(now)));
        }
    }

    /// Each interval is shortened by up to a quarter; with a multiplier of 1 by at least a tenth (section 6.8.7).
    fn jitter(&mut self, interval: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let single = self.settings.detect_multiplier.get() == 1;
        let least = if single { 100 } else { 0 };
        let cut = least + (self.random >> 32) as u32 % (251 - least);
        interval * (1000 - cut) / 1000
    }

    fn packet(&self, poll: bool, is_final: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll,
            is_final,
            control_plane_independent: self.settings.control_plane_independent,
            demand: false,
            detect_multiplier: self.settings.detect_multiplier.get(),
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.min_tx.announced,
            required_min_rx: self.min_rx.announced,
        }
    }
}
