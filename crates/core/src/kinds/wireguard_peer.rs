//! `WireGuardPeer`: the other end of a WireGuard tunnel.

use std::net::SocketAddr;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{AbsolutePath, AllowedIp, Reference, Seconds, Text};
use crate::config::draft::{Draft, Peer, Resource};
use crate::config::sink::Sink;
use crate::effective::WireGuardPeerIntent;
use crate::key::{KeySource, PublicKey};

/// A peer of a WireGuard interface.
///
/// A public key stands for one peer of an interface, and so does an allowed IP; a longer prefix inside another peer's
/// wins. A peer without `endpoint` has to call this router, which then needs a `listenPort`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WireGuardPeer {
    /// The WireGuardInterface that it is a peer of.
    #[schemars(extend("x-reference" = ["WireGuardInterface"]))]
    interface: Text<Reference>,
    /// Its public key.
    public_key: Text<PublicKey>,
    /// A file with a preshared key, mixed into the handshake. It must exist.
    preshared_key_file: Option<Text<AbsolutePath>>,
    /// Prefixes that the peer may send from and is sent to. What claims and routes deliver through this peer is added
    /// whether it is listed or not.
    #[serde(default, rename = "allowedIPs")]
    allowed_ips: Vec<Text<AllowedIp>>,
    /// Where the peer is reached: ADDRESS:PORT. Absent: the peer calls us.
    endpoint: Option<Text<SocketAddr>>,
    /// Seconds between packets that keep a NAT in between open: a number, or a duration such as `25s`. 0 is off.
    persistent_keepalive: Option<Seconds>,
}

impl Kind for WireGuardPeer {
    const NAME: &'static str = "WireGuardPeer";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
interface: wg-hybrid
publicKey: xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
allowedIPs: [10.255.0.2/32, 10.77.60.9/32]
endpoint: 198.51.100.7:51820
persistentKeepalive: 25
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let device = draft.declared(&self.interface).cloned();
        let Some(device) = device.filter(|device| device.wireguard) else {
            // Not declared: the reference itself was reported.
            draft.broken.insert(resource.id.clone());
            return;
        };
        let key = self.public_key.0;
        let Some(tunnel) = draft.effective.wireguard.get_mut(&device.ifname) else {
            return;
        };
        if let KeySource::Inline(own) = &tunnel.private_key
            && own.public_key() == key
        {
            let found = Diagnostic::error(
                "peer-is-self",
                "this is the public key of the interface itself",
            )
            .hint("write the public key of the other side");
            resource.report(sink, "publicKey", found);
            return;
        }
        if let Some(first) = tunnel.peers.get(&key) {
            let message = format!("{} has this public key too", first.owner);
            let found = Diagnostic::error("duplicate-public-key", message)
                .hint("a key makes a peer: keep one, or write the key of the other router");
            resource.report(sink, "publicKey", found);
            return;
        }
        let endpoint = self.endpoint.map(|endpoint| endpoint.0);
        let intent = WireGuardPeerIntent {
            owner: resource.id.clone(),
            preshared_key: self.preshared_key_file.map(|file| file.0.0.into()),
            allowed_ips: self.allowed_ips.iter().map(|ip| ip.0.0).collect(),
            endpoint,
            persistent_keepalive: self.persistent_keepalive.map(|seconds| seconds.0),
        };
        tunnel.peers.insert(key, intent);
        let allowed_ips = self
            .allowed_ips
            .iter()
            .enumerate()
            .map(|(index, ip)| (ip.0.0, resource.at(&format!("allowedIPs.{index}"))));
        let peer = Peer {
            id: resource.id.clone(),
            mark: resource.mark,
            key,
            endpoint: endpoint.map(|endpoint| (endpoint, resource.at("endpoint"))),
            allowed_ips: allowed_ips.collect(),
            list_mark: resource.at("allowedIPs"),
            keepalive: self.persistent_keepalive.map(|seconds| seconds.0),
        };
        draft.peers.entry(device.ifname).or_default().push(peer);
    }
}
