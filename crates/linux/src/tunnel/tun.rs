//! A persistent TUN device: it outlives this process, with its addresses and the routes over it.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::IfName;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::uio::{readv, writev};

use super::vnet::{self, Header};

mod ioctl {
    nix::ioctl_write_ptr_bad!(tunsetiff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_int_bad!(tunsetpersist, libc::TUNSETPERSIST as libc::c_int);
    nix::ioctl_write_int_bad!(tunsetoffload, libc::TUNSETOFFLOAD as libc::c_int);
    nix::ioctl_read_bad!(siocgifmtu, libc::SIOCGIFMTU, libc::ifreq);
}

const TCP_OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// Linux 6.2 and later.
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// An attached queue of a TUN device.
pub(crate) struct Tun {
    file: File,
    udp_offload: bool,
    mtu: AtomicUsize,
    /// For asking about the device; any socket of the namespace will do.
    control: OwnedFd,
    ifname: IfName,
}

impl Tun {
    /// Makes the device, or attaches to the one that is there.
    pub(crate) fn open(ifname: &IfName) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let mut request = interface_request(ifname);
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        attach(&file, &request)?;
        Self::new(file, ifname)
    }

    /// Goes on with the queues of a device that another process attached to.
    pub(crate) fn adopt(queues: Vec<OwnedFd>, ifname: &IfName) -> io::Result<Self> {
        let mut queues = queues.into_iter();
        match (queues.next(), queues.next()) {
            (Some(queue), None) => Self::new(queue.into(), ifname),
            _ => Err(io::Error::other("not one queue")),
        }
    }

    /// The descriptors of the queues.
    pub(crate) fn queues(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.file.as_fd()]
    }

    fn new(file: File, ifname: &IfName) -> io::Result<Self> {
        let udp_offload = set_offload(&file, TCP_OFFLOADS | UDP_OFFLOADS).is_ok();
        if !udp_offload {
            set_offload(&file, TCP_OFFLOADS)?;
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let tun = Self {
            file,
            udp_offload,
            mtu: AtomicUsize::new(0),
            control: socket(AddressFamily::Unix, SockType::Datagram, flags, None)?,
            ifname: ifname.clone(),
        };
        tun.refresh_mtu()?;
        Ok(tun)
    }

    /// Whether the kernel takes several datagrams in one packet.
    pub(crate) fn udp_offload(&self) -> bool {
        self.udp_offload
    }

    /// The next packet, if there is one: its header, and its length in `buffer`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<(Header, usize)>> {
        let mut header = [0; vnet::LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let length = match readv(&self.file, &mut parts) {
            Ok(length) => length,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let header = Header::parse(&header);
        Ok(header
            .zip(length.checked_sub(vnet::LEN))
            // What cannot be read is as good as an empty packet: nothing is sent for it.
            .or(Some((Header::PLAIN, 0))))
    }

    /// Hands a packet, given in parts of which the first is its [`Header`], to the kernel.
    pub(crate) fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        writev(&self.file, parts)?;
        Ok(())
    }

    /// Waits until there is a packet; false once the device is gone.
    pub(crate) fn wait(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let seen = fds[0].revents().unwrap_or(PollFlags::empty());
        Ok(!seen.intersects(gone))
    }

    /// The MTU of the device in bytes, as it was last asked for.
    pub(crate) fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Asks the kernel for the MTU.
    pub(crate) fn refresh_mtu(&self) -> io::Result<()> {
        let mut request = interface_request(&self.ifname);
        #[expect(unsafe_code, reason = "an ioctl that nix does not wrap")]
        // SAFETY: the request is valid for the call and holds a terminated name; the kernel then writes
        // `ifru_mtu`, which is what is read.
        let mtu = unsafe {
            ioctl::siocgifmtu(self.control.as_raw_fd(), &mut request)?;
            request.ifr_ifru.ifru_mtu
        };
        let mtu = usize::try_from(mtu).map_err(io::Error::other)?;
        self.mtu.store(mtu, Ordering::Relaxed);
        Ok(())
    }
}

fn interface_request(ifname: &IfName) -> libc::ifreq {
    #[expect(
        unsafe_code,
        reason = "a C structure with a union has no other way to be empty"
    )]
    // SAFETY: `ifreq` consists of integers and a union of integers and pointers: all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // `IfName` is at most 15 bytes, so a terminating zero is left.
    for (to, from) in request.ifr_name.iter_mut().zip(ifname.as_str().bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn attach(file: &File, request: &libc::ifreq) -> io::Result<()> {
    #[expect(unsafe_code, reason = "ioctls that nix does not wrap")]
    // SAFETY: the request is valid for the call, and its name is terminated.
    unsafe {
        ioctl::tunsetiff(file.as_raw_fd(), request)?;
        ioctl::tunsetpersist(file.as_raw_fd(), 1)?;
    }
    Ok(())
}

fn set_offload(file: &File, offloads: libc::c_uint) -> io::Result<()> {
    let offloads = libc::c_int::try_from(offloads).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "an ioctl that nix does not wrap")]
    // SAFETY: the argument is an integer.
    unsafe {
        ioctl::tunsetoffload(file.as_raw_fd(), offloads)?;
    }
    Ok(())
}
