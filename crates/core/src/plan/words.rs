//! Steps in the words of `ip`, `wg`, `nft` and `sysctl`. Never a secret.

use std::fmt;

use api::plan::{Change, PlanLine};

use super::{Action, AllowedIpsChange, PeerChange, PresharedKeyChange, Step, WireGuardChange};
use crate::effective::RouteTarget;
use crate::encapsulation::PlainTunnel;
use crate::host::target_words;
use crate::key::KeySource;
use crate::observed::{Driver, Route};
use crate::{MSS_TABLE, OWNER_PROTOCOL};

/// How many allowed IPs of a change are written out.
const SHOWN_PREFIXES: usize = 4;

impl Step {
    /// The step as a line of a plan.
    pub fn line(&self) -> PlanLine {
        PlanLine {
            change: change(&self.action),
            owner: self.owner.clone(),
            text: self.to_string(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.action.fmt(f)
    }
}

fn change(action: &Action) -> Change {
    match action {
        Action::GenerateKey { .. }
        | Action::CreateWireGuard { .. }
        | Action::CreateTunnel { .. }
        | Action::AddFouPort { .. }
        | Action::AddAddress { .. }
        | Action::AddRoute(_)
        | Action::AddProxyNeighbour { .. } => Change::Add,
        Action::SetWireGuard { .. }
        | Action::TakeOverWireGuard { .. }
        | Action::TakeOverTunnel { .. }
        | Action::ChangeTunnel { .. }
        | Action::SetLink { .. }
        | Action::ReplaceRoute(_)
        | Action::SetSysctl { .. }
        | Action::SetMssTable { .. } => Change::Update,
        Action::DeleteLink { .. }
        | Action::RemoveFouPort { .. }
        | Action::RemoveAddress { .. }
        | Action::RemoveRoute(_)
        | Action::RemoveProxyNeighbour { .. }
        | Action::RemoveTable { .. } => Change::Remove,
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GenerateKey { path } => write!(f, "wg genkey > {}", path.display()),
            Self::CreateWireGuard { ifname, driver } => match driver {
                Driver::Kernel => write!(f, "ip link add {ifname} type wireguard"),
                Driver::UserSpace => write!(f, "routerd tunnel wireguard --interface {ifname}"),
            },
            Self::TakeOverWireGuard { ifname } => {
                write!(
                    f,
                    "routerd tunnel wireguard --interface {ifname} --take-over"
                )
            }
            Self::TakeOverTunnel { ifname, tunnel } => {
                let mode = tunnel.encapsulation.word();
                write!(f, "routerd tunnel {mode} --interface {ifname} --take-over")
            }
            Self::CreateTunnel {
                ifname,
                driver,
                tunnel,
            } => write_tunnel(f, "add", ifname, *driver, tunnel),
            Self::ChangeTunnel {
                ifname,
                driver,
                tunnel,
            } => write_tunnel(f, "change", ifname, *driver, tunnel),
            Self::AddFouPort { port, feeds } => write!(f, "ip fou add port {port} {feeds}"),
            Self::RemoveFouPort { port } => write!(f, "ip fou del port {port}"),
            Self::SetWireGuard { ifname, change } => {
                write!(f, "wg set {ifname}")?;
                write_change(f, change)
            }
            Self::DeleteLink { ifname } => write!(f, "ip link delete {ifname}"),
            Self::SetLink { ifname, mtu, up } => {
                write!(f, "ip link set {ifname}")?;
                if let Some(mtu) = mtu {
                    write!(f, " mtu {mtu}")?;
                }
                match up {
                    Some(true) => f.write_str(" up"),
                    Some(false) => f.write_str(" down"),
                    None => Ok(()),
                }
            }
            Self::AddAddress { ifname, net } => write!(f, "ip address add {net} dev {ifname}"),
            Self::RemoveAddress { ifname, net } => {
                write!(f, "ip address delete {net} dev {ifname}")
            }
            Self::AddRoute(route) => write_route(f, "add", route),
            Self::ReplaceRoute(route) => write_route(f, "replace", route),
            Self::RemoveRoute(route) => write_route(f, "delete", route),
            Self::AddProxyNeighbour { ifname, address } => {
                write!(
                    f,
                    "ip neighbour add proxy {address} dev {ifname} protocol {OWNER_PROTOCOL}"
                )
            }
            Self::RemoveProxyNeighbour { ifname, address } => {
                write!(f, "ip neighbour delete proxy {address} dev {ifname}")
            }
            Self::SetSysctl {
                sysctl,
                value,
                from,
            } => write!(f, "sysctl {sysctl}={value} (was {from})"),
            Self::SetMssTable { clamps } => {
                write!(f, "nft table inet {MSS_TABLE}: maxseg of")?;
                for (i, (ifname, clamp)) in clamps.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "," };
                    write!(f, "{separator} {ifname} {} (IPv6 {})", clamp.v4, clamp.v6)?;
                    if clamp.force_fragment {
                        f.write_str(" and don't-fragment cleared")?;
                    }
                }
                Ok(())
            }
            Self::RemoveTable { family, name } => write!(f, "nft delete table {family} {name}"),
        }
    }
}

