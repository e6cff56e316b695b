//! The Linux kernel as routerd sees it: netlink, nftables, WireGuard, sysctl, ARP, namespaces.
//!
//! This crate observes and executes; it decides nothing.

pub mod arp;
pub mod bfd;
pub mod bpf;
pub mod fib;
pub mod host;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod path_mtu;
pub mod plain;
pub mod plugin;
pub mod sysctl;
pub mod tcp;
pub mod tunnel;
pub mod watch;
pub mod wireguard;

pub use host::Host;
