//! Finds out which clients live on this site's LANs and tells the group.
//!
//! Who is a client and what is said of him is `routerd_core::observer`'s; this thread hears, reads and asks for it,
//! and stores what comes out as events.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use api::IfName;
use api::federation::Selection;
use linux::arp::Ears;
use linux::netlink::neighbour;
use routerd_core::arp::Packet;
use routerd_core::effective::ObserverIntent;
use routerd_core::observer::{
    Lan, LeaseBook, Observer, Output, Scope, Sighting, Source, parse_leases, scope,
};
use routerd_core::{Effective, observer};

use crate::store::{EventStore, timestamp};
use crate::view::View;

/// Where Debian's DHCP servers keep their leases.
const LEASE_FILES: [&str; 4] = [
    "/var/lib/misc/dnsmasq.leases",
    "/var/lib/dnsmasq/dnsmasq.leases",
    "/var/lib/dhcp/dhcpd.leases",
    "/var/lib/dhcpd/dhcpd.leases",
];
/// More than any lease file; what is larger is something else.
const LEASE_LIMIT: u64 = 16 << 20;
/// How long to wait where nothing is asked for.
const IDLE: Duration = Duration::from_secs(3600);
/// How many events are looked through for clients that were told of before a restart.
const RECALLED: u32 = 100_000;

/// A way to the thread.
pub(crate) struct Running {
    bell: UnixStream,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends it. What it said stands.
    pub(crate) fn stop(self) {
        // Whoever else holds the bell rings in vain from now on.
        let _ = self.bell.shutdown(std::net::Shutdown::Both);
        if self.thread.join().is_err() {
            tracing::error!("the observer panicked");
        }
    }
}

/// Starts the thread, in the network namespace of the caller.
pub(crate) fn start(view: &Arc<View>, events: Arc<EventStore>) -> io::Result<Running> {
    let (bell, ours) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ours.set_nonblocking(true)?;
    let ring = bell.try_clone()?;
    // A full bell rings already.
    view.listen(move |_, _| drop((&ring).write(&[0])));
    let watch = Watch {
        view: Arc::clone(view),
        events,
        ears: Ears::default(),
        posts: BTreeMap::new(),
        effective: Arc::default(),
        scanned: None,
    };
    let thread = thread::Builder::new().name("observer".to_owned());
    let thread = thread.spawn(move || watch.run(ours))?;
    Ok(Running { bell, thread })
}

struct Watch {
    view: Arc<View>,
    events: Arc<EventStore>,
    ears: Ears,
    posts: BTreeMap<String, Post>,
    /// What the posts were made for.
    effective: Arc<Effective>,
    /// When the host was last looked at; absent: it is to be looked at now.
    scanned: Option<Instant>,
}

/// What is observed for one resource.
struct Post {
    intent: ObserverIntent,
    observer: Observer,
    scope: Scope,
    lans: BTreeMap<IfName, Lan>,
    leases: LeaseBook,
}

