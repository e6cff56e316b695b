//! A host in memory: executes steps on an [`Observed`] with the kernel's own rules and errors, as far as
//! steps can meet them. For tests.

mod address;
mod plain;
mod route;
mod wireguard;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use api::IfName;

use crate::kernel::{Kernel, KernelError, StepError};
use crate::key::SecretKey;
use crate::observed::{KeyFile, Link, NftTable, Observed, ProxyNeighbour, Query};
use crate::plan::{Action, Step};
use crate::sysctl::{Scope, Sysctl, SysctlKey};
use crate::{MSS_TABLE, OWNER_MARK};

/// What the kernel says when it refuses.
pub(crate) type Refusal = &'static str;

/// The host.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    /// Everything but what follows from it: connected routes, lookups and key files are worked out on
    /// observation.
    pub host: Observed,
    /// Key files and what is in them.
    pub keys: BTreeMap<PathBuf, SecretKey>,
    /// Path MTU to destinations behind which it is smaller than the device's MTU.
    pub path_mtu: BTreeMap<IpAddr, u32>,
    /// Index of the next step that fails, counted over all calls of `apply`.
    pub fail_at: Option<usize>,
    /// Steps executed so far.
    pub executed: usize,
}

impl Kernel for FakeKernel {
    fn observe(&mut self, query: &Query) -> Result<Observed, KernelError> {
        Ok(self.look(query))
    }

    fn apply(&mut self, steps: &[Step]) -> Result<(), StepError> {
        for (index, step) in steps.iter().enumerate() {
            let planned = self.fail_at == Some(self.executed);
            let done = if planned {
                Err("Input/output error")
            } else {
                self.execute(&step.action)
            };
            self.executed += 1;
            done.map_err(|reason| StepError {
                index,
                owner: step.owner.clone(),
                step: step.to_string(),
                reason: reason.to_owned(),
            })?;
        }
        Ok(())
    }
}

impl FakeKernel {
    /// A host with a loopback interface and the kernel's default settings.
    pub fn new() -> Self {
        let mut kernel = Self::default();
        for scope in [Scope::All, Scope::Default] {
            for key in SysctlKey::EVERY.into_iter().filter(|k| k.exists_in(&scope)) {
                let value = i32::from(key == SysctlKey::SendRedirects);
                let value = if key == SysctlKey::ProxyDelay {
                    80
                } else {
                    value
                };
                let scope = scope.clone();
                kernel.host.sysctls.insert(Sysctl { scope, key }, value);
            }
        }
        kernel.add_link("lo", "loopback", true);
        kernel
    }

    /// Adds somebody else's link.
    ///
    /// # Panics
    /// When the name is not one of an interface.
    pub fn add_link(&mut self, name: &str, kind: &str, up: bool) {
        let ifname: IfName = name.parse().expect("interface name");
        let mtu = if kind == "loopback" { 65536 } else { 1500 };
        self.new_link(&ifname, kind, mtu, None);
        self.host
            .links
            .entry(ifname)
            .and_modify(|link| link.up = up);
    }

    fn new_link(&mut self, ifname: &IfName, kind: &str, mtu: u32, alias: Option<String>) {
        let last = self.host.links.values().map(|link| link.index).max();
        let index = last.unwrap_or(0) + 1;
        let has_mac = !matches!(kind, "wireguard" | "tun" | "loopback");
        let octet = u8::try_from(index % 256).unwrap_or(0);
        let link = Link {
            index,
            mtu,
            up: false,
            carrier: true,
            kind: kind.to_owned(),
            mac: has_mac.then_some([2, 0, 0, 0, 0, octet]),
            alias,
        };
        self.host.links.insert(ifname.clone(), link);
        for key in SysctlKey::EVERY {
            let default = Sysctl::default_of(key);
            let value = self.host.sysctls.get(&default).copied().unwrap_or(0);
            self.host.sysctls.insert(Sysctl::on(ifname, key), value);
        }
    }

    /// The host as it is seen.
    pub fn look(&self, query: &Query) -> Observed {
        let mut seen = self.host.clone();
        seen.routes.extend(self.connected_routes());
        let file = |path: &PathBuf| match self.keys.get(path) {
            Some(key) => KeyFile::Present(key.public_key()),
            None => KeyFile::Absent,
        };
        let paths = query.key_files.iter();
        seen.key_files = paths.map(|path| (path.clone(), file(path))).collect();
        let lookups = query.lookups.iter();
        seen.lookups = lookups
            .filter_map(|to| Some((*to, self.lookup(*to)?)))
            .collect();
        if !query.clock {
            seen.clock = None;
        }
        if !query.firewall {
            seen.firewall = None;
        }
        seen
    }

    /// Does what a step would do; for tests that play somebody else.
    #[cfg(test)]
    pub(crate) fn apply_action(&mut self, action: &Action) {
        self.execute(action).expect("possible");
    }

