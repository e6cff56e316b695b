//! Probes: real traffic between nodes, and what was seen of it.

pub mod ping;
pub mod ssh;
pub mod tcp;
pub mod udp;

/// What every payload of ours carries: it must not cross the underlay in clear.
pub const MARKER: &[u8] = b"routerd-lab: this text must not cross the underlay in clear\n";
