//! A TAP device: an Ethernet interface in one network namespace whose wire is a file descriptor.
//!
//! Frames carry the kernel's `virtio_net_hdr` in front, so that segments of up to 64 KiB and checksums that
//! are not filled in yet pass as they are.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use api::IfName;

use super::NamespaceError;

/// Segmentation work that may be left to whoever reads from the device (`linux/if_tun.h`).
mod offload {
    use std::ffi::c_ulong;

    /// Checksums.
    pub(super) const CHECKSUM: c_ulong = 0x01;
    /// TCP over IPv4 and IPv6, with ECN.
    pub(super) const TCP: c_ulong = 0x02 | 0x04 | 0x08;
    /// UDP over IPv4 and IPv6; since Linux 6.2.
    pub(super) const UDP: c_ulong = 0x20 | 0x40;
}

mod ioctl {
    use std::ffi::c_int;

    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        libc::ifreq
    );
    nix::ioctl_write_int_bad!(
        set_offload,
        nix::request_code_write!(b'T', 208, size_of::<c_int>())
    );
    nix::ioctl_write_ptr_bad!(
        set_carrier,
        nix::request_code_write!(b'T', 226, size_of::<c_int>()),
        c_int
    );
}

/// A TAP device. It goes away with this value.
#[derive(Debug)]
pub struct Tap {
    wire: File,
    name: IfName,
}

impl Tap {
    /// Makes a device in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When `/dev/net/tun` may not be used, or the name is taken.
    pub fn create(name: &IfName) -> Result<Self, NamespaceError> {
        let wire = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(|e| NamespaceError::new("open", "/dev/net/tun", e))?;
        let tap = Self {
            wire,
            name: name.clone(),
        };
        tap.attach()
            .map_err(|e| tap.error("create tap device", e))?;
        Ok(tap)
    }

    fn attach(&self) -> Result<(), nix::Error> {
        let fd = self.wire.as_raw_fd();
        let mut request = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short,
            },
        };
        // An `IfName` is at most 15 bytes: the terminating zero stays.
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.as_str().bytes()) {
            *to = from as libc::c_char;
        }
        #[expect(
            unsafe_code,
            reason = "TUNSETIFF reads an ifreq that lives across the call"
        )]
        unsafe {
            ioctl::set_interface(fd, &raw const request)?;
        }
        let tcp = offload::CHECKSUM | offload::TCP;
        #[expect(unsafe_code, reason = "TUNSETOFFLOAD takes a number")]
        let offered = unsafe { ioctl::set_offload(fd, (tcp | offload::UDP) as c_int) };
        if offered.is_err() {
            #[expect(unsafe_code, reason = "TUNSETOFFLOAD takes a number")]
            unsafe {
                ioctl::set_offload(fd, tcp as c_int)?;
            }
        }
        Ok(())
    }

    fn error(&self, operation: &'static str, source: impl Into<io::Error>) -> NamespaceError {
        NamespaceError::new(operation, &self.name, source)
    }

    /// The device's name inside its namespace.
    pub fn name(&self) -> &IfName {
        &self.name
    }

    /// Waits for a frame that the namespace sends: `virtio_net_hdr`, Ethernet header, payload.
    ///
    /// # Errors
    /// When the device is gone; while it is down the kernel answers `EIO` too.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.wire).read(buffer)
    }

    /// Hands the namespace a frame in the same form.
    ///
    /// # Errors
    /// `EIO` while the device is down; `EINVAL` when the frame is malformed.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.wire).write(frame).map(drop)
    }

    /// Plugs the cable in or pulls it.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn set_carrier(&self, on: bool) -> Result<(), NamespaceError> {
        let value = c_int::from(on);
        #[expect(
            unsafe_code,
            reason = "TUNSETCARRIER reads an int that lives across the call"
        )]
        let outcome = unsafe { ioctl::set_carrier(self.wire.as_raw_fd(), &raw const value) };
        outcome
            .map(drop)
            .map_err(|e| self.error("set carrier of", e))
    }
}
