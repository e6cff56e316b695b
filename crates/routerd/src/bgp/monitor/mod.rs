//! Who is told what peers say: BMP stations (RFC 7854) and MRT files (RFC 6396). What is said is put together here, on
//! the speaker's thread, a small piece at a time; threads of their own write it. Nobody who reads holds the speaker up: what
//! is too slow loses its place and is told everything anew.

mod archive;
mod queue;
mod station;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bgp::bmp::{self, Subject, Tour};
use bgp::mrt::{self, Ends};
use bgp::{DownReason, SessionState, Speaker};
use bytes::Bytes;
use routerd_core::bgp::{MonitoringView, SinkView};
use routerd_core::effective::{Monitoring, MrtArchive};

use super::Line;
use archive::Item;
use queue::{Counts, Queue};

/// Octets that are put together for one station before others have their turn.
const PIECE: usize = 64 * 1024;

/// Everybody who is told.
pub(super) struct Monitor {
    line: Line,
    stations: BTreeMap<SocketAddr, Station>,
    archive: Option<Archive>,
    /// Peers that are known to have a session.
    sessions: BTreeMap<IpAddr, (Subject, Ends)>,
}

struct Station {
    queue: Arc<Queue<Bytes>>,
    interval: Duration,
    /// The connection that is told now.
    told: Option<Told>,
}

/// How far a connection has been told.
struct Told {
    number: u64,
    /// Absent: everything.
    tour: Option<Tour>,
    /// When statistics are due.
    statistics: Instant,
}

struct Archive {
    settings: MrtArchive,
    queue: Arc<Queue<Item>>,
    number: u64,
    /// When a table is due.
    table: Option<Instant>,
}

/// The time since the epoch.
fn wall() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

impl Station {
    fn push(&mut self, octets: Vec<u8>) {
        if let Some(told) = &self.told {
            let size = octets.len();
            if !self.queue.push(told.number, octets.into(), size) {
                self.told = None;
            }
        }
    }
}

impl Archive {
    fn push(&mut self, item: Item, size: usize) {
        if !self.queue.push(self.number, item, size) {
            // What comes after a gap is still worth keeping.
            self.number = self.queue.open();
        }
    }
}

