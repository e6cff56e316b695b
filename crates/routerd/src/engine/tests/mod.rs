//! The engine on a host in memory.

mod boots;
mod looping;
mod parts;
mod passes;
