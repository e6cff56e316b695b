//! Addresses on interfaces, marked as ours by their protocol number (`IFA_PROTO`, Linux 5.18).

use std::net::IpAddr;

use ipnet::IpNet;
use routerd_core::OWNER_PROTOCOL;
use routerd_core::observed::Address;

use super::link::Names;
use super::{Error, Message, Request, Socket, ipv4, ipv6, u32_at};

/// `struct ifaddrmsg`.
const FIXED: usize = 8;
const IFA_PROTO: u16 = 11;

/// All addresses, IPv4 and IPv6. `owned` says for an interface whether an address without protocol number is
/// ours there.
///
/// # Errors
/// When the kernel refuses.
pub fn dump(
    socket: &mut Socket,
    names: &Names,
    owned: impl Fn(u32) -> bool,
) -> Result<Vec<Address>, Error> {
    let request = Request::new(libc::RTM_GETADDR, 0, &[0; FIXED]);
    socket.dump(&request, |message| parse(message, names, &owned))
}

fn parse(message: Message<'_>, names: &Names, owned: impl Fn(u32) -> bool) -> Option<Address> {
    let &[family, prefix_length, flags, ..] = message.fixed::<FIXED>()?;
    let index = u32_at(message.payload, 4)?;
    let attributes = message.attributes(FIXED);
    // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours; IPv6 without a peer has IFA_ADDRESS alone.
    let value = attributes
        .find(libc::IFA_LOCAL)
        .or_else(|| attributes.find(libc::IFA_ADDRESS))?;
    let address: IpAddr = match i32::from(family) {
        libc::AF_INET => ipv4(value)?.into(),
        libc::AF_INET6 => ipv6(value)?.into(),
        _ => return None,
    };
    let flags = attributes
        .find(libc::IFA_FLAGS)
        .and_then(|value| u32_at(value, 0))
        .unwrap_or(flags.into());
    Some(Address {
        ifname: names.get(&index)?.clone(),
        net: IpNet::new(address, prefix_length).ok()?,
        // The same bit means "temporary" in IPv6.
        secondary: address.is_ipv4() && flags & libc::IFA_F_SECONDARY != 0,
        owned: match attributes.find(IFA_PROTO) {
            Some(protocol) => protocol.first() == Some(&OWNER_PROTOCOL),
            None => owned(index),
        },
    })
}

/// The request that adds an address as ours.
pub fn add(index: u32, net: IpNet) -> Request {
    request(
        libc::RTM_NEWADDR,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        index,
        net,
    )
    .with(IFA_PROTO, &[OWNER_PROTOCOL])
}

/// The request that removes an address, whosever it is.
pub fn remove(index: u32, net: IpNet) -> Request {
    request(libc::RTM_DELADDR, 0, index, net)
}

fn request(kind: u16, flags: i32, index: u32, net: IpNet) -> Request {
    let family = match net {
        IpNet::V4(_) => libc::AF_INET,
        IpNet::V6(_) => libc::AF_INET6,
    };
    let mut fixed = [family as u8, net.prefix_len(), 0, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    let request = Request::new(kind, flags, &fixed);
    match net {
        IpNet::V4(net) => {
            let octets = net.addr().octets();
            let request = request
                .with(libc::IFA_LOCAL, &octets)
                .with(libc::IFA_ADDRESS, &octets);
            // As `ip address add … brd +`; /31 and /32 have no broadcast address.
            if kind == libc::RTM_NEWADDR && net.prefix_len() < 31 {
                request.with(libc::IFA_BROADCAST, &net.broadcast().octets())
            } else {
                request
            }
        }
        IpNet::V6(net) => {
            let octets = net.addr().octets();
            request
                .with(libc::IFA_LOCAL, &octets)
                .with(libc::IFA_ADDRESS, &octets)
        }
    }
}
