//! Many datagrams in one system call: `sendmmsg` and `recvmmsg` with UDP segmentation offload both ways.
//!
//! All that the C interface demands is in this file; what goes in and out are slices and addresses.
#![expect(
    unsafe_code,
    reason = "sendmmsg and recvmmsg take structures full of pointers; nix allocates for each call"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Messages in one call.
pub(crate) const BATCH: usize = 32;

/// Room for the control messages of one message, aligned as the kernel wants them: a segment size and the
/// longer of the two kinds of packet information.
type Control = [u64; 8];

/// Where a peer is, and which of our addresses it talks to: answers come from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) remote: SocketAddr,
    /// Absent: the kernel chooses.
    pub(crate) local: Option<IpAddr>,
}

impl From<SocketAddr> for Endpoint {
    fn from(remote: SocketAddr) -> Self {
        Self {
            remote,
            local: None,
        }
    }
}

/// Bytes to one address, cut by the kernel into datagrams of `segment` bytes if there is more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: Endpoint,
    pub(crate) bytes: &'a [u8],
    pub(crate) segment: usize,
}

/// Sends at most [`BATCH`] messages and returns how many went.
///
/// # Errors
/// Only when the first one failed.
pub(crate) fn send(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    let count = messages.len().min(BATCH);
    // SAFETY: these C structures consist of integers and pointers, for which all zeros are valid.
    let (mut names, mut headers): ([libc::sockaddr_in6; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    let mut parts = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut controls: [Control; BATCH] = [[0; 8]; BATCH];
    for (i, message) in messages[..count].iter().enumerate() {
        parts[i].iov_base = message.bytes.as_ptr().cast_mut().cast();
        parts[i].iov_len = message.bytes.len();
        let header = &mut headers[i].msg_hdr;
        header.msg_namelen = write_name(&mut names[i], message.to.remote);
        header.msg_name = (&raw mut names[i]).cast();
        header.msg_iov = &raw mut parts[i];
        header.msg_iovlen = 1;
        let mut control = ControlWriter::new(&mut controls[i]);
        if message.bytes.len() > message.segment {
            let segment = u16::try_from(message.segment).map_err(io::Error::other)?;
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        match message.to.local {
            Some(IpAddr::V4(local)) => {
                let mut info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: 0 },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(local.octets());
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(local)) => {
                let address = libc::in6_addr {
                    s6_addr: local.octets(),
                };
                let info = libc::in6_pktinfo {
                    ipi6_addr: address,
                    ipi6_ifindex: 0,
                };
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        header.msg_controllen = control.used;
        if control.used > 0 {
            header.msg_control = controls[i].as_mut_ptr().cast();
        }
    }
    // SAFETY: every pointer in the first `count` headers leads to an array above or to a slice that is
    // borrowed for the call; the kernel only reads what they lead to.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count as u32, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What one call received.
pub(crate) struct Inbox {
    buffers: Vec<Box<[u8]>>,
    received: Vec<Received>,
}

struct Received {
    from: Endpoint,
    length: usize,
    segment: usize,
}

impl Inbox {
    /// Room for [`BATCH`] messages of `size` bytes, each of which may hold many datagrams.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            buffers: (0..BATCH)
                .map(|_| vec![0; size].into_boxed_slice())
                .collect(),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Receives what is there without waiting and returns the number of messages; what was received before
    /// is forgotten.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.received.clear();
        // SAFETY: these C structures consist of integers and pointers, for which all zeros are valid.
        let (mut names, mut headers): ([libc::sockaddr_in6; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        let mut parts = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let mut controls: [Control; BATCH] = [[0; 8]; BATCH];
        for (i, buffer) in self.buffers.iter_mut().enumerate() {
            parts[i].iov_base = buffer.as_mut_ptr().cast();
            parts[i].iov_len = buffer.len();
            let header = &mut headers[i].msg_hdr;
            header.msg_name = (&raw mut names[i]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
            header.msg_iov = &raw mut parts[i];
            header.msg_iovlen = 1;
            header.msg_control = controls[i].as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>();
        }
        // SAFETY: every pointer in the headers leads to an array above or to a buffer of ours, with its true
        // length beside it; none of them is used otherwise during the call.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (header, name) in headers[..count].iter().zip(&names) {
            let length = header.msg_len as usize;
            // SAFETY: the kernel filled in the header, and the control buffer that it leads to still stands.
            let (segment, local) = unsafe { read_control(&header.msg_hdr) };
            self.received.push(Received {
                from: Endpoint {
                    remote: read_name(name),
                    local,
                },
                length,
                segment: segment.unwrap_or(length),
            });
        }
        Ok(count)
    }

    /// What was received, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.received.iter().map(|message| message.length).sum()
    }

    /// The messages: where each is from, its bytes, and the size of the datagrams that they are made of (the
    /// last may be shorter).
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Endpoint, &[u8], usize)> {
        let messages = self.received.iter().zip(&self.buffers);
        messages.map(|(message, buffer)| (message.from, &buffer[..message.length], message.segment))
    }
}

fn write_name(name: &mut libc::sockaddr_in6, address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_in` is smaller than `sockaddr_in6`, and no more strictly aligned.
            unsafe { (&raw mut *name).cast::<libc::sockaddr_in>().write(v4) };
            size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(address) => {
            name.sin6_family = libc::AF_INET6 as u16;
            name.sin6_port = address.port().to_be();
            name.sin6_flowinfo = address.flowinfo();
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}

fn read_name(name: &libc::sockaddr_in6) -> SocketAddr {
    if i32::from(name.sin6_family) == libc::AF_INET6 {
        let port = u16::from_be(name.sin6_port);
        let address = name.sin6_addr.s6_addr.into();
        SocketAddrV6::new(address, port, 0, name.sin6_scope_id).into()
    } else {
        // SAFETY: the family says IPv4; `sockaddr_in` is smaller and no more strictly aligned.
        let v4 = unsafe { (&raw const *name).cast::<libc::sockaddr_in>().read() };
        let address = v4.sin_addr.s_addr.to_ne_bytes().into();
        SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into()
    }
}

/// Writes control messages one behind the other.
struct ControlWriter<'a> {
    control: &'a mut Control,
    used: usize,
}

impl<'a> ControlWriter<'a> {
    fn new(control: &'a mut Control) -> Self {
        Self { control, used: 0 }
    }

    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let size = size_of::<T>() as u32;
        // SAFETY: these two only compute.
        let (length, space) = unsafe { (libc::CMSG_LEN(size), libc::CMSG_SPACE(size)) };
        assert!(
            self.used + space as usize <= size_of::<Control>(),
            "room for both kinds"
        );
        let start = self.control.as_mut_ptr().cast::<u8>();
        // SAFETY: there is room, as just checked; `used` is a sum of `CMSG_SPACE`s and so keeps the alignment
        // that the buffer has.
        unsafe {
            let header = start.add(self.used).cast::<libc::cmsghdr>();
            (*header).cmsg_len = length as usize;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.used += space as usize;
    }
}

/// The datagram size that the kernel reports for coalesced datagrams, and the address that they were sent to.
///
/// # Safety
/// `header` must be as `recvmmsg` left it, with its control buffer still in place.
unsafe fn read_control(header: &libc::msghdr) -> (Option<usize>, Option<IpAddr>) {
    let (mut segment, mut local) = (None, None);
    // SAFETY: as promised by the caller; the macros stay within the control buffer, and the level and type of
    // a message say what it holds.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<i32>().read_unaligned();
                    segment = usize::try_from(size).ok().filter(|size| *size > 0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    local = Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    local = Some(IpAddr::from(info.ipi6_addr.s6_addr));
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    (segment, local)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    fn loopback_pair(address: &str) -> (UdpSocket, UdpSocket) {
        let a = UdpSocket::bind((address, 0)).expect("bind");
        let b = UdpSocket::bind((address, 0)).expect("bind");
        (a, b)
    }

    #[test]
    fn datagrams_arrive_as_they_were_cut() {
        for address in ["127.0.0.1", "::1"] {
            for gro in [false, true] {
                let (a, b) = loopback_pair(address);
                setsockopt(&b, sockopt::UdpGroSegment, &gro).expect("gro");
                let bytes: Vec<u8> = (0..5_000_u32).map(|i| i as u8).collect();
                let remote = b.local_addr().expect("address");
                let local = Some(remote.ip());
                let to = Endpoint { remote, local };
                let messages = [
                    Outgoing {
                        to,
                        bytes: &bytes,
                        segment: 1_200,
                    },
                    Outgoing {
                        to,
                        bytes: &bytes[..7],
                        segment: 7,
                    },
                ];
                assert_eq!(send(a.as_fd(), &messages).expect("send"), 2);

                let mut inbox = Inbox::new(65_536);
                let mut lengths = Vec::new();
                let mut all = Vec::new();
                while inbox.receive(b.as_fd()).is_ok() {
                    for (from, message, segment) in inbox.messages() {
                        assert_eq!(from.remote, a.local_addr().expect("address"));
                        for datagram in message.chunks(segment) {
                            lengths.push(datagram.len());
                            all.extend_from_slice(datagram);
                        }
                    }
                }
                assert_eq!(
                    lengths,
                    [1_200, 1_200, 1_200, 1_200, 200, 7],
                    "{address}, {gro}"
                );
                assert_eq!(all, [&bytes[..], &bytes[..7]].concat());
            }
        }
    }
}
