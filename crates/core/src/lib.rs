//! All decisions of routerd as pure functions over data.
//!
//! ```text
//! files ── parse ──► Document ── compile ──► Effective ── resolve ──► Desired
//!                                                                       │ diff
//!                    Kernel::observe ──► Observed, Ledger ──────────────┴──► Plan { steps, waiting }
//! ```
//!
//! This crate does no I/O, reads no clock and draws no randomness: what it needs of them comes in as
//! arguments.

pub mod action;
pub mod arp;
pub mod bgp;
pub mod config;
pub mod doctor;
pub mod dynamic;
pub mod effective;
pub mod encapsulation;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod federation;
mod host;
pub mod kernel;
pub mod key;
pub(crate) mod kinds;
pub mod ledger;
pub mod observed;
pub mod observer;
pub mod path_mtu;
pub mod plan;
pub mod plugin;
pub mod status;
pub mod sysctl;
#[cfg(test)]
mod testing;

pub use effective::Effective;
pub use kernel::Kernel;
pub use ledger::Ledger;
pub use observed::Observed;
pub use plan::{Plan, Step};

/// The routing protocol number that marks routes, addresses and proxy neighbours as routerd's
/// (`ip route show proto 82`; free in `/etc/iproute2/rt_protos`).
pub const OWNER_PROTOCOL: u8 = 82;

/// The routing protocol number of routes that BGP chose (`ip route show proto 83`). The speaker keeps them, not the
/// plan: where the configuration wants a route of the same key, that of BGP gives way.
pub const BGP_PROTOCOL: u8 = 83;

/// Prefix of every nft table that routerd, or an earlier instance of it, made.
pub const TABLE_PREFIX: &str = "routerd_";

/// The nft table (family `inet`) that clamps the MSS of forwarded connections.
pub const MSS_TABLE: &str = "routerd_mss";

/// The comment that marks an nft table, and the alias that marks a link, as made by this software.
/// A table with our prefix but without this comment belongs to a dead instance of something else.
pub const OWNER_MARK: &str = "managed by routerd";
