//! The kernel's WireGuard: links through rtnetlink, their configuration through generic netlink.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::IfName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_wireguard::{
    WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd, WireguardMessage, WireguardPeer,
    WireguardPeerAttribute,
};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use routerd_core::OWNER_MARK;
use routerd_core::key::{PublicKey, SecretKey};
use routerd_core::observed::{Driver, PeerState, WireGuardDevice};

use super::change::messages;
use super::netlink::Client;
use super::{Resolved, WireGuardError};

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
    client: Client,
    family: u16,
}

impl Wg {
    fn open() -> io::Result<Self> {
        let mut client = Client::open(NETLINK_GENERIC)?;
        let request = GenlMessage::from_payload(GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_owned())],
        });
        let answers = client.change(request, 0)?;
        let family = answers.iter().find_map(|answer| {
            answer.payload.nlas.iter().find_map(|nla| match nla {
                GenlCtrlAttrs::FamilyId(id) => Some(*id),
                _ => None,
            })
        });
        match family {
            Some(family) => Ok(Self { client, family }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn get(&mut self, ifname: &IfName) -> io::Result<Vec<WireguardAttribute>> {
        let request = self.message(
            WireguardCmd::GetDevice,
            vec![WireguardAttribute::IfName(ifname.to_string())],
        );
        let answers = self.client.dump(request)?;
        Ok(answers
            .into_iter()
            .flat_map(|answer| answer.payload.attributes)
            .collect())
    }

    fn set(&mut self, attributes: Vec<WireguardAttribute>) -> io::Result<()> {
        let request = self.message(WireguardCmd::SetDevice, attributes);
        self.client.change(request, 0).map(drop)
    }

    fn message(
        &self,
        cmd: WireguardCmd,
        attributes: Vec<WireguardAttribute>,
    ) -> GenlMessage<WireguardMessage> {
        let mut message = GenlMessage::from_payload(WireguardMessage { cmd, attributes });
        message.set_resolved_family_id(self.family);
        message
    }
}

/// Reads a device; absent if it went away in between.
pub(super) fn observe(ifname: &IfName) -> Result<Option<WireGuardDevice>, WireGuardError> {
    match Wg::open().and_then(|mut wg| wg.get(ifname)) {
        Ok(attributes) => Ok(Some(device(attributes, SystemTime::now()))),
        Err(gone) if gone.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(source) => Err(failed("read wireguard device", ifname, source)),
    }
}

fn device(attributes: Vec<WireguardAttribute>, now: SystemTime) -> WireGuardDevice {
    let mut device = WireGuardDevice {
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

/// Makes a link that carries our mark from its first moment.
pub(super) fn create(ifname: &IfName) -> Result<(), WireGuardError> {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(ifname.to_string()),
        LinkAttribute::IfAlias(OWNER_MARK.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]),
    ];
    change_link(
        RouteNetlinkMessage::NewLink(link),
        NLM_F_CREATE | NLM_F_EXCL,
    )
    .map_err(|source| failed("create wireguard link", ifname, source))
}

/// Marks a link as ours.
pub(super) fn mark(ifname: &IfName) -> Result<(), WireGuardError> {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(ifname.to_string()),
        LinkAttribute::IfAlias(OWNER_MARK.to_owned()),
    ];
    change_link(RouteNetlinkMessage::SetLink(link), 0)
        .map_err(|source| failed("mark link", ifname, source))
}

/// Removes a link of any kind, if it is there.
pub(super) fn delete(ifname: &IfName) -> Result<(), WireGuardError> {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(ifname.to_string())];
    match change_link(RouteNetlinkMessage::DelLink(link), 0) {
        Err(source) if source.raw_os_error() != Some(libc::ENODEV) => {
            Err(failed("delete link", ifname, source))
        }
        _ => Ok(()),
    }
}

fn change_link(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    Client::open(NETLINK_ROUTE)?
        .change(message, flags)
        .map(drop)
}

/// Applies a change.
pub(super) fn set(ifname: &IfName, change: &Resolved<'_>) -> Result<(), WireGuardError> {
    let apply = || {
        let mut wg = Wg::open()?;
        for attributes in messages(ifname, change)? {
            wg.set(attributes)?;
        }
        Ok(())
    };
    apply().map_err(|source| failed("configure", ifname, source))
}

fn failed(operation: &'static str, ifname: &IfName, source: io::Error) -> WireGuardError {
    WireGuardError::Kernel {
        operation,
        ifname: ifname.clone(),
        source,
    }
}
