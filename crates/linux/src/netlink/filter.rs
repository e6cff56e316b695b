//! Which notifications of routes are not worth hearing. A hundred thousand of them arrive within a second when the best
//! paths of the speaker change; whoever has to read them all overruns its queue, and then has to look at everything.

use libc::sock_filter;

use crate::bpf::{ACCEPT, DROP, jump_equal, statement};

/// `nlmsg_type`.
const KIND: u32 = 4;
/// `nlmsg_pid`.
const PORT: u32 = 12;
/// `rtm_protocol` behind `struct nlmsghdr`.
const PROTOCOL: u32 = 16 + 5;

/// Drops what the socket with this number did itself.
pub(crate) fn but_of_port(port: u32) -> Vec<sock_filter> {
    // A program reads numbers as big-endian, netlink writes them as the host has them.
    let port = u32::from_be_bytes(port.to_ne_bytes());
    vec![
        load(libc::BPF_W, PORT),
        jump_equal(port, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, DROP),
        statement(libc::BPF_RET | libc::BPF_K, ACCEPT),
    ]
}

/// Drops what is said of routes of this protocol.
pub(crate) fn but_of_protocol(protocol: u8) -> Vec<sock_filter> {
    let [added, removed] = [libc::RTM_NEWROUTE, libc::RTM_DELROUTE]
        .map(|kind| u16::from_be_bytes(kind.to_ne_bytes()).into());
    vec![
        load(libc::BPF_H, KIND),
        jump_equal(added, 1, 0),
        jump_equal(removed, 0, 2),
        load(libc::BPF_B, PROTOCOL),
        jump_equal(protocol.into(), 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, ACCEPT),
        statement(libc::BPF_RET | libc::BPF_K, DROP),
    ]
}

fn load(size: u32, offset: u32) -> sock_filter {
    statement(libc::BPF_LD | size | libc::BPF_ABS, offset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::bpf::attach;

    /// `struct nlmsghdr` and the beginning of `struct rtmsg`.
    fn message(kind: u16, port: u32, protocol: u8) -> Vec<u8> {
        let mut bytes = 22_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(port.to_ne_bytes());
        bytes.extend([2, 32, 0, 0, 254, protocol]);
        bytes
    }

    fn passes(program: &[sock_filter], message: &[u8]) -> bool {
        let (from, to) = UnixDatagram::pair().expect("sockets");
        to.set_nonblocking(true).expect("nonblocking");
        attach(&to, program).expect("the kernel takes the program");
        from.send(message).expect("send");
        to.recv(&mut [0; 64]).is_ok()
    }

    #[test]
    fn own_changes_are_not_heard() {
        let program = but_of_port(0x0102_0304);
        assert!(!passes(
            &program,
            &message(libc::RTM_NEWROUTE, 0x0102_0304, 83)
        ));
        assert!(passes(&program, &message(libc::RTM_NEWROUTE, 0, 83)));
        assert!(passes(
            &program,
            &message(libc::RTM_DELROUTE, 0x0403_0201, 83)
        ));
    }

    #[test]
    fn routes_of_one_protocol_are_not_heard() {
        let program = but_of_protocol(83);
        assert!(!passes(&program, &message(libc::RTM_NEWROUTE, 7, 83)));
        assert!(!passes(&program, &message(libc::RTM_DELROUTE, 7, 83)));
        assert!(passes(&program, &message(libc::RTM_NEWROUTE, 7, 82)));
        assert!(passes(&program, &message(libc::RTM_DELROUTE, 0, 3)));
        assert!(passes(&program, &message(libc::RTM_NEWLINK, 7, 83)));
        assert!(passes(&program, &message(libc::RTM_NEWADDR, 0, 83)));
    }
}
