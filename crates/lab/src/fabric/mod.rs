//! Cloud fabrics: what a cloud's network does with each packet, decided from the state that its API holds.
//!
//! [`state`] is the table, [`decide`] the pure decision for one packet.

pub mod decide;
pub mod flows;
pub mod header;
pub mod routes;
pub mod security;
pub mod state;

pub use decide::{DropReason, Origin, Verdict, decide};
pub use flows::FlowTable;
pub use header::Header;
pub use state::{Cloud, FabricState, Nic, NicAddress, NicId, StateError};
