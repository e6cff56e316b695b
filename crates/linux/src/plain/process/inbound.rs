//! From the other end to the TUN device.

use std::io::{self, IoSlice};

use super::{Carrier, joined, partial};
use crate::tunnel::join::Joiner;
use crate::tunnel::mmsg::Inbox;
use crate::tunnel::urgency;
use crate::tunnel::vnet::Header;

/// The largest message: several datagrams, or one packet put together from fragments.
const MAX_MESSAGE: usize = 65_536;

/// Carries packets until the device is gone.
pub(super) fn run(carrier: &Carrier) -> io::Result<()> {
    urgency::go_first();
    let mut inbox = Inbox::new(MAX_MESSAGE);
    let mut joiner = Joiner::new(carrier.tun.udp_offload());
    let remote = carrier.outer.remote().ip();
    loop {
        let turn = carrier.gate.enter();
        if receive(carrier, &mut inbox) == 0 {
            drop(turn);
            carrier.outer.wait()?;
            continue;
        }
        for (from, message, segment) in inbox.messages() {
            // Until the socket is connected it takes what is anybody's.
            if from.remote.ip() != remote {
                continue;
            }
            for datagram in message.chunks(segment.max(1)) {
                let payload = payload(carrier, datagram);
                let Some(packet) = payload.and_then(|p| carrier.header.open(p)) else {
                    continue;
                };
                let length = packet.len();
                let large = length > carrier.tun.mtu();
                if large || joiner.is_full(length) {
                    joiner.flush(&carrier.tun)?;
                }
                let space = &mut joiner.space()[..length];
                space.copy_from_slice(packet);
                if large {
                    write_large(carrier, space)?;
                    continue;
                }
                partial::complete(space);
                joiner.commit(length);
            }
        }
        joiner.flush(&carrier.tun)?;
    }
}

/// Hands over a packet that is larger than the device's own.
fn write_large(carrier: &Carrier, packet: &mut [u8]) -> io::Result<()> {
    // The MTU may have changed since it was last asked for; a device that is gone is noticed below.
    let _ = carrier.tun.refresh_mtu();
    let header = joined::describe(packet, carrier.tun.mtu()).unwrap_or_else(|| {
        partial::complete(packet);
        Header::PLAIN
    });
    let header = header.emit(4);
    match carrier
        .tun
        .lane(0)
        .write(&[IoSlice::new(&header), IoSlice::new(packet)])
    {
        Err(error) if error.raw_os_error() == Some(libc::EBADFD) => Err(error),
        // Not taken, for example while the link is down: lost, as any packet may be.
        _ => Ok(()),
    }
}

/// How many messages there were. An error is an ICMP error about something sent: reading clears it.
fn receive(carrier: &Carrier, inbox: &mut Inbox) -> usize {
    use std::os::fd::AsFd;

    inbox.receive(carrier.outer.as_fd()).unwrap_or(0)
}

/// What a raw socket hands over starts with the outer IP header.
fn payload<'p>(carrier: &Carrier, datagram: &'p [u8]) -> Option<&'p [u8]> {
    if !carrier.outer.is_raw() {
        return Some(datagram);
    }
    let header = usize::from(datagram.first()? & 0x0f) * 4;
    datagram.get(header..)
}
