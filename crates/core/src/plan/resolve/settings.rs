//! Kernel settings and MSS clamps: what forwarding between capture interfaces and tunnels needs.

use api::{IfName, ResourceId};

use super::links::After;
use crate::Effective;
use crate::effective::{CaptureIntent, CaptureMethod};
use crate::host::Host;
use crate::observed::MssClamp;
use crate::plan::desired::{ClampWish, Desired};
use crate::sysctl::{Sysctl, SysctlKey};

/// IPv4 header (20) and TCP header (20).
const TCP_HEADERS_V4: u32 = 40;
/// IPv6 header (40) and TCP header (20).
const TCP_HEADERS_V6: u32 = 60;

/// Tunnels that deliver.
pub(super) fn resolve_delivery<'a>(
    effective: &'a Effective,
    host: &Host<'a>,
    after: &After<'a>,
    desired: &mut Desired<'a>,
) {
    let foreign_table = host
        .mss_table()
        .is_some_and(|t| !crate::host::is_our_table(t));
    for (tunnel, owners) in &effective.delivery {
        let Some(owner) = owners.first() else {
            continue;
        };
        let link = match after.link(tunnel) {
            Ok(link) => link,
            Err(reason) => {
                owners
                    .iter()
                    .for_each(|owner| desired.wait(owner, &*reason));
                continue;
            }
        };
        want_forwarding(tunnel, owner, desired);
        if foreign_table {
            let reason = "a table inet routerd_mss without routerd's mark is in the way: \
                          nft delete table inet routerd_mss";
            owners.iter().for_each(|owner| desired.wait(owner, reason));
            continue;
        }
        let wireguard = desired.tunnels.get(tunnel).map(|t| t.path_mtu);
        let plain = desired.plain.get(tunnel).map(|t| t.path_mtu);
        let mut clamp = clamp_for(wireguard.or(plain).unwrap_or(link.mtu));
        clamp.force_fragment = effective.force_fragment.contains(tunnel);
        desired.clamps.insert(tunnel, ClampWish { owner, clamp });
    }
}

/// The largest segments that fit a path.
pub(crate) fn clamp_for(path_mtu: u32) -> MssClamp {
    let less = |headers: u32| u16::try_from(path_mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
    MssClamp {
        v4: less(TCP_HEADERS_V4),
        v6: less(TCP_HEADERS_V6),
        force_fragment: false,
    }
}

/// What a capture interface needs.
pub(super) fn want_on_capture<'a>(
    intent: &'a CaptureIntent,
    ifname: &'a IfName,
    after: &After<'a>,
    desired: &mut Desired<'a>,
) {
    let owner = &intent.owner;
    want_forwarding(ifname, owner, desired);
    // The router sits beside the clients' gateway: a redirect would teach clients a way around it. The
    // kernel sends them if either scope says so.
    for sysctl in [
        Sysctl::on(ifname, SysctlKey::SendRedirects),
        Sysctl::all(SysctlKey::SendRedirects),
    ] {
        desired.want_setting(sysctl, owner, 0);
    }
    if !matches!(intent.method, CaptureMethod::ProxyArp { .. }) {
        return;
    }
    desired.want_setting(Sysctl::on(ifname, SysctlKey::ProxyDelay), owner, 0);
    // A router without an address in the domain asks for clients with another interface's address. Clients
    // remember it: so it must not be answered for here.
    if !after.is_member(ifname, intent.domain) {
        desired.want_setting(Sysctl::on(ifname, SysctlKey::ArpAnnounce), owner, 2);
        desired.want_setting(Sysctl::on(ifname, SysctlKey::ArpIgnore), owner, 1);
    }
}

/// Packets that come in by this interface are passed on, and not dropped because their source is at
/// another site.
fn want_forwarding<'a>(ifname: &'a IfName, owner: &'a ResourceId, desired: &mut Desired<'a>) {
    desired.want_setting(Sysctl::on(ifname, SysctlKey::Forwarding), owner, 1);
    desired.want_setting(Sysctl::on(ifname, SysctlKey::RpFilter), owner, 2);
}
