//! The kernel's WireGuard: links through rtnetlink, their configuration through generic netlink.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::IfName;
use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_wireguard::{
    WireguardAllowedIpAttr, WireguardAttribute, WireguardPeer, WireguardPeerAttribute,
};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use nix::errno::Errno;
use routerd_core::OWNER_MARK;
use routerd_core::key::{PublicKey, SecretKey};
use routerd_core::observed::{Build, Driver, PeerState, WireGuardDevice};

use super::change::messages;
use super::{Resolved, WireGuardError};
use crate::netlink::{Error, Message, Request, Socket, link, u16_at};

/// `struct genlmsghdr`: command, version, two bytes that are not used.
const GENERIC: usize = 4;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const VERSION: u8 = 1;

/// How long a kernel that has no WireGuard is taken at its word: asking makes it run `modprobe`.
const RETRY_PROBE: Duration = Duration::from_secs(60);

/// When the family was last found missing.
static MISSING: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether generic netlink has the family; the kernel loads the module if it can.
pub(super) fn available() -> bool {
    let mut missing = MISSING.lock().unwrap_or_else(|e| e.into_inner());
    if missing.is_some_and(|when| when.elapsed() < RETRY_PROBE) {
        return false;
    }
    let found = Wg::open().is_ok();
    *missing = (!found).then(Instant::now);
    found
}

/// A socket that knows the number of the `wireguard` family.
struct Wg {
    socket: Socket,
    family: u16,
}

impl Wg {
    fn open() -> Result<Self, Error> {
        let mut socket = Socket::open(NETLINK_GENERIC)?;
        let request = Request::new(GENL_ID_CTRL, 0, &[CTRL_CMD_GETFAMILY, VERSION, 0, 0])
            .with_text(CTRL_ATTR_FAMILY_NAME, "wireguard");
        let family = socket.request(&request, |answer| {
            u16_at(answer.attributes(GENERIC).find(CTRL_ATTR_FAMILY_ID)?, 0)
        })?;
        match family {
            Some(family) => Ok(Self { socket, family }),
            None => Err(Error::Socket {
                operation: "find family wireguard",
                errno: Errno::ENOENT,
            }),
        }
    }

    fn get(&mut self, ifname: &IfName) -> Result<Vec<WireguardAttribute>, Error> {
        let name = WireguardAttribute::IfName(ifname.to_string());
        let request = self.request(WG_CMD_GET_DEVICE, &[name]);
        let answers = self
            .socket
            .dump(&request, |answer| Some(attributes(answer)))?;
        Ok(answers.into_iter().flatten().collect())
    }

    fn set(&mut self, attributes: &[WireguardAttribute]) -> Result<(), Error> {
        let request = self.request(WG_CMD_SET_DEVICE, attributes);
        self.socket.execute(&request)
    }

    fn request(&self, command: u8, attributes: &[WireguardAttribute]) -> Request {
        use netlink_packet_core::Nla;

        let start = Request::new(self.family, 0, &[command, VERSION, 0, 0]);
        attributes.iter().fold(start, |request, attribute| {
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            request.with(attribute.kind(), &value)
        })
    }
}

/// What cannot be read is passed over: a newer kernel may know more than we do.
fn attributes(answer: Message<'_>) -> Vec<WireguardAttribute> {
    let bytes = answer.payload.get(GENERIC..).unwrap_or_default();
    NlasIterator::new(bytes)
        .flatten()
        .filter_map(|nla| WireguardAttribute::parse(&nla).ok())
        .collect()
}

/// Reads a device; absent if it went away in between.
pub(super) fn observe(ifname: &IfName) -> Result<Option<WireGuardDevice>, WireGuardError> {
    match Wg::open().and_then(|mut wg| wg.get(ifname)) {
        Ok(attributes) => Ok(Some(device(attributes, SystemTime::now()))),
        Err(gone) if gone.errno() == Errno::ENODEV => Ok(None),
        Err(source) => Err(failed("read wireguard device", ifname, source)),
    }
}

fn device(attributes: Vec<WireguardAttribute>, now: SystemTime) -> WireGuardDevice {
    let mut device = WireGuardDevice {
        build: Build::Current,
        driver: Driver::Kernel,
        public_key: None,
        listen_port: 0,
        peers: BTreeMap::new(),
    };
    for attribute in attributes {
        match attribute {
            WireguardAttribute::PublicKey(key) => device.public_key = Some(PublicKey(key)),
            WireguardAttribute::ListenPort(port) => device.listen_port = port,
            WireguardAttribute::Peers(peers) => {
                for peer in peers {
                    merge_peer(&mut device.peers, &peer, now);
                }
            }
            _ => {}
        }
    }
    device
}

