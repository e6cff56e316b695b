//! Links and the IPv4 settings that come with them.

use std::collections::HashMap;

use api::IfName;
use routerd_core::observed::Link;
use routerd_core::sysctl::SysctlKey;

use super::{Attributes, Error, Message, Request, Socket, text, u16_at, u32_at};

/// `struct ifinfomsg`.
pub(crate) const FIXED: usize = 16;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFLA_INET_CONF: u16 = 1;
/// RFC 2863.
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;
const IFF_UP: u32 = libc::IFF_UP as u32;

/// Names by `ifindex`: other dumps speak of links by index only.
pub type Names = HashMap<u32, IfName>;

/// A link with what the kernel tells about it in one message.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: IfName,
    /// The link.
    pub link: Link,
    /// Frames pass: with the carrier alone they may not yet, for the kernel activates the queues a moment later.
    pub operational: bool,
    /// `net.ipv4.conf.NAME.*`.
    pub settings: Vec<(SysctlKey, i32)>,
}

/// All links.
///
/// # Errors
/// When the kernel refuses.
pub fn dump(socket: &mut Socket) -> Result<Vec<Entry>, Error> {
    let request = Request::new(libc::RTM_GETLINK, 0, &[0; FIXED])
        .with_u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    socket.dump(&request, parse)
}

/// How many queues are attached to a TUN device; absent if it is none that can have several.
pub(crate) fn tun_queues(socket: &mut Socket, name: &IfName) -> Result<Option<u32>, Error> {
    const IFLA_TUN_NUM_QUEUES: u16 = 8;
    let request = Request::new(libc::RTM_GETLINK, 0, &[0; FIXED])
        .with_u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    let found = socket.dump(&request, |message: Message<'_>| {
        let attributes = message.attributes(FIXED);
        let own = attributes.find(libc::IFLA_IFNAME).and_then(text)?;
        let info = Attributes::new(attributes.find(libc::IFLA_LINKINFO)?);
        let data = Attributes::new(info.find(libc::IFLA_INFO_DATA)?);
        let queues = data.find(IFLA_TUN_NUM_QUEUES)?;
        (own == name.as_str()).then(|| u32_at(queues, 0))?
    })?;
    Ok(found.first().copied())
}

/// A link whose name is not UTF-8 or holds control characters is not seen: it cannot be configured either.
pub(crate) fn parse(message: Message<'_>) -> Option<Entry> {
    let fixed = message.fixed::<FIXED>()?;
    let hardware = u16_at(fixed, 2)?;
    let attributes = message.attributes(FIXED);
    let name: IfName = text(attributes.find(libc::IFLA_IFNAME)?)?.parse().ok()?;
    let number = |kind| attributes.find(kind).and_then(|value| u32_at(value, 0));
    let nested = |kind| attributes.find(kind).map(Attributes::new);
    let kind = nested(libc::IFLA_LINKINFO)
        .and_then(|info| info.find(libc::IFLA_INFO_KIND))
        .and_then(text);
    let link = Link {
        index: u32_at(fixed, 4)?,
        mtu: number(libc::IFLA_MTU)?,
        up: u32_at(fixed, 8)? & IFF_UP != 0,
        carrier: attributes
            .find(libc::IFLA_CARRIER)
            .is_some_and(|v| v.first() == Some(&1)),
        kind: match kind {
            Some(kind) => kind,
            None if hardware == libc::ARPHRD_LOOPBACK => "loopback".to_owned(),
            None => String::new(),
        },
        mac: (hardware == libc::ARPHRD_ETHER)
            .then(|| attributes.find(libc::IFLA_ADDRESS)?.try_into().ok())
            .flatten(),
        alias: attributes.find(libc::IFLA_IFALIAS).and_then(text),
    };
    let state = attributes
        .find(libc::IFLA_OPERSTATE)
        .and_then(|value| value.first());
    let operational = match state {
        Some(&IF_OPER_UP) => true,
        // Drivers without the notion.
        Some(&IF_OPER_UNKNOWN) => link.up && link.carrier,
        _ => false,
    };
    let settings = nested(libc::IFLA_AF_SPEC)
        .and_then(|families| families.find(libc::AF_INET as u16))
        .and_then(|inet| Attributes::new(inet).find(IFLA_INET_CONF))
        .map(settings)
        .unwrap_or_default();
    Some(Entry {
        name,
        link,
        operational,
        settings,
    })
}

/// Picks ours from the array of all `IPV4_DEVCONF_*` values, which are numbered from 1.
fn settings(values: &[u8]) -> Vec<(SysctlKey, i32)> {
    const WANTED: [(SysctlKey, usize); 7] = [
        (SysctlKey::Forwarding, 1),
        (SysctlKey::ProxyArp, 3),
        (SysctlKey::SendRedirects, 6),
        (SysctlKey::RpFilter, 8),
        (SysctlKey::ArpAnnounce, 18),
        (SysctlKey::ArpIgnore, 19),
        (SysctlKey::PromoteSecondaries, 20),
    ];
    WANTED
        .iter()
        .filter_map(|(key, number)| Some((*key, u32_at(values, (number - 1) * 4)? as i32)))
        .collect()
}

/// Sets MTU and state.
///
/// # Errors
/// When the kernel refuses.
pub fn set(
    socket: &mut Socket,
    index: u32,
    mtu: Option<u32>,
    up: Option<bool>,
) -> Result<(), Error> {
    let flags = up.map_or(0, |up| if up { IFF_UP } else { 0 });
    let change = up.map_or(0, |_| IFF_UP);
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &fixed(index, flags, change));
    if let Some(mtu) = mtu {
        request = request.with_u32(libc::IFLA_MTU, mtu);
    }
    socket.execute(&request)
}

/// `struct ifinfomsg` of any family and type.
pub(crate) fn fixed(index: u32, flags: u32, change: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}
