//! What the thread is told to be: peers, passwords, routes of our own.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use bgp::{AdminAction, Input, LocalRoute, Speaker, SpeakerConfig, Start};
use ipnet::Ipv4Net;
use mio::Interest;
use routerd_core::effective::{BgpIntent, Monitoring};

use super::super::Wish;
use super::super::fib::Order;
use super::super::transport::{Listener, Reaches};
use super::{LISTENER, Thread};

/// A socket that cannot be opened is tried again after this,
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// and in the end after this.
const LAST_PAUSE: Duration = Duration::from_secs(32);

/// How long any peer waits for us to come back, at most.
pub(in crate::bgp) fn longest_restart(config: &SpeakerConfig) -> Duration {
    let fixed = config.peers.values();
    let all = fixed.chain(config.dynamic.iter().map(|range| &range.template));
    let times = all.map(|peer| peer.graceful_restart.restart_time);
    times.max().unwrap_or_default()
}

impl Thread {
    pub(super) fn update(&mut self, wish: Wish) {
        self.fib.order(Order::Claims {
            reserved: wish.reserved,
            awaited: wish.awaited,
        });
        self.told_fib = true;
        if wish.intent != self.intent {
            self.configure(wish.intent);
        }
        self.announce(wish.announced, wish.next_hop);
    }

    /// Another configuration, or none.
    pub(super) fn configure(&mut self, intent: Option<BgpIntent>) {
        self.problems.clear();
        self.watch.stir();
        let Some(wanted) = intent.clone() else {
            // Peers are told, then what the kernel has of theirs goes.
            if let Some(speaker) = &self.speaker {
                let config = speaker.config();
                let none = SpeakerConfig::new(config.asn, config.router_id);
                self.handle(Input::Configure(Box::new(none)));
            }
            self.intent = None;
            self.listener = None;
            self.listen_again = None;
            self.monitor(&Monitoring::default());
            return;
        };
        let before = std::mem::replace(&mut self.reaches, Reaches::read(&wanted));
        for (who, reason) in &self.reaches.broken {
            tracing::error!(who, reason, "no BGP session without its password");
        }
        self.problems.extend(self.reaches.broken.clone());
        let config = self.without_broken(&wanted);
        self.monitor(&wanted.monitoring);
        match &self.speaker {
            Some(_) => self.handle(Input::Configure(Box::new(config))),
            None => self.begin(config),
        }
        self.intent = intent;
        self.end_signed_otherwise(&before);
        self.listen_pause = FIRST_PAUSE;
        self.listen();
    }

    fn monitor(&mut self, wanted: &Monitoring) {
        if let Err(error) = self.monitor.arrange(wanted) {
            tracing::error!(%error, "start threads for BMP and MRT");
            let problem = error.to_string();
            self.problems.insert("monitoring".to_owned(), problem);
        }
    }

    /// A connection keeps the password that it was opened with, or goes on without one: sessions of peers whose password is
    /// another now begin anew.
    fn end_signed_otherwise(&mut self, before: &Reaches) {
        let password = |reaches: &Reaches, peer| match peer {
            IpAddr::V4(peer) => reaches.of(peer).and_then(|reach| reach.password.clone()),
            IpAddr::V6(_) => None,
        };
        let peers = self
            .connections
            .values()
            .map(|connection| connection.remote);
        let other = |peer: &IpAddr| password(before, *peer) != password(&self.reaches, *peer);
        let changed: BTreeSet<IpAddr> = peers.filter(other).collect();
        for peer in changed {
            let action = AdminAction::Reset("its password is another now".to_owned());
            self.handle(Input::Admin { peer, action });
        }
    }

    /// Peers whose password cannot be read have no session: without it would be worse.
    pub(super) fn without_broken(&self, intent: &BgpIntent) -> SpeakerConfig {
        let mut config = intent.speaker.clone();
        for (address, peer) in &mut config.peers {
            if self.reaches.broken.contains_key(&address.to_string()) {
                peer.shutdown = Some("its password cannot be read".to_owned());
            }
        }
        config
            .dynamic
            .retain(|range| !self.reaches.broken.contains_key(&range.name));
        config
    }

    /// The first configuration: if the kernel has routes of a daemon before this one, they are kept and refreshed.
    pub(super) fn begin(&mut self, config: SpeakerConfig) {
        let restarting = (self.fib.inherited > 0).then(|| {
            let known = |peer: &&IpAddr| {
                let ranges = || config.dynamic.iter().flat_map(|range| &range.sources);
                config.peers.contains_key(*peer) || ranges().any(|prefix| prefix.contains(**peer))
            };
            self.memory.peers().iter().filter(known).copied().collect()
        });
        if let Some(peers) = &restarting {
            self.kept_until = Some(Instant::now() + longest_restart(&config));
            let peers: &BTreeSet<IpAddr> = peers;
            tracing::info!(
                routes = self.fib.inherited,
                peers = peers.len(),
                "BGP restarts with the routes of before"
            );
        }
        let start = Start {
            now: self.now(),
            seed: self.seed,
            restarting,
        };
        self.speaker = Some(Speaker::new(config, start));
    }

    /// Sees to it that peers can connect. What is in the way, an address that is not there yet or another program's socket,
    /// may go: it is tried again, ever more seldom, and the status says why it does not work.
    pub(super) fn listen(&mut self) {
        let Some(address) = self.intent.as_ref().map(|intent| intent.listen) else {
            return;
        };
        self.listen_again = None;
        let name = address.to_string();
        let Err(error) = self.open_listener(address) else {
            self.listen_pause = FIRST_PAUSE;
            if self.problems.remove(&name).is_some() {
                tracing::info!(%address, "peers can connect now");
            }
            return;
        };
        let pause = self.listen_pause;
        let reason = format!("{error}; tried again every {} s", pause.as_secs());
        tracing::error!(%address, reason, "listen for BGP peers");
        self.problems.insert(name, reason);
        self.listen_again = Some(Instant::now() + pause);
        self.listen_pause = (pause * 2).min(LAST_PAUSE);
    }

    fn open_listener(&mut self, address: SocketAddrV4) -> io::Result<()> {
        if self.listener.as_ref().is_none_or(|l| l.address != address) {
            self.listener = None;
            let mut listener = Listener::open(address)?;
            listener.set_passwords(&self.reaches)?;
            self.poll
                .registry()
                .register(&mut listener.socket, LISTENER, Interest::READABLE)?;
            self.listener = Some(listener);
        }
        match &mut self.listener {
            Some(listener) => listener.set_passwords(&self.reaches),
            None => Ok(()),
        }
    }

    /// Announces exactly these routes of our own.
    pub(super) fn announce(&mut self, announced: BTreeSet<Ipv4Net>, next_hop: Option<Ipv4Addr>) {
        let all = next_hop != self.next_hop;
        let gone = self.announced.difference(&announced);
        let gone: Vec<_> = gone
            .filter_map(|net| routerd_core::bgp::prefix(*net))
            .collect();
        let new = announced
            .iter()
            .filter(|net| all || !self.announced.contains(net));
        let route = |net: &Ipv4Net| {
            Some(LocalRoute {
                prefix: routerd_core::bgp::prefix(*net)?,
                next_hop: next_hop?.into(),
                local_preference: None,
                med: None,
                communities: Vec::new(),
            })
        };
        let new: Vec<LocalRoute> = new.filter_map(route).collect();
        self.announced = announced;
        self.next_hop = next_hop;
        if !gone.is_empty() {
            self.handle(Input::Withdraw(gone));
        }
        if !new.is_empty() {
            self.handle(Input::Originate(new));
        }
    }
}
