//! MTUs that leave no room for what carries them.

use api::Diagnostic;
use ipnet::IpNet;

use super::Context;
use crate::config::draft::Draft;
use crate::config::sink::Sink;

/// What an underlay carries unless the configuration says more.
const ETHERNET: u32 = 1500;
/// The least that IPv6 needs (RFC 8200, section 5).
const IPV6_LEAST: u32 = 1280;
/// What WireGuard adds over IPv4 and over IPv6.
const OVERHEAD: (u32, u32) = (60, 80);

pub(super) fn check(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    let underlays = draft.devices.values().filter(|device| !device.wireguard);
    let largest = underlays.filter_map(|device| device.mtu).max();
    let underlay = largest.unwrap_or(ETHERNET);
    for (id, device) in draft.devices.iter().filter(|(_, device)| device.wireguard) {
        let Some(mtu) = device.mtu else { continue };
        let peers = draft
            .peers
            .get(&device.ifname)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let v6 = peers
            .iter()
            .any(|peer| peer.endpoint.is_some_and(|(at, _)| at.is_ipv6()));
        let overhead = if v6 { OVERHEAD.1 } else { OVERHEAD.0 };
        if mtu + overhead > underlay {
            let message = format!(
                "an MTU of {mtu} and WireGuard's {overhead} bytes do not fit into {underlay}"
            );
            let found = Diagnostic::warning("mtu-above-underlay", message).about(id).hint(format!(
                "write at most {}, or remove it: routerd measures. A larger underlay is a managed Interface with its `mtu`",
                underlay - overhead
            ));
            sink.push(device.mtu_mark, found);
        }
        let mut own = draft.addresses_of(&device.ifname).iter();
        if mtu < IPV6_LEAST && own.any(|own| matches!(own.net, IpNet::V6(_))) {
            let message = format!("with an MTU of {mtu} the kernel takes IPv6 off the interface");
            let found = Diagnostic::warning("mtu-below-ipv6", message)
                .about(id)
                .hint(format!("IPv6 needs {IPV6_LEAST}"));
            sink.push(device.mtu_mark, found);
        }
    }
}
