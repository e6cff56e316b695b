//! The engine on a host in memory.

mod bench;
mod boots;
mod looping;
mod passes;
