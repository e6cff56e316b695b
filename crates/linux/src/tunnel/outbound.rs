//! From the TUN device to the network: cut, find the peer, encrypt, send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::device::Device;
use super::outbox::Outbox;
use super::peer::{HANDSHAKE_SPACE, OVERHEAD, Sealed};
use super::split::{SPARE, split};
use super::urgency;
use super::vnet::Header;

/// The largest packet that the kernel hands over.
const MAX_PACKET: usize = 65_535;

/// Packets that are gathered before they are sent, if there are as many: enough to spread the cost of system
/// calls, few enough to delay nobody.
const GATHER: usize = 64;

/// Carries packets until the device is gone.
pub(super) fn run(device: &Device) -> io::Result<()> {
    urgency::go_first();
    let mut buffer = vec![0; MAX_PACKET + SPARE];
    let mut outbox = Outbox::new();
    while device.tun.wait()? {
        loop {
            let turn = device.gate.enter();
            let mut gathered = 0;
            while gathered < GATHER {
                let Some((header, length)) = device.tun.read(&mut buffer[..MAX_PACKET])? else {
                    break;
                };
                seal(device, &header, &mut buffer, length, &mut outbox);
                gathered += 1;
            }
            outbox.flush(&device.udp);
            drop(turn);
            if gathered < GATHER {
                break;
            }
        }
    }
    Ok(())
}

/// Encrypts a packet of the TUN device for the peer that its destination belongs to.
fn seal(device: &Device, header: &Header, buffer: &mut [u8], length: usize, outbox: &mut Outbox) {
    let tables = device.tables();
    if tables.identity().is_none() {
        return;
    }
    let peer = destination(&buffer[..length]).and_then(|address| tables.by_address(address));
    let Some(peer) = peer else { return };
    let mut state = peer.lock();
    let endpoint = state.endpoint;
    let result = split(header, buffer, length, device.tun.mtu(), |packet| {
        let room = packet.len() + OVERHEAD + HANDSHAKE_SPACE;
        if outbox.is_full(room) {
            outbox.flush(&device.udp);
        }
        let sealed = state.seal(packet, outbox.space());
        if let (Sealed::Send(length), Some(endpoint)) = (sealed, endpoint) {
            outbox.commit(length, endpoint);
        }
    });
    if result.is_err() {
        tracing::debug!(peer = %peer.key, length, "a packet of the kernel is malformed");
    }
}

/// Where a packet is going.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes).into())
        }
        6 => {
            let bytes: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}
