//! Plans against the host in memory.

mod cases;
mod properties;
pub(crate) mod random;
