//! Provider actions: what may be done to a cloud's network, when, and what was done.
//!
//! ```text
//! Effective ── propose ──┐                      policies, decisions, now
//! plugins, people ───────┴─ import ──► journal ──► Book ──► schedule ──► next executor run, or why not
//!                                         ▲                                   │
//!                                         └──────── events, hash-chained ◄────┘
//! ```
//!
//! What holds, whatever crashes and in whatever order things happen:
//!
//! - nothing is executed that a [`Policy`] does not let pass; without one nothing is;
//! - an executor that did not answer leaves its action `unknown`, and it is looked at before anything is done
//!   again;
//! - the facts observed before the first change are never overwritten, not by a retry and not by a later
//!   action with the same effect;
//! - no two executors run for one NIC;
//! - a row that was deleted, edited or moved shows.
//!
//! This module reads no clock and starts nothing.

mod ask;
mod backoff;
mod book;
pub mod chain;
mod import;
pub mod policy;
mod profile;
mod propose;
pub mod record;
pub mod schedule;
mod turn;
mod view;

pub use ask::{
    Asker, Ran, answer, executors, look_answer, outstanding, preflight_answer, rollback_preview,
};
pub use book::{Book, FoldError};
pub use chain::{Chain, StoredRow, verify};
pub use import::{ImportError, Imported, import};
pub use policy::{Gate, Policy};
pub use profile::{Profile, profiles};
pub use propose::{Intents, intents, withdrawals};
pub use record::{Action, Prior};
pub use schedule::{Next, Run, World, interrupted};
pub use view::view;

#[cfg(test)]
mod tests;