impl Watch {
    fn run(mut self, mut bell: UnixStream) {
        loop {
            self.follow();
            if self.scan_due() {
                self.scan();
            }
            self.tick();
            let heard = match self.ears.wait(self.patience(), &bell) {
                Ok(heard) => heard,
                Err(error) => {
                    tracing::error!(%error, "wait for clients");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            for packet in heard {
                self.hear(&packet);
            }
            match bell.read(&mut [0; 64]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return tracing::error!(%error, "hear the daemon"),
            }
        }
    }

    /// Takes up what came into force.
    fn follow(&mut self) {
        let (_, _, effective) = self.view.in_force();
        if Arc::ptr_eq(&effective, &self.effective) {
            return;
        }
        self.posts
            .retain(|name, post| effective.observers.get(name) == Some(&post.intent));
        for (name, intent) in &effective.observers {
            if !self.posts.contains_key(name) {
                let post = self.post(intent);
                self.posts.insert(name.clone(), post);
            }
        }
        self.effective = effective;
        self.scanned = None;
    }

    /// A new post knows whom it told of before a restart.
    fn post(&self, intent: &ObserverIntent) -> Post {
        let ttl = u64::try_from(intent.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut observer = Observer::new(ttl);
        let now = timestamp();
        let selection = Selection {
            group: Some(intent.group.clone()),
            state: Some("active".to_owned()),
            limit: RECALLED,
        };
        match self.events.list_events(now, &selection) {
            Ok(stored) => {
                for stored in stored {
                    let ended = self.events.is_ended(&stored.event).unwrap_or(true);
                    if let Some(sighting) = intent.recall(&stored.event).filter(|_| !ended) {
                        observer.recall(now, sighting);
                    }
                }
            }
            Err(error) => tracing::warn!("{}: {error}", intent.owner),
        }
        Post {
            intent: intent.clone(),
            observer,
            scope: Scope::default(),
            lans: BTreeMap::new(),
            leases: LeaseBook::default(),
        }
    }

    /// How often the host is looked at.
    fn interval(&self) -> Duration {
        let intervals = self.posts.values().map(|post| post.intent.scan_interval);
        intervals.min().unwrap_or(IDLE)
    }

    fn scan_due(&self) -> bool {
        let interval = self.interval();
        self.scanned.is_none_or(|at| at.elapsed() >= interval)
    }

    fn patience(&self) -> Duration {
        let now = timestamp();
        let timeouts = self
            .posts
            .values()
            .filter_map(|p| p.observer.next_timeout());
        let timeouts = timeouts.map(|at| Duration::from_millis(at.millis_since(now)));
        timeouts.chain([self.interval()]).min().unwrap_or(IDLE)
    }

    /// Looks at the host, the neighbour table and the lease files.
    fn scan(&mut self) {
        self.scanned = Some(Instant::now());
        if self.posts.is_empty() {
            return self.ears.arrange(&BTreeMap::new(), &[]);
        }
        let observed = match self.view.host() {
            Ok(observed) => observed,
            Err(error) => return tracing::warn!("look for clients: {error}"),
        };
        let mut lans = BTreeMap::new();
        let mut prefixes = Vec::new();
        for post in self.posts.values_mut() {
            (post.lans, post.scope) = scope(&post.intent, &self.effective, &observed);
            prefixes.push(post.intent.prefix);
            let ports = post.lans.iter();
            lans.extend(ports.map(|(name, lan)| (name.clone(), (lan.index, lan.mac))));
        }
        self.ears.arrange(&lans, &prefixes);
        self.read_neighbours();
        self.read_leases();
    }

    fn read_neighbours(&mut self) {
        if !self.believes(Source::Neighbour) {
            return;
        }
        // What was there before the last look was seen then.
        match neighbour::reached(self.interval()) {
            Ok(found) => {
                for (index, address, mac) in found {
                    let sighting = Sighting {
                        address,
                        mac,
                        source: Source::Neighbour,
                    };
                    self.sighted(sighting, Some(index));
                }
            }
            Err(error) => tracing::warn!("read the neighbour table: {error}"),
        }
    }

    fn read_leases(&mut self) {
        if !self.believes(Source::DhcpLease) {
            return;
        }
        let files = LEASE_FILES.iter().filter_map(|path| read(Path::new(path)));
        let leases: Vec<_> = files.flat_map(|text| parse_leases(&text)).collect();
        let mut questions = Vec::new();
        let mut news = Vec::new();
        for post in self.posts.values_mut() {
            if post.intent.sources.contains(&Source::DhcpLease) {
                let (fresh, unknown) = post.leases.read(&leases);
                news.extend(fresh);
                questions.extend(unknown);
            }
        }
        for lease in news {
            let sighting = Sighting {
                address: lease.address,
                mac: lease.mac,
                source: Source::DhcpLease,
            };
            self.sighted(sighting, None);
        }
        for address in questions {
            self.ask(address);
        }
    }

    fn believes(&self, source: Source) -> bool {
        let mut posts = self.posts.values();
        posts.any(|post| post.intent.sources.contains(&source))
    }

    fn hear(&mut self, packet: &Packet) {
        let sighting = Sighting {
            address: packet.sender,
            mac: packet.sender_mac,
            source: Source::Arp,
        };
        self.sighted(sighting, None);
    }

    /// Somebody was seen, on the interface of this index if that is known.
    fn sighted(&mut self, sighting: Sighting, index: Option<u32>) {
        let now = timestamp();
        let mut said = Vec::new();
        for post in self.posts.values_mut() {
            let on_lan = index.is_none_or(|index| post.lans.values().any(|l| l.index == index));
            // An answer to our own question comes by ARP, and is believed where questions are.
            let asked = sighting.source == Source::Arp
                && post.intent.sources.contains(&Source::Neighbour)
                && post.observer.knows(sighting.address);
            if on_lan && (asked || post.intent.sources.contains(&sighting.source)) {
                let output = post.observer.sighted(now, &post.scope, sighting);
                said.extend(output.map(|output| (post.intent.clone(), output)));
            }
        }
        self.tell(said);
    }

    fn tick(&mut self) {
        let now = timestamp();
        let mut said = Vec::new();
        for post in self.posts.values_mut() {
            // Before the first look nobody knows who is none.
            if post.scope.prefixes.is_empty() {
                continue;
            }
            let outputs = post.observer.tick(now, &post.scope);
            said.extend(
                outputs
                    .into_iter()
                    .map(|output| (post.intent.clone(), output)),
            );
        }
        self.tell(said);
    }

    fn tell(&mut self, said: Vec<(ObserverIntent, Output)>) {
        let now = timestamp();
        let mut events = Vec::new();
        for (intent, output) in said {
            if let Output::Probe { address } = output
                && intent.sources.contains(&Source::Neighbour)
            {
                self.ask(address);
            }
            if let Some(event) = intent.event(&output, now) {
                if event.kind == observer::EXPIRED {
                    tracing::info!("{}: client {} is gone", intent.owner, event.subject);
                }
                events.push(event);
            }
        }
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.events.append(now, events) {
            tracing::warn!("tell of clients: {error}");
        }
    }

    fn ask(&mut self, address: std::net::Ipv4Addr) {
        for post in self.posts.values() {
            if !post.intent.prefix.contains(&address) {
                continue;
            }
            for (ifname, lan) in &post.lans {
                self.ears.ask(ifname, lan.address, address);
            }
        }
    }
}

/// A lease file, if there is one.
fn read(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    file.take(LEASE_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}
