//! Announces and defends captured addresses by ARP, and hears who else answers for them.
//!
//! Owns the sockets and a thread; what is said and when is decided in [`routerd_core::arp`].

mod ears;
mod filter;
mod port;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use api::{IfName, MobileAddress};
use routerd_core::arp::CONFLICT_MEMORY;
use routerd_core::observed::ArpConflict;

pub use ears::Ears;

/// The addresses to hold on each interface; the value says whether to announce one that is new.
type Wanted = BTreeMap<IfName, BTreeMap<Ipv4Addr, bool>>;

/// Holds captured addresses on their LANs. Dropping it lets go of them without a word.
#[derive(Debug, Default)]
pub struct Responder {
    wanted: Wanted,
    worker: Option<Worker>,
}

/// The thread that does it, in the network namespace of the thread that first wanted something.
#[derive(Debug)]
struct Worker {
    shared: Arc<Mutex<Shared>>,
    /// A byte in it wakes the thread; its end stops the thread.
    control: UnixStream,
    thread: JoinHandle<()>,
}

/// What passes between the responder and its thread.
#[derive(Debug, Default)]
struct Shared {
    wanted: Wanted,
    heard: BTreeMap<Ipv4Addr, Heard>,
}

/// Another station that uses an address of ours.
#[derive(Debug, Clone)]
struct Heard {
    ifname: IfName,
    mac: [u8; 6],
    at: Instant,
}

impl Responder {
    /// Answers for exactly these addresses from now on; the value says whether to announce an address that is
    /// new. An address that is new is first asked for: where another station holds it already, it is not taken before
    /// that one is silent.
    pub fn update(&mut self, wanted: &BTreeMap<IfName, BTreeMap<MobileAddress, bool>>) {
        let wanted: Wanted = wanted
            .iter()
            .map(|(ifname, addresses)| {
                let addresses = addresses
                    .iter()
                    .map(|(address, new)| (address.addr(), *new));
                (ifname.clone(), addresses.collect())
            })
            .collect();
        if wanted == self.wanted {
            return;
        }
        match self.tell(wanted.clone()) {
            Ok(()) => self.wanted = wanted,
            // Not remembered as told: the next update tries again.
            Err(error) => tracing::error!(%error, "hold addresses by ARP"),
        }
    }

    fn tell(&mut self, wanted: Wanted) -> io::Result<()> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(Worker::start()?),
        };
        worker.lock().wanted = wanted;
        io::Write::write_all(&mut worker.control, &[0])
    }

    /// Who else was heard using our addresses in the last minutes, by address.
    pub fn conflicts(&self) -> BTreeMap<MobileAddress, ArpConflict> {
        let Some(worker) = &self.worker else {
            return BTreeMap::new();
        };
        worker
            .lock()
            .heard
            .iter()
            .filter(|(_, heard)| heard.at.elapsed() < CONFLICT_MEMORY)
            .map(|(address, heard)| {
                let conflict = ArpConflict {
                    ifname: heard.ifname.clone(),
                    mac: heard.mac,
                    age: heard.at.elapsed().as_secs(),
                };
                (MobileAddress::from(*address), conflict)
            })
            .collect()
    }
}

impl Worker {
    fn start() -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (control, other_end) = UnixStream::pair()?;
        other_end.set_nonblocking(true)?;
        let inside = worker::Worker::open(Arc::clone(&shared), other_end)?;
        let thread = std::thread::Builder::new()
            .name("arp".to_owned())
            .spawn(move || inside.run())?;
        Ok(Self {
            shared,
            control,
            thread,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

/// Whoever panicked with the lock held left plain values behind.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            drop(worker.control);
            if worker.thread.join().is_err() {
                tracing::error!("the ARP thread panicked");
            }
        }
    }
}
