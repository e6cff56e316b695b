//! Plain tunnels: one of each type between two addresses, and ports that have one owner.

use api::IfName;

use super::{FakeKernel, Refusal, changed};
use crate::OWNER_MARK;
use crate::encapsulation::PlainTunnel;
use crate::observed::{Build, Driver, FouPort, PlainTunnelDevice};

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
            build: Build::Current,
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
        let device = device.ok_or("No such device")?;
        device.tunnel = tunnel.clone();
        // In user space it is another process.
        device.build = Build::Current;
        Ok(())
    }

    pub(crate) fn take_over_tunnel(
        &mut self,
        ifname: &IfName,
        tunnel: &PlainTunnel,
    ) -> Result<(), Refusal> {
        let device = self.host.plain_tunnels.get_mut(ifname);
        let device = device.ok_or("No such device")?;
        let other = device.build == Build::Other && device.tunnel == *tunnel;
        changed(other, "nothing to take over")?;
        device.build = Build::Current;
        Ok(())
    }

    /// Whether somebody has a UDP port who shares it with nobody.
    fn is_alone_on(&self, port: u16) -> bool {
        let mut wireguard = self.host.wireguard.values();
        self.host.fou_ports.contains_key(&port) || wireguard.any(|d| d.listen_port == port)
    }

    /// Whether somebody has a UDP port.
    pub(super) fn is_held(&self, port: u16) -> bool {
        let processes = self.host.plain_tunnels.values();
        let mut processes = processes.filter(|device| device.driver == Driver::UserSpace);
        let on = |device: &PlainTunnelDevice| {
            let ports = device.tunnel.encapsulation.ports();
            ports.is_some_and(|ports| ports.source == port)
        };
        self.is_alone_on(port) || processes.any(on)
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
            let port = tunnel.encapsulation.ports().map(|ports| ports.source);
            let free = |port| !self.is_alone_on(port);
            return changed(port.is_none_or(free), "Address already in use");
        }
        if let Some((port, feeds)) = FouPort::of(tunnel.encapsulation) {
            let fed = self.host.fou_ports.get(&port) == Some(&feeds);
            changed(fed, "nothing listens on the port")?;
        }
        let mut others = self.host.plain_tunnels.iter();
        let taken = others.any(|(name, other)| {
            name != ifname && other.driver == Driver::Kernel && other.tunnel.ends() == tunnel.ends()
        });
        changed(!taken, "File exists")
    }
}
