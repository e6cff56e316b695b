//! Plans against the host in memory.

mod cases;
mod properties;
mod random;
