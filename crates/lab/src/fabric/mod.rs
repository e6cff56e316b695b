//! Cloud fabrics and the underlay between sites: what becomes of each packet.
//!
//! [`state`] is the table that a cloud's API holds, [`decide`](decide()) the pure decision for one packet,
//! [`forward`] the engine that carries real packets between the devices of VMs by those decisions.

pub mod counters;
pub mod decide;
mod delay;
pub mod flows;
pub mod forward;
pub mod frame;
pub mod header;
pub mod quality;
pub mod replies;
pub mod routes;
pub mod security;
pub mod segment;
pub mod state;
pub mod underlay;
pub mod wiretap;

pub use decide::{DropReason, Origin, Verdict, decide};
pub use flows::FlowTable;
pub use header::Header;
pub use state::{Cloud, FabricState, Nic, NicAddress, NicId, StateError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what a thread that panicked left behind is still the truth about packets seen so far.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
