//! Dynamic configuration: where parts are kept, who makes them, and what is shown of them.
//!
//! Merging is `routerd_core::dynamic`'s and putting the result into force the engine's.

mod offline;
mod shelf;
mod worker;

pub(crate) use offline::show;
pub(crate) use shelf::{Key, Shelf, Stock, key};
pub(crate) use worker::Worker;
