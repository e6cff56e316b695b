//! Plans against the host in memory.

mod cases;
