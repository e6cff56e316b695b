//! From the TUN device to the network: cut, find the peer, encrypt, send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::ahead::Ahead;
use super::device::Device;
use super::outbox::Outbox;
use super::pace::Pace;
use super::peer::{HANDSHAKE_SPACE, OVERHEAD, Sealed};
use super::split::split;
use super::vnet::Header;
use super::{essential, urgency};

/// Carries packets until the device is gone, each queue on a thread of its own.
pub(super) fn run(device: &Arc<Device>) -> io::Result<()> {
    for number in 1..device.tun.lanes() {
        let device = Arc::clone(device);
        essential("outbound", move || carry(&device, number))?;
    }
    carry(device, 0)
}

/// Carries packets of one queue.
fn carry(device: &Device, number: usize) -> io::Result<()> {
    urgency::go_first();
    let lane = device.tun.lane(number);
    let mut ahead = Ahead::new();
    let mut outbox = Outbox::new();
    let mut pace = Pace::new();
    loop {
        pace.nap();
        if !lane.wait()? {
            return Ok(());
        }
        pace.woke();
        let mut bytes = 0;
        loop {
            let turn = device.gate.enter();
            let empty = ahead.fill(lane)?;
            bytes += ahead.bytes();
            ahead.each_light(|header, buffer, length| {
                seal(device, header, buffer, length, &mut outbox);
            });
            outbox.flush(&device.udp);
            ahead.each_heavy(|header, buffer, length| {
                seal(device, header, buffer, length, &mut outbox);
            });
            outbox.flush(&device.udp);
            drop(turn);
            if empty {
                break;
            }
        }
        pace.came(bytes);
    }
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
