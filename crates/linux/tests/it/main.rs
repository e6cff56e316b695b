//! Tests on the real kernel, each in a network namespace of its own.

mod arp;
mod bfd;
mod firewall;
mod foreign;
mod host;
mod mss;
mod namespace;
mod plain;
mod ports;
mod watch;
mod wireguard;
