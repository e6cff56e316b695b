//! Executes steps.

use api::IfName;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use routerd_core::Step;
use routerd_core::kernel::StepError;
use routerd_core::plan::Action;

use super::{Host, batch};
use crate::netlink::link;
use crate::{nft, plain, sysctl, wireguard};

pub(super) fn apply(host: &mut Host, steps: &[Step]) -> Result<(), StepError> {
    let mut start = 0;
    while start < steps.len() {
        let length = batch::prefix(&steps[start..]);
        if length > 0 {
            batch::apply(host, &steps[start..start + length])
                .map_err(|(index, reason)| failed(steps, start + index, reason))?;
            start += length;
        } else {
            execute(host, &steps[start]).map_err(|reason| failed(steps, start, reason))?;
            start += 1;
        }
    }
    Ok(())
}

fn failed(steps: &[Step], index: usize, reason: String) -> StepError {
    StepError {
        index,
        owner: steps[index].owner.clone(),
        step: steps[index].line().text,
        reason,
    }
}

/// Executes a step that goes alone. Errors are told in the kernel's words; the caller names the step.
fn execute(host: &mut Host, step: &Step) -> Result<(), String> {
    match &step.action {
        Action::GenerateKey { path } => wireguard::generate(path).map(drop).map_err(text),
        Action::SetLink { ifname, mtu, up } => {
            let index = index(ifname).map_err(text)?.ok_or("no such interface")?;
            link::set(&mut host.route, index, *mtu, *up).map_err(text)
        }
        Action::SetSysctl { sysctl, value, .. } => sysctl::write(sysctl, *value).map_err(text),
        Action::SetMssTable { clamps } => nft::set_mss(clamps).map_err(text),
        Action::RemoveTable { family, name } => nft::remove_table(family, name).map_err(text),
        Action::CreateWireGuard { ifname, driver } => {
            host.wireguard.create(ifname, *driver).map_err(text)
        }
        Action::TakeOverWireGuard { ifname } => {
            host.wireguard.take_over(ifname);
            Ok(())
        }
        Action::SetWireGuard { ifname, change } => host.wireguard.set(ifname, change).map_err(text),
        Action::TakeOverTunnel { ifname, tunnel } => {
            host.wireguard.plain().take_over(ifname, tunnel);
            Ok(())
        }
        Action::CreateTunnel {
            ifname,
            driver,
            tunnel,
        } => {
            let drivers = host.wireguard.plain();
            drivers.create(ifname, *driver, tunnel).map_err(text)
        }
        Action::ChangeTunnel {
            ifname,
            driver,
            tunnel,
        } => {
            let drivers = host.wireguard.plain();
            drivers.change(ifname, *driver, tunnel).map_err(text)
        }
        Action::AddFouPort { port, feeds } => plain::add_port(*port, *feeds).map_err(text),
        Action::RemoveFouPort { port } => plain::remove_port(*port).map_err(text),
        Action::DeleteLink { ifname } => host.wireguard.delete(ifname).map_err(text),
        Action::AddAddress { .. }
        | Action::RemoveAddress { .. }
        | Action::AddRoute(_)
        | Action::ReplaceRoute(_)
        | Action::RemoveRoute(_)
        | Action::AddProxyNeighbour { .. }
        | Action::RemoveProxyNeighbour { .. } => {
            batch::apply(host, std::slice::from_ref(step)).map_err(|(_, reason)| reason)
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The index of an interface; absent if there is none of this name.
pub(super) fn index(ifname: &IfName) -> nix::Result<Option<u32>> {
    match if_nametoindex(ifname.as_str()) {
        Ok(index) => Ok(Some(index)),
        Err(Errno::ENODEV | Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}
