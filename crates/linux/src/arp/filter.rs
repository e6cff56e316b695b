//! A classic BPF program for the kernel: on a large LAN hundreds of stations ask for each other every second, and
//! none of that need wake us.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use libc::sock_filter;

use crate::bpf::{ACCEPT, DROP, jump_equal, statement};

/// Instructions that a program may have.
const LIMIT: usize = libc::BPF_MAXINSNS as usize;
/// Conditional jumps reach 255 instructions ahead.
const BLOCK: usize = 200;

/// Lets through ARP frames (with Ethernet header) whose sender has one of these addresses or none, the latter being
/// probes. Drops frames of a VLAN: they are not of this LAN. With more addresses than a program can hold all
/// of this LAN pass.
pub(super) fn program(addresses: &[Ipv4Addr]) -> Vec<sock_filter> {
    let mut program = of_this_lan();
    program.push(load_sender());
    let comparisons = addresses.len() + 1;
    if program.len() + comparisons + 2 * comparisons.div_ceil(BLOCK) >= LIMIT {
        program.push(statement(libc::BPF_RET | libc::BPF_K, ACCEPT));
        return program;
    }
    let mut values: Vec<u32> = vec![0];
    values.extend(addresses.iter().map(|address| address.to_bits()));
    for block in values.chunks(BLOCK) {
        for (index, value) in block.iter().enumerate() {
            // To the "accept" behind the block, else to the next comparison.
            program.push(jump_equal(*value, (block.len() - index) as u8, 0));
        }
        program.push(statement(libc::BPF_JMP | libc::BPF_JA, 1));
        program.push(statement(libc::BPF_RET | libc::BPF_K, ACCEPT));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, DROP));
    program
}

/// Lets through ARP frames whose sender has an address in one of these prefixes. With more prefixes than a program
/// can hold all of this LAN pass.
pub(super) fn inside(prefixes: &[Ipv4Net]) -> Vec<sock_filter> {
    let mut program = of_this_lan();
    if program.len() + 4 * prefixes.len() + 1 >= LIMIT {
        program.push(statement(libc::BPF_RET | libc::BPF_K, ACCEPT));
        return program;
    }
    for prefix in prefixes {
        let (mask, network) = (prefix.netmask().to_bits(), prefix.network().to_bits());
        program.push(load_sender());
        program.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask));
        program.push(jump_equal(network, 0, 1));
        program.push(statement(libc::BPF_RET | libc::BPF_K, ACCEPT));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, DROP));
    program
}

/// Drops frames of a VLAN.
fn of_this_lan() -> Vec<sock_filter> {
    const VLAN_TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
    const VLAN_ID: u32 = 0x0fff;
    vec![
        statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, VLAN_TAG),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, VLAN_ID),
        jump_equal(0, 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, DROP),
    ]
}

/// The sender's address.
fn load_sender() -> sock_filter {
    const SENDER: u32 = 28;
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, SENDER)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use routerd_core::arp::{BROADCAST, Operation, Packet};

    use super::*;
    use crate::bpf::attach;

    fn frame(sender: Ipv4Addr) -> [u8; 42] {
        let packet = Packet {
            operation: Operation::Request,
            sender_mac: [2, 0, 0, 0, 0, 1],
            sender,
            target_mac: [0; 6],
            target: Ipv4Addr::new(10, 0, 0, 1),
        };
        packet.frame(BROADCAST)
    }

    /// A datagram socket with the program for these addresses: the kernel runs socket filters in any family.
    struct Gate(UnixDatagram, UnixDatagram);

    impl Gate {
        fn new(addresses: &[Ipv4Addr]) -> Self {
            let (from, to) = UnixDatagram::pair().expect("pair");
            to.set_nonblocking(true).expect("nonblocking");
            attach(&to, &program(addresses)).expect("the kernel takes the program");
            Self(from, to)
        }

        fn passes(&self, sender: Ipv4Addr) -> bool {
            self.0.send(&frame(sender)).expect("send");
            self.1.recv(&mut [0; 64]).is_ok()
        }
    }

    fn addresses(count: u32) -> Vec<Ipv4Addr> {
        (0..count)
            .map(|i| Ipv4Addr::from(0x0a00_0000 + i))
            .collect()
    }

    #[test]
    fn only_senders_that_concern_us_pass() {
        for count in [0, 1, 198, 199, 200, 201, 1000, 4000] {
            let addresses = addresses(count);
            let gate = Gate::new(&addresses);
            assert!(gate.passes(Ipv4Addr::UNSPECIFIED), "{count}");
            assert!(!gate.passes(Ipv4Addr::new(192, 0, 2, 1)), "{count}");
            for address in &addresses {
                assert!(gate.passes(*address), "{address} of {count}");
            }
        }
    }

    #[test]
    fn only_senders_of_a_prefix_pass() {
        let (from, to) = UnixDatagram::pair().expect("pair");
        to.set_nonblocking(true).expect("nonblocking");
        let prefixes = ["10.77.60.0/24", "192.0.2.64/26"].map(|net| net.parse().expect("net"));
        attach(&to, &inside(&prefixes)).expect("the kernel takes the program");
        let gate = Gate(from, to);
        for (sender, passes) in [
            ([10, 77, 60, 9], true),
            ([10, 77, 61, 9], false),
            ([192, 0, 2, 70], true),
            ([192, 0, 2, 5], false),
            ([0, 0, 0, 0], false),
        ] {
            assert_eq!(gate.passes(sender.into()), passes, "{sender:?}");
        }
    }

    #[test]
    fn with_too_many_addresses_all_pass() {
        let gate = Gate::new(&addresses(5000));
        assert!(gate.passes(Ipv4Addr::new(192, 0, 2, 1)));
    }
}