impl Monitor {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            stations: BTreeMap::new(),
            archive: None,
            sessions: BTreeMap::new(),
        }
    }

    /// Tells exactly these from now on.
    pub(super) fn arrange(&mut self, wanted: &Monitoring) -> std::io::Result<()> {
        let stays = |address: &SocketAddr| wanted.stations.contains_key(address);
        for (_, mut station) in self.stations.extract_if(.., |address, _| !stays(address)) {
            let mut last = Vec::new();
            bmp::termination(&mut last);
            station.push(last);
            station.queue.end();
        }
        for (address, interval) in &wanted.stations {
            if let Some(station) = self.stations.get_mut(address) {
                station.interval = *interval;
                continue;
            }
            let station = Station {
                queue: station::start(*address, self.line.clone())?,
                interval: *interval,
                told: None,
            };
            self.stations.insert(*address, station);
        }
        let same = |archive: &&Archive| Some(&archive.settings) == wanted.archive.as_ref();
        if self.archive.as_ref().filter(same).is_some() {
            return Ok(());
        }
        if let Some(archive) = self.archive.take() {
            archive.queue.end();
        }
        if let Some(settings) = wanted.archive.clone() {
            let queue = archive::start(settings.clone())?;
            self.archive = Some(Archive {
                number: queue.open(),
                queue,
                table: settings.tables.map(|_| Instant::now()),
                settings,
            });
        }
        Ok(())
    }

    /// Whether anybody is told anything.
    fn is_idle(&self) -> bool {
        self.stations.is_empty() && self.archive.is_none()
    }

    /// A peer has a session.
    pub(super) fn up(&mut self, speaker: &Speaker, peer: IpAddr, ports: (u16, u16)) {
        let (Some(subject), Some(ends)) = (speaker.subject(peer), speaker.ends(peer)) else {
            return;
        };
        self.sessions.insert(peer, (subject, ends));
        if self.is_idle() {
            return;
        }
        let mut message = Vec::new();
        speaker.monitor_up(&mut message, wall(), peer, ports);
        self.tell_stations(&message);
        self.state_change(&ends, SessionState::OpenConfirm, SessionState::Established);
    }

    /// A peer has no session any more.
    pub(super) fn down(&mut self, peer: IpAddr, reason: &DownReason) {
        let Some((subject, ends)) = self.sessions.remove(&peer) else {
            return;
        };
        let mut message = Vec::new();
        bmp::peer_down(&mut message, wall(), &subject, reason);
        self.tell_stations(&message);
        self.state_change(&ends, SessionState::Established, SessionState::Idle);
    }

    fn state_change(&mut self, ends: &Ends, before: SessionState, now: SessionState) {
        if let Some(archive) = &mut self.archive {
            let mut record = Vec::new();
            mrt::state_change(&mut record, wall(), ends, before, now);
            let size = record.len();
            archive.push(Item::Records(record.into()), size);
        }
    }

    /// A peer sent an UPDATE.
    pub(super) fn update(&mut self, peer: IpAddr, update: &[u8]) {
        let Some((subject, ends)) = self.sessions.get(&peer).copied() else {
            return;
        };
        if !self.stations.is_empty() {
            let mut message = Vec::new();
            bmp::route_monitoring(&mut message, wall(), &subject, update);
            self.tell_stations(&message);
        }
        if let Some(archive) = &mut self.archive {
            let mut record = Vec::new();
            mrt::message(&mut record, wall(), &ends, update);
            let size = record.len();
            archive.push(Item::Records(record.into()), size);
        }
    }

    fn tell_stations(&mut self, message: &[u8]) {
        for station in self.stations.values_mut() {
            if station.told.is_some() {
                station.push(message.to_vec());
            }
        }
    }

    /// A station is connected: it is told who we are and who is there, then what there is.
    pub(super) fn connected(
        &mut self,
        address: SocketAddr,
        number: u64,
        speaker: Option<&Speaker>,
        ports: impl Fn(IpAddr) -> (u16, u16),
    ) {
        let Some(station) = self.stations.get_mut(&address) else {
            return;
        };
        station.told = Some(Told {
            number,
            tour: Some(Tour::default()),
            statistics: Instant::now() + station.interval,
        });
        let name = nix::unistd::gethostname().unwrap_or_default();
        let about = concat!("routerd ", env!("CARGO_PKG_VERSION"));
        let mut first = Vec::new();
        bmp::initiation(&mut first, &name.to_string_lossy(), about);
        if let Some(speaker) = speaker {
            for peer in self.sessions.keys() {
                speaker.monitor_up(&mut first, wall(), *peer, ports(*peer));
            }
        }
        station.push(first);
    }

    /// Puts together what is due, a piece for each. True: there is more to do at once.
    pub(super) fn work(&mut self, speaker: Option<&Speaker>) -> bool {
        let now = Instant::now();
        let mut more = false;
        for station in self.stations.values_mut() {
            more |= station.work(speaker, &self.sessions, now);
        }
        if let Some(archive) = &mut self.archive {
            archive.work(speaker, now);
        }
        more
    }

    /// When there is something to do at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        let told = self.stations.values().filter_map(|s| s.told.as_ref());
        let table = self.archive.as_ref().and_then(|archive| archive.table);
        told.map(|told| told.statistics).chain(table).min()
    }

    pub(super) fn view(&self) -> MonitoringView {
        let stations = self.stations.iter();
        let archives = self.archive.iter();
        MonitoringView {
            stations: stations
                .map(|(address, station)| (*address, sink(station.queue.counts())))
                .collect(),
            archives: archives
                .map(|archive| {
                    let directory = archive.settings.directory.clone();
                    (directory, sink(archive.queue.counts()))
                })
                .collect(),
        }
    }
}

impl Station {
    fn work(
        &mut self,
        speaker: Option<&Speaker>,
        sessions: &BTreeMap<IpAddr, (Subject, Ends)>,
        now: Instant,
    ) -> bool {
        let (Some(told), Some(speaker)) = (&mut self.told, speaker) else {
            return false;
        };
        let mut octets = Vec::new();
        if told.statistics <= now {
            told.statistics = now + self.interval;
            for (peer, (subject, _)) in sessions {
                if let Some(view) = speaker.peer(*peer) {
                    bmp::statistics(&mut octets, wall(), subject, &view);
                }
            }
        }
        if let Some(tour) = &mut told.tour
            && self.queue.has_room()
            && !speaker.monitor_routes(&mut octets, wall(), tour, PIECE)
        {
            told.tour = None;
        }
        if !octets.is_empty() {
            self.push(octets);
        }
        let touring = self.told.as_ref().is_some_and(|told| told.tour.is_some());
        touring && self.queue.has_room()
    }
}

impl Archive {
    fn work(&mut self, speaker: Option<&Speaker>, now: Instant) {
        let due = self.table.is_some_and(|at| at <= now);
        if let (true, Some(interval), Some(speaker)) = (due, self.settings.tables, speaker) {
            self.table = Some(now + interval);
            let at = wall();
            let mut table = Vec::new();
            speaker.dump(at, |record| table.extend_from_slice(record));
            // Counted as small: it is one, and never dropped for its size.
            self.push(Item::Table(at, table), 1);
        }
    }
}

fn sink(counts: Counts) -> SinkView {
    SinkView {
        open: counts.open,
        written: counts.written,
        waiting: counts.waiting,
        overruns: counts.overruns,
        error: counts.error,
    }
}
