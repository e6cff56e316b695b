//! TCP as BGP needs it: MD5 signatures (RFC 2385), TTLs (RFC 5082), connections that open without waiting.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt,
    socket, sockopt,
};

/// Connections that may wait for their acceptance.
const BACKLOG: i32 = 4096;
/// DSCP CS6, network control.
const PRIORITY: libc::c_int = 0xc0;
/// Octets that the kernel takes from us before a peer has taken them.
const SEND_BUFFER: usize = 1 << 20;
/// Octets that the kernel takes from a peer before we have.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How a connection is made.
#[derive(Debug, Clone, Copy)]
pub struct Dial<'a> {
    /// The peer.
    pub remote: SocketAddrV4,
    /// Our address; absent: the kernel's choice.
    pub local: Option<Ipv4Addr>,
    /// The password of its MD5 signature.
    pub password: Option<&'a str>,
    /// Its TTLs.
    pub ttl: Ttl,
}

/// TTLs of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ttl {
    /// Of packets to the peer; absent: the system's.
    pub sent: Option<u8>,
    /// The least of packets from the peer; absent: any.
    pub least: Option<u8>,
}

/// Listens without waiting.
///
/// # Errors
/// When the kernel refuses: somebody else listens there.
pub fn open_listener(address: SocketAddrV4) -> io::Result<TcpListener> {
    let fd = stream_socket()?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    // The interface with this address may come later.
    setsockopt(&fd, sockopt::IpFreebind, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
    // Accepted connections inherit it, and the window is chosen in the handshake.
    grow(&fd);
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

/// Begins a connection; the stream becomes writable when that is done or has failed (see `take_error`).
///
/// # Errors
/// When it cannot even be begun.
pub fn dial(dial: Dial<'_>) -> io::Result<TcpStream> {
    let fd = stream_socket()?;
    if let Some(password) = dial.password {
        set_password(&fd, Ipv4Net::from(*dial.remote.ip()), Some(password))?;
    }
    set_ttl(&fd, dial.ttl)?;
    grow(&fd);
    if let Some(local) = dial.local {
        bind(
            fd.as_raw_fd(),
            &SockaddrIn::from(SocketAddrV4::new(local, 0)),
        )?;
    }
    match connect(fd.as_raw_fd(), &SockaddrIn::from(dial.remote)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(errno) => Err(errno.into()),
    }
}

/// Prepares a connection that was accepted.
///
/// # Errors
/// When the kernel refuses an option.
pub fn adopt(stream: &TcpStream, ttl: Ttl) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    set_ttl(stream, ttl)?;
    prepare(stream)
}

fn stream_socket() -> io::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    prepare(&fd)?;
    Ok(fd)
}

fn prepare(fd: &impl AsFd) -> io::Result<()> {
    setsockopt(fd, sockopt::TcpNoDelay, &true)?;
    Ok(setsockopt(fd, sockopt::Ipv4Tos, &PRIORITY)?)
}

/// More room in flight where the host allows it; less does no harm.
fn grow(fd: &impl AsFd) {
    let sizes = [
        setsockopt(fd, sockopt::SndBufForce, &SEND_BUFFER),
        setsockopt(fd, sockopt::RcvBufForce, &RECEIVE_BUFFER),
    ];
    if sizes.iter().any(Result::is_err) {
        let _ = setsockopt(fd, sockopt::SndBuf, &SEND_BUFFER);
        let _ = setsockopt(fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
}

fn set_ttl(fd: &impl AsFd, ttl: Ttl) -> io::Result<()> {
    if let Some(sent) = ttl.sent {
        setsockopt(fd, sockopt::Ipv4Ttl, &libc::c_int::from(sent))?;
    }
    if let Some(least) = ttl.least {
        set_raw(
            fd,
            libc::IPPROTO_IP,
            libc::IP_MINTTL,
            &libc::c_int::from(least),
        )?;
    }
    Ok(())
}

/// `struct tcp_md5sig` of the kernel.
#[repr(C)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; 80],
}

/// Wants MD5 signatures of this password from all addresses of a prefix, or none any more.
///
/// # Errors
/// When the kernel refuses, or the password is longer than 80 bytes.
pub fn set_password(fd: &impl AsFd, peers: Ipv4Net, password: Option<&str>) -> io::Result<()> {
    const TCP_MD5SIG_EXT: libc::c_int = 32;
    const PREFIX: u8 = 1;
    let password = password.unwrap_or_default().as_bytes();
    let mut key = [0; 80];
    key.get_mut(..password.len())
        .ok_or_else(|| io::Error::other("a password has at most 80 bytes"))?
        .copy_from_slice(password);
    #[expect(unsafe_code, reason = "a C structure with a union of addresses")]
    // SAFETY: sockaddr_storage consists of integers, for which all zeros are valid; a sockaddr_in fits into it.
    let address = unsafe {
        let mut storage: libc::sockaddr_storage = std::mem::zeroed();
        let name = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(peers.network().octets()),
            },
            sin_zero: [0; 8],
        };
        (&raw mut storage).cast::<libc::sockaddr_in>().write(name);
        storage
    };
    let signature = Md5Signature {
        address,
        flags: PREFIX,
        prefix_length: peers.prefix_len(),
        key_length: password.len() as u16,
        interface: 0,
        key,
    };
    match set_raw(fd, libc::IPPROTO_TCP, TCP_MD5SIG_EXT, &signature) {
        // There was none to forget.
        Err(error) if password.is_empty() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

fn set_raw<T>(
    fd: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix does not wrap IP_MINTTL and TCP_MD5SIG_EXT")]
    // SAFETY: a pointer to a whole value and its length; the kernel reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}