fn write_tunnel(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    ifname: &api::IfName,
    driver: Driver,
    tunnel: &PlainTunnel,
) -> fmt::Result {
    let encapsulation = tunnel.encapsulation;
    match driver {
        Driver::Kernel => write!(
            f,
            "ip link {verb} {ifname} type {} {tunnel}",
            encapsulation.link_kind()
        ),
        Driver::UserSpace => write!(
            f,
            "routerd tunnel {} --interface {ifname}: {tunnel}",
            encapsulation.word()
        ),
    }
}

fn write_route(f: &mut fmt::Formatter<'_>, verb: &str, route: &Route) -> fmt::Result {
    let key = &route.key;
    write!(f, "ip route {verb} ")?;
    match &route.target {
        RouteTarget::Blackhole => write!(f, "blackhole {}", key.destination)?,
        RouteTarget::Spread { .. } => write!(f, "{}", key.destination)?,
        target @ RouteTarget::Unicast { .. } => {
            write!(f, "{} {}", key.destination, target_words(target))?;
        }
    }
    if let Some(source) = route.preferred_source {
        write!(f, " src {source}")?;
    }
    write!(f, " metric {}", key.metric)?;
    if key.table != 254 {
        write!(f, " table {}", key.table)?;
    }
    if route.protocol == OWNER_PROTOCOL {
        write!(f, " proto {OWNER_PROTOCOL}")?;
    }
    if let RouteTarget::Spread { .. } = route.target {
        // `ip route` takes nothing behind the next hops.
        write!(f, " {}", target_words(&route.target))?;
    }
    Ok(())
}

fn write_change(f: &mut fmt::Formatter<'_>, change: &WireGuardChange) -> fmt::Result {
    match &change.private_key {
        Some(KeySource::File(path)) => write!(f, " private-key {}", path.display())?,
        Some(KeySource::Inline(_)) => f.write_str(" private-key (from the configuration)")?,
        None => {}
    }
    if let Some(port) = change.listen_port {
        write!(f, " listen-port {port}")?;
    }
    for (public_key, peer) in &change.peers {
        write!(f, " peer {public_key}")?;
        write_peer(f, peer)?;
    }
    Ok(())
}

fn write_peer(f: &mut fmt::Formatter<'_>, change: &PeerChange) -> fmt::Result {
    let PeerChange::Set {
        preshared_key,
        allowed_ips,
        endpoint,
        persistent_keepalive,
    } = change
    else {
        return f.write_str(" remove");
    };
    match preshared_key {
        Some(PresharedKeyChange::Load(path)) => write!(f, " preshared-key {}", path.display())?,
        Some(PresharedKeyChange::Clear) => f.write_str(" preshared-key /dev/null")?,
        None => {}
    }
    if let Some(endpoint) = endpoint {
        write!(f, " endpoint {endpoint}")?;
    }
    match persistent_keepalive {
        Some(0) => f.write_str(" persistent-keepalive off")?,
        Some(seconds) => write!(f, " persistent-keepalive {seconds}")?,
        None => {}
    }
    allowed_ips
        .as_ref()
        .map_or(Ok(()), |change| write_allowed_ips(f, change))
}

/// `allowed-ips +10.77.60.9/32,-10.77.60.8/32`, as newer versions of `wg` take it.
fn write_allowed_ips(f: &mut fmt::Formatter<'_>, change: &AllowedIpsChange) -> fmt::Result {
    let added = change.add.iter().map(|net| format!("+{net}"));
    let removed = change.remove.iter().map(|net| format!("-{net}"));
    let words: Vec<_> = added.chain(removed).take(SHOWN_PREFIXES).collect();
    write!(f, " allowed-ips {}", words.join(","))?;
    let more = change.add.len() + change.remove.len() - words.len();
    if more > 0 {
        write!(f, " and {more} more")?;
    }
    Ok(())
}
