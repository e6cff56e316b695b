//! Routes: connected ones, what is refused, what is flushed, and lookups.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{FakeKernel, Refusal, changed};
use crate::effective::{RouteKey, RouteTarget};
use crate::observed::{Lookup, Route};

const MAIN: u32 = 254;
/// `RTPROT_KERNEL`.
const KERNEL: u8 = 2;

impl FakeKernel {
    /// The routes that the kernel makes for the addresses of links that are up.
    pub(crate) fn connected_routes(&self) -> Vec<Route> {
        let up = |a: &&crate::observed::Address| self.is_up(&a.ifname) && !a.secondary;
        let primary = self.host.addresses.iter().filter(up);
        let routes = primary.filter_map(|address| {
            let IpNet::V4(net) = address.net else {
                return None;
            };
            (net.prefix_len() < 32).then(|| Route {
                key: RouteKey {
                    table: MAIN,
                    destination: net.trunc(),
                    metric: 0,
                },
                target: RouteTarget::Unicast {
                    device: Some(address.ifname.clone()),
                    gateway: None,
                },
                preferred_source: Some(net.addr()),
                protocol: KERNEL,
            })
        });
        routes.collect()
    }

    fn all_routes(&self) -> Vec<Route> {
        let mut routes = self.connected_routes();
        routes.extend(self.host.routes.iter().cloned());
        routes
    }

    fn is_up(&self, ifname: &api::IfName) -> bool {
        self.host.links.get(ifname).is_some_and(|link| link.up)
    }

    /// Adds a route where none has its key.
    ///
    /// # Errors
    /// As the kernel does.
    pub fn add_route(&mut self, route: &Route) -> Result<(), Refusal> {
        let taken = self.all_routes().iter().any(|r| r.key == route.key);
        changed(!taken, "File exists")?;
        self.check_route(route)?;
        self.host.routes.push(route.clone());
        Ok(())
    }

    /// Puts a route in the place of the first with its key.
    ///
    /// # Errors
    /// As the kernel does.
    pub fn replace_route(&mut self, route: &Route) -> Result<(), Refusal> {
        self.check_route(route)?;
        let mut routes = self.host.routes.iter_mut();
        match routes.find(|r| r.key == route.key) {
            Some(place) => *place = route.clone(),
            None => return Err("a connected route is in the place"),
        }
        Ok(())
    }

    pub(crate) fn remove_route(&mut self, route: &Route) -> Result<(), Refusal> {
        let found = self.host.routes.iter().position(|r| r == route);
        let found = found.ok_or("No such process")?;
        self.host.routes.remove(found);
        Ok(())
    }

    fn check_route(&self, route: &Route) -> Result<(), Refusal> {
        if let Some(source) = route.preferred_source {
            changed(self.is_local(source.into()), "Invalid argument")?;
        }
        for device in route.target.devices() {
            self.need_link(device)?;
            changed(self.is_up(device), "Network is down")?;
        }
        let RouteTarget::Unicast { device, gateway } = &route.target else {
            return Ok(());
        };
        let device = device.as_ref().ok_or("a step left its device open")?;
        let on_link = gateway.is_none_or(|gateway| self.is_on_link(gateway, device));
        changed(on_link, "Nexthop has invalid gateway")
    }

    fn is_on_link(&self, gateway: Ipv4Addr, device: &api::IfName) -> bool {
        let target = RouteTarget::Unicast {
            device: Some(device.clone()),
            gateway: None,
        };
        let mut routes = self.all_routes().into_iter();
        routes.any(|r| r.target == target && r.key.destination.contains(&gateway))
    }

    /// Drops the routes whose device is gone or down.
    pub(crate) fn flush_routes(&mut self) {
        let links = &self.host.links;
        let is_up = |device: &api::IfName| links.get(device).is_some_and(|link| link.up);
        for route in &mut self.host.routes {
            if let RouteTarget::Spread { devices } = &mut route.target {
                devices.retain(is_up);
            }
        }
        let alive = |route: &Route| match &route.target {
            RouteTarget::Unicast {
                device: Some(device),
                ..
            } => is_up(device),
            RouteTarget::Spread { devices } => !devices.is_empty(),
            _ => true,
        };
        self.host.routes.retain(alive);
    }

    /// `ip route get`.
    pub(crate) fn lookup(&self, to: IpAddr) -> Option<Lookup> {
        let IpAddr::V4(destination) = to else {
            return None;
        };
        if let Some(own) = self.host.addresses.iter().find(|a| a.net.addr() == to) {
            return Some(Lookup {
                device: own.ifname.clone(),
                gateway: None,
                source: Some(to),
                mtu: 65536,
                local: true,
            });
        }
        let routes = self.all_routes();
        let fits = |r: &&Route| r.key.table == MAIN && r.key.destination.contains(&destination);
        let best = routes.iter().filter(fits).max_by_key(|r| {
            let metric = std::cmp::Reverse(r.key.metric);
            (r.key.destination.prefix_len(), metric)
        })?;
        let gateway = best.target.gateway();
        let device = best.target.devices().next()?.clone();
        let on_device = self.host.addresses.iter().filter(|a| a.ifname == device);
        let source = on_device.map(|a| a.net.addr()).find(IpAddr::is_ipv4);
        let mtu = self.host.links.get(&device)?.mtu;
        Some(Lookup {
            gateway: gateway.map(IpAddr::V4),
            source: best.preferred_source.map(IpAddr::V4).or(source),
            mtu: self.path_mtu.get(&to).map_or(mtu, |path| mtu.min(*path)),
            local: false,
            device,
        })
    }
}