    fn execute(&mut self, action: &Action) -> Result<(), Refusal> {
        match action {
            Action::GenerateKey { path } => self.generate_key(path),
            Action::CreateWireGuard { ifname, driver } => self.create_wireguard(ifname, *driver),
            Action::TakeOverWireGuard { ifname } => self.take_over_wireguard(ifname),
            Action::SetWireGuard { ifname, change } => self.set_wireguard(ifname, change),
            Action::CreateTunnel {
                ifname,
                driver,
                tunnel,
            } => self.create_tunnel(ifname, *driver, tunnel),
            Action::TakeOverTunnel { ifname, tunnel } => self.take_over_tunnel(ifname, tunnel),
            Action::ChangeTunnel { ifname, tunnel, .. } => self.change_tunnel(ifname, tunnel),
            Action::AddFouPort { port, feeds } => {
                changed(!self.is_held(*port), "Address already in use")?;
                self.host.fou_ports.insert(*port, *feeds);
                Ok(())
            }
            Action::RemoveFouPort { port } => {
                let gone = self.host.fou_ports.remove(port);
                changed(gone.is_some(), "Invalid argument")
            }
            Action::DeleteLink { ifname } => self.delete_link(ifname),
            Action::SetLink { ifname, mtu, up } => self.set_link(ifname, *mtu, *up),
            Action::AddAddress { ifname, net } => self.add_address(ifname, *net, true),
            Action::RemoveAddress { ifname, net } => self.remove_address(ifname, *net),
            Action::AddRoute(route) => self.add_route(route),
            Action::ReplaceRoute(route) => self.replace_route(route),
            Action::RemoveRoute(route) => self.remove_route(route),
            Action::AddProxyNeighbour { ifname, address } => {
                let proxy = ProxyNeighbour {
                    ifname: ifname.clone(),
                    address: *address,
                    owned: true,
                };
                self.add_proxy(proxy)
            }
            Action::RemoveProxyNeighbour { ifname, address } => {
                let before = self.host.proxy_neighbours.len();
                let proxies = &mut self.host.proxy_neighbours;
                proxies.retain(|p| (&p.ifname, p.address) != (ifname, *address));
                changed(before != proxies.len(), "No such file or directory")
            }
            Action::SetSysctl {
                sysctl,
                value,
                from,
            } => self.set_sysctl(sysctl, *value, *from),
            Action::SetMssTable { clamps } => {
                let name = MSS_TABLE.to_owned();
                self.host.tables.retain(|table| table.name != name);
                self.host.tables.push(NftTable {
                    family: "inet".to_owned(),
                    name,
                    comment: Some(OWNER_MARK.to_owned()),
                });
                self.host.mss = Some(clamps.clone());
                Ok(())
            }
            Action::RemoveTable { family, name } => self.remove_table(family, name),
        }
    }

    fn generate_key(&mut self, path: &PathBuf) -> Result<(), Refusal> {
        if self.keys.contains_key(path) {
            return Err("File exists");
        }
        let seed = u8::try_from(self.keys.len() + 101).unwrap_or(u8::MAX);
        let key = SecretKey::from_bytes([seed; 32]);
        self.keys.insert(path.clone(), key);
        Ok(())
    }

    fn add_proxy(&mut self, proxy: ProxyNeighbour) -> Result<(), Refusal> {
        self.need_link(&proxy.ifname)?;
        let key = |p: &ProxyNeighbour| (p.ifname.clone(), p.address);
        if self
            .host
            .proxy_neighbours
            .iter()
            .any(|p| key(p) == key(&proxy))
        {
            return Err("File exists");
        }
        self.host.proxy_neighbours.insert(proxy);
        Ok(())
    }

    fn remove_table(&mut self, family: &str, name: &str) -> Result<(), Refusal> {
        let before = self.host.tables.len();
        let tables = &mut self.host.tables;
        tables.retain(|table| table.family != family || table.name != name);
        changed(before != tables.len(), "No such file or directory")?;
        if family == "inet" && name == MSS_TABLE {
            self.host.mss = None;
        }
        Ok(())
    }

    /// Sets a setting as a step does; `from` must be what is there.
    fn set_sysctl(&mut self, sysctl: &Sysctl, value: i32, from: i32) -> Result<(), Refusal> {
        let slot = self.host.sysctls.get_mut(sysctl);
        let slot = slot.ok_or("No such file or directory")?;
        changed(*slot == from, "value is not what the plan saw")?;
        *slot = value;
        if *sysctl == Sysctl::all(SysctlKey::Forwarding) {
            let all = self.host.sysctls.iter_mut();
            let every = all.filter(|(sysctl, _)| sysctl.key == SysctlKey::Forwarding);
            every.for_each(|(_, slot)| *slot = value);
        }
        Ok(())
    }

    fn set_link(
        &mut self,
        ifname: &IfName,
        mtu: Option<u32>,
        up: Option<bool>,
    ) -> Result<(), Refusal> {
        let link = self.host.links.get_mut(ifname).ok_or("No such device")?;
        link.mtu = mtu.unwrap_or(link.mtu);
        link.up = up.unwrap_or(link.up);
        if up == Some(false) {
            self.flush_routes();
        }
        Ok(())
    }

    /// Removes a link and all that hangs on it.
    pub fn delete_link(&mut self, ifname: &IfName) -> Result<(), Refusal> {
        let gone = self.host.links.remove(ifname);
        gone.ok_or("No such device")?;
        let addresses = self.host.addresses.iter().cloned();
        let (lost, kept): (BTreeSet<_>, _) = addresses.partition(|a| a.ifname == *ifname);
        self.host.addresses = kept;
        self.host.proxy_neighbours.retain(|p| p.ifname != *ifname);
        let scope = Scope::Interface(ifname.clone());
        self.host.sysctls.retain(|sysctl, _| sysctl.scope != scope);
        self.host.wireguard.remove(ifname);
        self.host.plain_tunnels.remove(ifname);
        self.flush_routes();
        lost.iter()
            .for_each(|address| self.forget_source(address.net.addr()));
        Ok(())
    }

    fn need_link(&self, ifname: &IfName) -> Result<&Link, Refusal> {
        self.host.links.get(ifname).ok_or("No such device")
    }
}

fn changed(did: bool, otherwise: Refusal) -> Result<(), Refusal> {
    did.then_some(()).ok_or(otherwise)
}
