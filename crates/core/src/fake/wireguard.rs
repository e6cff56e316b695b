//! WireGuard devices: a prefix has one peer, a port one device.

use std::path::PathBuf;

use api::IfName;

use super::{FakeKernel, Refusal, changed};
use crate::OWNER_MARK;
use crate::key::{KeySource, PublicKey};
use crate::observed::{Build, Driver, WireGuardDevice};
use crate::plan::{PeerChange, PresharedKeyChange, WireGuardChange};

impl FakeKernel {
    pub(crate) fn create_wireguard(
        &mut self,
        ifname: &IfName,
        driver: Driver,
    ) -> Result<(), Refusal> {
        let (kind, mtu) = match driver {
            Driver::Kernel => ("wireguard", 1420),
            Driver::UserSpace => ("tun", 1500),
        };
        let mark = Some(OWNER_MARK.to_owned());
        match self.host.links.get_mut(ifname) {
            None => self.new_link(ifname, kind, mtu, mark),
            Some(link) => {
                changed(link.kind == kind, "Operation not supported")?;
                link.alias = mark;
            }
        }
        let device = self.host.wireguard.entry(ifname.clone());
        device.or_insert_with(|| WireGuardDevice {
            driver,
            build: Build::Current,
            public_key: None,
            listen_port: 0,
            peers: std::collections::BTreeMap::new(),
        });
        Ok(())
    }

    pub(crate) fn take_over_wireguard(&mut self, ifname: &IfName) -> Result<(), Refusal> {
        let device = self.host.wireguard.get_mut(ifname);
        let device = device.ok_or("No such device")?;
        changed(device.build == Build::Other, "nothing to take over")?;
        device.build = Build::Current;
        Ok(())
    }

    pub(crate) fn set_wireguard(
        &mut self,
        ifname: &IfName,
        change: &WireGuardChange,
    ) -> Result<(), Refusal> {
        let key = match &change.private_key {
            Some(KeySource::Inline(secret)) => Some(secret.public_key()),
            Some(KeySource::File(path)) => Some(self.public_half(path)?),
            None => None,
        };
        let current = self.host.wireguard.get(ifname).map(|d| d.listen_port);
        if let Some(port) = change.listen_port.filter(|port| *port != 0) {
            let taken = Some(port) != current && self.is_held(port);
            changed(!taken, "Address already in use")?;
        }
        let mut prints = Vec::new();
        for (public_key, peer) in &change.peers {
            if let PeerChange::Set {
                preshared_key: Some(PresharedKeyChange::Load(path)),
                ..
            } = peer
            {
                prints.push((*public_key, self.public_half(path)?));
            }
        }
        let any_port = (40_000..u16::MAX).find(|port| !self.is_held(*port));
        let device = self.host.wireguard.get_mut(ifname);
        let device = device.ok_or("No such device")?;
        device.public_key = key.or(device.public_key);
        device.listen_port = match change.listen_port {
            Some(0) => any_port.unwrap_or(0),
            Some(port) => port,
            None => device.listen_port,
        };
        for (public_key, peer) in &change.peers {
            set_peer(device, *public_key, peer)?;
        }
        for (public_key, print) in prints {
            let peer = device.peers.get_mut(&public_key);
            peer.ok_or("No such peer")?.preshared_key = Some(print);
        }
        for (public_key, peer) in &change.peers {
            remove_parts(device, public_key, peer)?;
        }
        Ok(())
    }

    fn public_half(&self, path: &PathBuf) -> Result<PublicKey, Refusal> {
        let key = self.keys.get(path).ok_or("No such file or directory")?;
        Ok(key.public_key())
    }
}

/// Everything that a change brings; a prefix leaves its old peer by that.
fn set_peer(
    device: &mut WireGuardDevice,
    public_key: PublicKey,
    change: &PeerChange,
) -> Result<(), Refusal> {
    let PeerChange::Set {
        preshared_key,
        allowed_ips,
        endpoint,
        persistent_keepalive,
    } = change
    else {
        return Ok(());
    };
    if let Some(change) = allowed_ips {
        for peer in device.peers.values_mut() {
            peer.allowed_ips.retain(|net| !change.add.contains(net));
        }
    }
    let peer = device.peers.entry(public_key).or_default();
    if *preshared_key == Some(PresharedKeyChange::Clear) {
        peer.preshared_key = None;
    }
    if let Some(change) = allowed_ips {
        peer.allowed_ips.extend(&change.add);
    }
    peer.endpoint = endpoint.or(peer.endpoint);
    peer.persistent_keepalive = persistent_keepalive.unwrap_or(peer.persistent_keepalive);
    Ok(())
}

/// Everything that goes.
fn remove_parts(
    device: &mut WireGuardDevice,
    public_key: &PublicKey,
    change: &PeerChange,
) -> Result<(), Refusal> {
    match change {
        PeerChange::Remove => {
            let gone = device.peers.remove(public_key);
            changed(gone.is_some(), "No such peer")
        }
        PeerChange::Set {
            allowed_ips: Some(change),
            ..
        } => {
            let peer = device.peers.get_mut(public_key).ok_or("No such peer")?;
            peer.allowed_ips.retain(|net| !change.remove.contains(net));
            changed(peer.allowed_ips == change.all, "allowed IPs do not add up")
        }
        PeerChange::Set { .. } => Ok(()),
    }
}