/// A peer with many allowed IPs comes in several messages: the later ones carry its key and more of them.
fn merge_peer(peers: &mut BTreeMap<PublicKey, PeerState>, peer: &WireguardPeer, now: SystemTime) {
    let key = peer.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(PublicKey(*key)),
        _ => None,
    });
    let Some(key) = key else { return };
    let state = peers.entry(key).or_default();
    for attribute in peer.iter() {
        match attribute {
            WireguardPeerAttribute::PresharedKey(key) => {
                let set = key != &[0; 32];
                state.preshared_key = set.then(|| SecretKey::from_bytes(*key).public_key());
            }
            WireguardPeerAttribute::Endpoint(endpoint) => state.endpoint = Some(*endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                state.persistent_keepalive = *seconds;
            }
            WireguardPeerAttribute::LastHandshake(time) => {
                let seconds = u64::try_from(time.seconds).unwrap_or_default();
                let then = UNIX_EPOCH + Duration::from_secs(seconds);
                let age = now.duration_since(then).unwrap_or_default().as_secs();
                state.handshake_age = (seconds > 0).then_some(age);
            }
            WireguardPeerAttribute::RxBytes(bytes) => state.rx_bytes = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => state.tx_bytes = *bytes,
            WireguardPeerAttribute::AllowedIps(nets) => {
                state
                    .allowed_ips
                    .extend(nets.iter().filter_map(|net| allowed_ip(net)));
            }
            _ => {}
        }
    }
}

fn allowed_ip(attributes: &[WireguardAllowedIpAttr]) -> Option<ipnet::IpNet> {
    let (mut address, mut length) = (None, None);
    for attribute in attributes {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(bits) => length = Some(*bits),
            _ => {}
        }
    }
    ipnet::IpNet::new(address?, length?).ok()
}

/// Makes a link that carries our mark; one that does already is as good. The kernel takes no alias for a link
/// that it is about to make, hence the two steps.
pub(super) fn create(ifname: &IfName) -> Result<(), WireGuardError> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let request = Request::new(libc::RTM_NEWLINK, flags, &link::fixed(0, 0, 0))
        .with_text(libc::IFLA_IFNAME, ifname.as_str())
        .with_nested(libc::IFLA_LINKINFO, |info| {
            info.with_text(libc::IFLA_INFO_KIND, "wireguard")
        });
    match change_link(&request) {
        Ok(()) => mark(ifname),
        Err(exists) if exists.errno() == Errno::EEXIST && is_ours(ifname) => Ok(()),
        Err(source) => Err(failed("create wireguard link", ifname, source)),
    }
}

fn is_ours(ifname: &IfName) -> bool {
    let links = Socket::open(NETLINK_ROUTE).and_then(|mut socket| link::dump(&mut socket));
    links.is_ok_and(|links| {
        links.iter().any(|entry| {
            let alias = entry.link.alias.as_deref().unwrap_or_default();
            &entry.name == ifname && entry.link.kind == "wireguard" && alias.starts_with(OWNER_MARK)
        })
    })
}

/// Marks a link as ours.
pub(super) fn mark(ifname: &IfName) -> Result<(), WireGuardError> {
    let request = Request::new(libc::RTM_SETLINK, 0, &link::fixed(0, 0, 0))
        .with_text(libc::IFLA_IFNAME, ifname.as_str())
        .with_text(libc::IFLA_IFALIAS, OWNER_MARK);
    change_link(&request).map_err(|source| failed("mark link", ifname, source))
}

/// Removes a link of any kind, if it is there.
pub(super) fn delete(ifname: &IfName) -> Result<(), WireGuardError> {
    let request = Request::new(libc::RTM_DELLINK, 0, &link::fixed(0, 0, 0))
        .with_text(libc::IFLA_IFNAME, ifname.as_str());
    match change_link(&request) {
        Err(source) if source.errno() != Errno::ENODEV => {
            Err(failed("delete link", ifname, source))
        }
        _ => Ok(()),
    }
}

fn change_link(request: &Request) -> Result<(), Error> {
    Socket::open(NETLINK_ROUTE)?.execute(request)
}

/// Applies a change.
pub(super) fn set(ifname: &IfName, change: &Resolved<'_>) -> Result<(), WireGuardError> {
    let messages = messages(ifname, change)?;
    let apply = || {
        let mut wg = Wg::open()?;
        messages.iter().try_for_each(|message| wg.set(message))
    };
    apply().map_err(|source| failed("configure", ifname, source))
}

fn failed(operation: &'static str, ifname: &IfName, source: Error) -> WireGuardError {
    WireGuardError::Kernel {
        operation,
        ifname: ifname.clone(),
        source,
    }
}
