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
use crate::netlink::{Socket, link};

mod ioctl {
    nix::ioctl_write_ptr_bad!(tunsetiff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_int_bad!(tunsetpersist, libc::TUNSETPERSIST as libc::c_int);
    nix::ioctl_write_int_bad!(tunsetoffload, libc::TUNSETOFFLOAD as libc::c_int);
    nix::ioctl_read_bad!(siocgifmtu, libc::SIOCGIFMTU, libc::ifreq);
}

const TCP_OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// Linux 6.2 and later.
const UDP_OFFLOADS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Queues of one device at most: as many as threads are of use.
pub(crate) const MAX_LANES: usize = 8;

/// A TUN device with the queues that are attached to it.
pub(crate) struct Tun {
    lanes: Vec<File>,
    udp_offload: bool,
    mtu: AtomicUsize,
    /// For asking about the device; any socket of the namespace will do.
    control: OwnedFd,
    ifname: IfName,
}

impl Tun {
    /// Makes the device with this many queues, or attaches to the one that is there. One that was made for a single
    /// queue stays so.
    pub(crate) fn open(ifname: &IfName, lanes: usize) -> io::Result<Self> {
        let first = open_queue()?;
        let several = match attach(&first, ifname, libc::IFF_MULTI_QUEUE) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                attach(&first, ifname, 0)?;
                false
            }
            attached => attached.map(|()| true)?,
        };
        let mut queues = vec![first];
        while several && queues.len() < lanes.clamp(1, MAX_LANES) {
            let file = open_queue()?;
            attach(&file, ifname, libc::IFF_MULTI_QUEUE)?;
            queues.push(file);
        }
        // Others can attach to a device of several queues as well, and would get a part of its packets.
        if several && attached_queues(ifname)? != Some(queues.len()) {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        Self::new(queues, ifname)
    }

    /// Goes on with the queues of a device that another process attached to.
    pub(crate) fn adopt(queues: Vec<OwnedFd>, ifname: &IfName) -> io::Result<Self> {
        if queues.is_empty() {
            return Err(io::Error::other("no queue"));
        }
        Self::new(queues.into_iter().map(File::from).collect(), ifname)
    }

    /// The descriptors of the queues.
    pub(crate) fn queues(&self) -> Vec<BorrowedFd<'_>> {
        self.lanes.iter().map(File::as_fd).collect()
    }

    fn new(lanes: Vec<File>, ifname: &IfName) -> io::Result<Self> {
        let udp_offload = set_offload(&lanes[0], TCP_OFFLOADS | UDP_OFFLOADS).is_ok();
        if !udp_offload {
            set_offload(&lanes[0], TCP_OFFLOADS)?;
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let tun = Self {
            lanes,
            udp_offload,
            mtu: AtomicUsize::new(0),
            control: socket(AddressFamily::Unix, SockType::Datagram, flags, None)?,
            ifname: ifname.clone(),
        };
        tun.refresh_mtu()?;
        Ok(tun)
    }

    /// How many queues there are.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// A queue; numbers beyond the last begin again with the first.
    pub(crate) fn lane(&self, number: usize) -> Lane<'_> {
        Lane(&self.lanes[number % self.lanes.len()])
    }

    /// Whether the kernel takes several datagrams in one packet.
    pub(crate) fn udp_offload(&self) -> bool {
        self.udp_offload
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

/// One queue. The kernel puts the packets of a flow into the one that packets of the same flow were last written to
/// in the other direction, and spreads flows that it saw in no other direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane<'a>(&'a File);

impl Lane<'_> {
    /// The next packet, if there is one: its header, and its length in `buffer`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<(Header, usize)>> {
        let mut header = [0; vnet::LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let length = match readv(self.0, &mut parts) {
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
        writev(self.0, parts)?;
        Ok(())
    }

    /// Waits until there is a packet; false once the device is gone.
    pub(crate) fn wait(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let seen = fds[0].revents().unwrap_or(PollFlags::empty());
        Ok(!seen.intersects(gone))
    }
}

fn open_queue() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
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

fn attach(file: &File, ifname: &IfName, more: libc::c_int) -> io::Result<()> {
    let mut request = interface_request(ifname);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | more;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    #[expect(unsafe_code, reason = "ioctls that nix does not wrap")]
    // SAFETY: the request is valid for the call, and its name is terminated.
    unsafe {
        ioctl::tunsetiff(file.as_raw_fd(), &request)?;
        ioctl::tunsetpersist(file.as_raw_fd(), 1)?;
    }
    Ok(())
}

/// How many queues of a device are attached, by whomever.
fn attached_queues(ifname: &IfName) -> io::Result<Option<usize>> {
    let queues = Socket::open(0).and_then(|mut socket| link::tun_queues(&mut socket, ifname));
    let queues = queues.map_err(io::Error::other)?;
    Ok(queues.and_then(|queues| usize::try_from(queues).ok()))
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
