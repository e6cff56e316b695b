//! `WireGuardInterface`: a tunnel device that routerd makes.

use api::{Diagnostic, IfName};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{AbsolutePath, InlineKey, InterfaceAddress, Text};
use crate::config::draft::{Device, Draft, Resource, Stripes};
use crate::config::sink::Sink;
use crate::effective::WireGuardIntent;
use crate::key::KeySource;

/// A WireGuard interface that routerd makes: in the kernel where it offers WireGuard, else in user space by a process
/// of its own that outlives the daemon.
///
/// Exactly one of `privateKey` and `privateKeyFile` is set. Two interfaces cannot listen on one port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "peersFrom": "list each peer as a WireGuardPeer",
    "selfNodeRef": "it belongs to `peersFrom`, which needs SAMNodeSet",
}))]
pub(crate) struct WireGuardInterface {
    /// The name of the interface. Default: `metadata.name`.
    ifname: Option<Text<IfName>>,
    /// The private key itself. It is stored with the configuration: prefer `privateKeyFile`.
    private_key: Option<InlineKey>,
    /// The file with the private key. If it does not exist, routerd makes it with a new key, mode 0600 in a directory of
    /// mode 0700; it is never overwritten.
    private_key_file: Option<Text<AbsolutePath>>,
    /// The UDP port to listen on. Default: any free one, which peers cannot know.
    #[schemars(range(min = 1, max = 65535))]
    listen_port: Option<u16>,
    /// How many tunnels the flows are spread over, each with its own port and its own processor: NAME, NAME-1 and so on
    /// listen on consecutive ports from `listenPort`, and call their peers on consecutive ports. Both ends need the same
    /// number. Default: 1.
    #[schemars(range(min = 1, max = 8))]
    stripes: Option<u8>,
    /// The MTU in bytes. Default: the path MTU of the underlay less WireGuard's overhead (60 over IPv4, 80 over IPv6).
    #[schemars(range(min = 576, max = 65455))]
    mtu: Option<u32>,
    /// Addresses of the interface with their prefix length.
    #[serde(default)]
    addresses: Vec<Text<InterfaceAddress>>,
}

impl Kind for WireGuardInterface {
    const NAME: &'static str = "WireGuardInterface";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
privateKeyFile: /var/lib/routerd/keys/wg-hybrid.key
listenPort: 51820
addresses: [10.255.0.1/32]
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let ifname = self.ifname(resource, sink);
        let key = self.key(resource, sink);
        let (Some(ifname), Some(private_key)) = (ifname, key) else {
            draft.broken.insert(resource.id.clone());
            return;
        };
        let device = Device {
            ifname: ifname.clone(),
            mark: resource.mark,
            wireguard: true,
            plain: None,
            mtu: self.mtu,
            mtu_mark: resource.at("mtu"),
        };
        if !draft.add_device(resource, device, sink) {
            return;
        }
        for (index, address) in self.addresses.iter().enumerate() {
            let net = address.0.0;
            draft.add_address(resource, &format!("addresses.{index}"), &ifname, net, false);
            draft.hold_address(resource, &ifname, net);
        }
        let intent = WireGuardIntent {
            owner: resource.id.clone(),
            private_key,
            listen_port: self.listen_port,
            mtu: self.mtu,
            peers: Default::default(),
        };
        if let Some(stripes) = self.stripes.filter(|stripes| *stripes > 1) {
            let mark = resource.at("stripes");
            draft.stripes.insert(
                ifname.clone(),
                Stripes {
                    count: stripes,
                    mark,
                },
            );
        }
        draft.effective.wireguard.insert(ifname, intent);
    }
}

impl WireGuardInterface {
    fn ifname(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<IfName> {
        if let Some(ifname) = &self.ifname {
            return Some(ifname.0.clone());
        }
        let name = &resource.id.name;
        let parsed = name.parse();
        if parsed.is_err() {
            let message = format!("`{name}` is too long to be the name of the interface too");
            let found = Diagnostic::error("bad-interface-name", message)
                .hint("set `ifname` to a name of at most 15 characters");
            resource.report(sink, "", found);
        }
        parsed.ok()
    }

    fn key(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<KeySource> {
        match (&self.private_key, &self.private_key_file) {
            (Some(_), Some(_)) => {
                let found = Diagnostic::error(
                    "conflicting-fields",
                    "both `privateKey` and `privateKeyFile` are set",
                )
                .hint("remove `privateKey`");
                resource.report(sink, "privateKey", found);
                None
            }
            (None, None) => {
                let found = Diagnostic::error("missing-field", "`spec.privateKeyFile` is missing")
                    .hint("name a file; routerd makes it with a new key if it does not exist");
                resource.report(sink, "", found);
                None
            }
            (Some(key), None) => {
                let message = "the private key stands in the configuration and is stored with it";
                let found = Diagnostic::warning("secret-in-configuration", message)
                    .hint("move it to a file of mode 0600 and name that in `privateKeyFile`");
                resource.report(sink, "privateKey", found);
                Some(KeySource::Inline(key.0.clone()))
            }
            (None, Some(file)) => Some(KeySource::File(file.0.0.clone().into())),
        }
    }
}
