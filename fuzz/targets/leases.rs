//! Any text as a lease file of a DHCP server: what is read of it fits into it.

use routerd_core::observer::parse_leases;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let leases = parse_leases(&text);
    // The shortest lease is longer than ten bytes.
    assert!(leases.len() <= text.len() / 10 + 1);
}
