//! Plain tunnels: one of each type between two addresses, and a port that feeds them.

use api::IfName;

use super::{FakeKernel, Refusal, changed};
use crate::OWNER_MARK;
use crate::encapsulation::{Encapsulation, PlainTunnel};
use crate::observed::{Driver, FouPort, PlainTunnelDevice};

impl FakeKernel {
    pub(crate) fn create_tunnel(
        &mut self,
        ifname: &IfName,
        driver: Driver,
        tunnel: &PlainTunnel,
    ) -> Result<(), Refusal> {
        self.check_tunnel(ifname, driver, tunnel)?;
        let kind = match driver {
            Driver::Kernel => tunnel.encapsulation.link_kind(),
            Driver::UserSpace => "tun",
        };
        let mark = Some(OWNER_MARK.to_owned());
        match self.host.links.get_mut(ifname) {
            None => self.new_link(ifname, kind, 1480, mark),
            Some(link) => {
                changed(link.kind == kind, "Operation not supported")?;
                link.alias = mark;
            }
        }
        let device = PlainTunnelDevice {
            driver,
            tunnel: tunnel.clone(),
        };
        self.host.plain_tunnels.insert(ifname.clone(), device);
        Ok(())
    }

    pub(crate) fn change_tunnel(
        &mut self,
        ifname: &IfName,
        tunnel: &PlainTunnel,
    ) -> Result<(), Refusal> {
        let device = self
            .host
            .plain_tunnels
            .get(ifname)
            .ok_or("No such device")?;
        let driver = device.driver;
        self.check_tunnel(ifname, driver, tunnel)?;
        let device = self.host.plain_tunnels.get_mut(ifname);
        device.ok_or("No such device")?.tunnel = tunnel.clone();
        Ok(())
    }

    fn check_tunnel(
        &self,
        ifname: &IfName,
        driver: Driver,
        tunnel: &PlainTunnel,
    ) -> Result<(), Refusal> {
        if let Some(underlay) = &tunnel.underlay {
            self.need_link(underlay)?;
        }
        if driver == Driver::UserSpace {
            return Ok(());
        }
        if let Some((port, feeds)) = FouPort::of(tunnel.encapsulation) {
            let fed = self.host.fou_ports.get(&port) == Some(&feeds);
            changed(fed, "nothing listens on the port")?;
        }
        let mut others = self.host.plain_tunnels.iter();
        let taken = others.any(|(name, other)| {
            name != ifname && other.driver == Driver::Kernel && wire(&other.tunnel) == wire(tunnel)
        });
        changed(!taken, "File exists")
    }
}

/// What tells tunnels of the kernel apart.
fn wire(tunnel: &PlainTunnel) -> impl PartialEq + '_ {
    let key = match tunnel.encapsulation {
        Encapsulation::Gre { key } => key,
        _ => None,
    };
    let kind = tunnel.encapsulation.link_kind();
    (kind, tunnel.local, tunnel.remote, &tunnel.underlay, key)
}
