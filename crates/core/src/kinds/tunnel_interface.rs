//! `TunnelInterface`: a plain tunnel that routerd makes, inside WireGuard or over a network that is trusted.

use std::net::Ipv4Addr;

use api::{Diagnostic, IfName};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{InterfaceAddress, KERNEL_INTERFACE, OverlayAddress, Reference, Text};
use crate::config::draft::{Device, Draft, PlainPath, RemoteEnd, Resource};
use crate::config::sink::Sink;
use crate::effective::{LocalEnd, PlainTunnelIntent};
use crate::encapsulation::{Encapsulation, UdpPorts};

/// The default of `ttl`.
const TTL: u8 = 64;

/// A tunnel without encryption of its own, named like this resource: in the kernel where it has the mode, else in user
/// space by a process of its own that outlives the daemon.
///
/// It goes through a WireGuardInterface (`underlayInterface`), or over a network that the operator trusts
/// (`trustedUnderlay: true`). Both ends take packets only from each other's address, and through the underlay interface
/// where one is named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TunnelInterface {
    /// What goes around the packets.
    mode: Mode,
    /// The address of this end. Default: that of `underlayInterface`.
    local: Option<Text<OverlayAddress>>,
    /// The interface whose first address is that of this end.
    local_from: Option<Source>,
    /// The address of the other end.
    remote: Option<Text<OverlayAddress>>,
    /// The OverlayPeer whose `remote.address` is the address of the other end.
    remote_from: Option<PeerSource>,
    /// The address of this node inside the tunnel, with its prefix length.
    address: Option<Text<InterfaceAddress>>,
    /// What the tunnel is bound to: a WireGuardInterface, an Interface, or the kernel's name of one. Default: whatever the
    /// kernel routes `remote` to, which only a trusted underlay allows.
    #[schemars(extend("x-reference" = ["WireGuardInterface", "Interface", KERNEL_INTERFACE]))]
    underlay_interface: Option<Text<Reference>>,
    /// The MTU in bytes. Default: what fits through the underlay less the mode's overhead (ipip 20, gre 24 and 4 more with
    /// a key, fou 28, gue 32); what WireGuard adds is already off the MTU of its interface.
    #[schemars(range(min = 576, max = 65455))]
    mtu: Option<u32>,
    /// Time to live of the outer header. Default: 64.
    #[schemars(range(min = 1, max = 255))]
    ttl: Option<u8>,
    /// Tells gre tunnels between the same two addresses apart.
    key: Option<u32>,
    /// The UDP port of this end, with fou and gue: packets leave from it and arrive at it.
    #[schemars(range(min = 1, max = 65535))]
    encap_sport: Option<u16>,
    /// The UDP port of the other end, with fou and gue.
    #[schemars(range(min = 1, max = 65535))]
    encap_dport: Option<u16>,
    /// The network between both ends may see the packets.
    #[serde(default)]
    trusted_underlay: bool,
    /// What happens to packets that do not fit.
    #[serde(rename = "pathMTU")]
    path_mtu: Option<PathMtu>,
}

/// What goes around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// IPv4 in IPv4: the least overhead.
    Ipip,
    /// GRE: passes where `key` has to tell several tunnels apart.
    Gre,
    /// IPv4 in UDP: passes NAT and networks that know no other protocol.
    Fou,
    /// The same with a header of its own.
    Gue,
}

/// Where the address of this end is taken from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Source {
    /// The interface.
    #[schemars(extend("x-reference" = ["WireGuardInterface", "Interface", KERNEL_INTERFACE]))]
    resource: Text<Reference>,
}

/// Where the address of the other end is taken from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PeerSource {
    /// The peer.
    #[schemars(extend("x-reference" = ["OverlayPeer"]))]
    resource: Text<Reference>,
}

/// What happens to packets that do not fit through the tunnel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PathMtu {
    /// Fragment IPv4 packets that do not fit, even if they forbid it.
    #[serde(default, rename = "forceFragmentIPv4")]
    force_fragment: bool,
}

impl Kind for TunnelInterface {
    const NAME: &'static str = "TunnelInterface";
    const GROUP: &'static str = "net.routerd.net";
    const EXAMPLE: &'static str = "\
mode: ipip
local: 192.0.2.10
remote: 192.0.2.20
address: 10.255.1.1/30
trustedUnderlay: true
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let ifname = name(resource, sink);
        let encapsulation = self.encapsulation(resource, sink);
        let underlay = self.underlay(resource, draft, sink);
        let ends = underlay.as_ref().and_then(|underlay| {
            let local = self.local(underlay.as_ref(), resource, draft, sink);
            let remote = self.remote(resource, sink);
            Some((local?, remote?))
        });
        let (Some(ifname), Some(encapsulation), Some(underlay), Some((local, remote))) =
            (ifname, encapsulation, underlay, ends)
        else {
            draft.broken.insert(resource.id.clone());
            return;
        };
        let device = Device {
            ifname: ifname.clone(),
            mark: resource.mark,
            wireguard: false,
            plain: Some(encapsulation),
            mtu: self.mtu,
            mtu_mark: resource.at("mtu"),
        };
        if !draft.add_device(resource, device, sink) {
            return;
        }
        if let Some(address) = &self.address {
            draft.add_address(resource, "address", &ifname, address.0.0, false);
            draft.hold_address(resource, &ifname, address.0.0);
        }
        if self.path_mtu.is_some_and(|mtu| mtu.force_fragment) {
            draft.effective.force_fragment.insert(ifname.clone());
        }
        draft.plain_paths.push(PlainPath {
            ifname: ifname.clone(),
            mark: resource.mark,
            remote_mark: resource.at("remote"),
            remote,
            intent: PlainTunnelIntent {
                owner: resource.id.clone(),
                encapsulation,
                local,
                remote: Ipv4Addr::UNSPECIFIED,
                underlay,
                mtu: self.mtu,
                ttl: self.ttl.unwrap_or(TTL),
            },
        });
    }
}

impl TunnelInterface {
    /// The mode with its own settings; those of other modes are refused.
    fn encapsulation(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<Encapsulation> {
        let over_udp = matches!(self.mode, Mode::Fou | Mode::Gue);
        let word = match self.mode {
            Mode::Ipip => "ipip",
            Mode::Gre => "gre",
            Mode::Fou => "fou",
            Mode::Gue => "gue",
        };
        let settings = [
            ("key", self.key.is_some(), self.mode == Mode::Gre, false),
            ("encapSport", self.encap_sport.is_some(), over_udp, over_udp),
            ("encapDport", self.encap_dport.is_some(), over_udp, over_udp),
        ];
        let mut right = true;
        for (field, set, allowed, needed) in settings {
            if set && !allowed {
                let found = Diagnostic::error(
                    "field-of-other-mode",
                    format!("`{field}` means nothing with `mode: {word}`"),
                );
                resource.report(sink, field, found.hint("remove it"));
                right = false;
            } else if needed && !set {
                let found = Diagnostic::error(
                    "missing-field",
                    format!("`spec.{field}` is missing, which `mode: {word}` needs"),
                );
                let hint = "write the UDP port, for example 5555 at both ends";
                resource.report(sink, "", found.hint(hint));
                right = false;
            }
        }
        let ports = UdpPorts {
            source: self.encap_sport.unwrap_or_default(),
            destination: self.encap_dport.unwrap_or_default(),
        };
        right.then_some(match self.mode {
            Mode::Ipip => Encapsulation::Ipip,
            Mode::Gre => Encapsulation::Gre { key: self.key },
            Mode::Fou => Encapsulation::Fou(ports),
            Mode::Gue => Encapsulation::Gue(ports),
        })
    }

    /// The device that it is bound to, if any; absent if that cannot be said or may not be.
    fn underlay(
        &self,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<Option<IfName>> {
        let underlay = match &self.underlay_interface {
            Some(reference) => Some(draft.device(reference)?),
            None => None,
        };
        let encrypted = underlay
            .as_ref()
            .is_some_and(|device| draft.is_wireguard(device));
        if !encrypted && !self.trusted_underlay {
            let message = "its packets would travel in clear: nothing says that they may";
            let found = Diagnostic::error("underlay-not-trusted", message).hint(
                "name a WireGuardInterface as `underlayInterface`, or set `trustedUnderlay: true`",
            );
            resource.report(sink, "trustedUnderlay", found);
            return None;
        }
        Some(underlay)
    }

    fn local(
        &self,
        underlay: Option<&IfName>,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<LocalEnd> {
        match (&self.local, &self.local_from, underlay) {
            (Some(_), Some(_), _) => {
                report_both(resource, "local", "localFrom", sink);
                None
            }
            (Some(local), None, _) => Some(LocalEnd::Address(local.0.0)),
            (None, Some(source), _) => draft.device(&source.resource).map(LocalEnd::Of),
            (None, None, Some(underlay)) => Some(LocalEnd::Of(underlay.clone())),
            (None, None, None) => {
                report_missing(resource, "local", "write the address of this end", sink);
                None
            }
        }
    }

    fn remote(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<RemoteEnd> {
        match (&self.remote, &self.remote_from) {
            (Some(_), Some(_)) => {
                report_both(resource, "remote", "remoteFrom", sink);
                None
            }
            (Some(remote), None) => Some(RemoteEnd::Address(remote.0.0)),
            (None, Some(source)) => Some(RemoteEnd::Peer(source.resource.0.clone())),
            (None, None) => {
                report_missing(
                    resource,
                    "remote",
                    "write the address of the other end",
                    sink,
                );
                None
            }
        }
    }
}

fn report_both(resource: &Resource<'_>, first: &str, second: &str, sink: &mut Sink<'_>) {
    let message = format!("both `{first}` and `{second}` are set");
    let found = Diagnostic::error("conflicting-fields", message);
    resource.report(sink, second, found.hint("remove one of them"));
}

fn report_missing(resource: &Resource<'_>, field: &str, hint: &str, sink: &mut Sink<'_>) {
    let found = Diagnostic::error("missing-field", format!("`spec.{field}` is missing"));
    resource.report(sink, "", found.hint(hint));
}

fn name(resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<IfName> {
    let name = &resource.id.name;
    let parsed = name.parse();
    if parsed.is_err() {
        let message = format!("`{name}` is no name for an interface");
        let found = Diagnostic::error("bad-interface-name", message)
            .hint("the interface is named like the resource: at most 15 characters");
        resource.report(sink, "", found);
    }
    parsed.ok()
}
