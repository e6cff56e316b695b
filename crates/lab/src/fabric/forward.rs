//! The packet engine: carries frames between the TAP devices of VMs and on-prem nodes as the fabrics and the
//! underlay decide.
//!
//! One thread reads each device. A frame is handed on in the thread that read it, so nothing is queued here
//! but what an impairment delays. A change of a state table counts from the next packet on.

mod transit;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Instant;

use linux::namespace::Tap;
use transit::Stage;

use super::counters::DropCounters;
use super::frame::{Frame, Kind};
use super::header::Header;
use super::quality::LinkQuality;
use super::replies::{arp_answer, arp_request};
use super::underlay::{Attachment, Impairment, Link, Treatment, Underlay};
use super::wiretap::Wiretap;
use super::{FabricState, FlowTable, NicId, Origin, Verdict, decide, delay, lock};

/// The hardware address of every virtual router, the one that Azure's VMs see.
pub const ROUTER_MAC: [u8; 6] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc];

/// What a port is to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRole {
    /// A VM's network interface.
    Nic {
        /// Whose fabric.
        fabric: String,
        /// Which.
        nic: NicId,
    },
    /// An on-prem node's interface on the underlay.
    Underlay,
    /// Where a fabric's metadata service and API listen.
    Metadata {
        /// Whose fabric.
        fabric: String,
    },
}

/// A device on the engine.
#[derive(Debug)]
pub struct Port {
    /// What it is.
    pub role: PortRole,
    /// The device; its name is that inside the node.
    pub tap: Tap,
    /// The node's hardware address on it.
    pub mac: [u8; 6],
}

#[derive(Debug)]
struct Fabric {
    state: RwLock<FabricState>,
    flows: Mutex<FlowTable>,
}

/// The engine before it runs.
#[derive(Debug)]
pub struct Wiring {
    /// Fabrics by name.
    pub fabrics: BTreeMap<String, FabricState>,
    /// Ports by name: `NODE/INTERFACE`.
    pub ports: BTreeMap<String, Port>,
    /// The links between sites.
    pub underlay: Underlay,
    /// The tap on those links.
    pub wiretap: Wiretap,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    fabrics: BTreeMap<String, Fabric>,
    ports: BTreeMap<String, Port>,
    nics: HashMap<(String, NicId), String>,
    port_impairments: RwLock<BTreeMap<String, Impairment>>,
    underlay: RwLock<Underlay>,
    wiretap: Wiretap,
    drops: DropCounters,
    started: Instant,
    dice: AtomicU64,
    delayed: mpsc::Sender<delay::Delayed<(Stage, Frame)>>,
}

impl Engine {
    /// Starts one thread for every port.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(wiring: Wiring) -> std::io::Result<Arc<Self>> {
        let (delayed, later) = mpsc::channel();
        let nics = wiring.ports.iter().filter_map(|(name, port)| {
            let PortRole::Nic { fabric, nic } = &port.role else {
                return None;
            };
            Some(((fabric.clone(), nic.clone()), name.clone()))
        });
        let fabric = |state| Fabric {
            state: RwLock::new(state),
            flows: Mutex::default(),
        };
        let engine = Arc::new(Self {
            nics: nics.collect(),
            fabrics: wiring
                .fabrics
                .into_iter()
                .map(|(name, state)| (name, fabric(state)))
                .collect(),
            ports: wiring.ports,
            port_impairments: RwLock::default(),
            underlay: RwLock::new(wiring.underlay),
            wiretap: wiring.wiretap,
            drops: DropCounters::default(),
            started: Instant::now(),
            dice: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            delayed,
        });
        for name in engine.ports.keys() {
            let (engine, name) = (Arc::clone(&engine), name.clone());
            let thread = std::thread::Builder::new().name(name.clone());
            thread.spawn(move || engine.serve(&name))?;
        }
        let late = Arc::clone(&engine);
        delay::spawn(later, move |(stage, mut frame): (Stage, Frame)| {
            late.proceed(&stage, &mut frame);
        })?;
        Ok(engine)
    }

    /// The state table of a fabric, to read or to change.
    pub fn state(&self, fabric: &str) -> Option<&RwLock<FabricState>> {
        self.fabrics.get(fabric).map(|f| &f.state)
    }

    /// Names of the fabrics.
    pub fn fabrics(&self) -> impl Iterator<Item = &str> {
        self.fabrics.keys().map(String::as_str)
    }

    /// The links between sites.
    pub fn underlay(&self) -> RwLockReadGuard<'_, Underlay> {
        read(&self.underlay)
    }

    /// What was dropped so far.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// The tap on the underlay.
    pub fn wiretap(&self) -> &Wiretap {
        &self.wiretap
    }

    /// Names of the ports.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        self.ports.keys().map(String::as_str)
    }

    /// Impairs an underlay link or a port, or lifts that again. Says whether there is one of that name.
    pub fn impair(&self, name: &str, impairment: Impairment) -> bool {
        let mut carrier = None;
        if self.ports.contains_key(name) {
            let mut all = self
                .port_impairments
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            all.insert(name.to_owned(), impairment);
            carrier = Some(name.to_owned());
        }
        let mut underlay = self
            .underlay
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let link = underlay.links.get_mut(name);
        let known = carrier.is_some() || link.is_some();
        if let Some(link) = link {
            link.impairment = impairment;
            if let Attachment::Port(port) = &link.attachment {
                carrier = Some(port.clone());
            }
        }
        if let Some(port) = carrier.and_then(|p| self.ports.get(&p))
            && port.tap.set_carrier(!impairment.cut).is_err()
        {
            // The device is gone with its node: there is no carrier to pull.
            return known;
        }
        known
    }

    /// Changes the largest packet that an underlay link carries. Says whether there is one of that name.
    pub fn set_link_mtu(&self, name: &str, mtu: u16) -> bool {
        self.change_link(name, |link| link.mtu = mtu)
    }

    /// Makes an underlay link one of that quality. Says whether there is one of that name.
    pub fn set_quality(&self, name: &str, quality: LinkQuality) -> bool {
        self.change_link(name, |link| link.quality = quality)
    }

    fn change_link(&self, name: &str, change: impl FnOnce(&mut Link)) -> bool {
        let mut underlay = self
            .underlay
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        underlay.links.get_mut(name).map(change).is_some()
    }

    /// How many packets an underlay link or a port has lost by chance so far.
    pub fn lost(&self, name: &str) -> u64 {
        self.drops.get(name, transit::LOST)
    }

    /// Reads a port until its device goes away.
    fn serve(&self, name: &str) {
        let Some(port) = self.ports.get(name) else {
            return;
        };
        let mut frame = Frame::buffer();
        while frame.fill(|buffer| port.tap.receive(buffer)).is_ok() {
            let treatment = self.port_treatment(name);
            let stage = Stage::FromPort(name.to_owned());
            self.through(name, &treatment, stage, &mut frame);
        }
    }

    /// A frame that a node sent.
    fn leave_port(&self, name: &str, frame: &mut Frame) {
        let Some(port) = self.ports.get(name) else {
            return;
        };
        match frame.kind() {
            Kind::Arp => self.answer_arp(port, frame),
            Kind::Ipv4 => match &port.role {
                PortRole::Nic { fabric, nic } => self.leave_nic(fabric, nic, frame),
                PortRole::Underlay => self.to_underlay(Attachment::Port(name.to_owned()), frame),
                PortRole::Metadata { fabric } => self.enter_fabric(fabric, Origin::Metadata, frame),
            },
            Kind::Other => self.drops.count(name, "not-ipv4", 1, None),
            Kind::Malformed => self.drops.count(name, "malformed", 1, None),
        }
    }

    /// A fabric answers for every address but those of the NIC that asks (it would look like a
    /// duplicate); the underlay answers for its router only.
    fn answer_arp(&self, port: &Port, frame: &Frame) {
        let Some(request) = arp_request(frame) else {
            return;
        };
        let answers = match &port.role {
            PortRole::Nic { fabric, nic } => self.fabrics.get(fabric).is_some_and(|fabric| {
                let state = read(&fabric.state);
                let own = state.nics().get(nic);
                own.is_some_and(|nic| !nic.holds(request.target))
            }),
            PortRole::Metadata { .. } => true,
            PortRole::Underlay => {
                let underlay = read(&self.underlay);
                underlay.links.values().any(|l| l.router == request.target)
            }
        };
        if answers && request.target != request.sender {
            let answer = arp_answer(&request, ROUTER_MAC);
            self.write(port, &answer);
        }
    }

    fn leave_nic(&self, fabric: &str, nic: &NicId, frame: &mut Frame) {
        let header = frame.header();
        let origin = Origin::Nic(nic.clone());
        match self.decide(fabric, &origin, &header) {
            Verdict::Deliver { nic, .. } => self.to_nic(fabric, &nic, frame),
            Verdict::Internet { source } => {
                frame.set_source(source);
                self.to_underlay(Attachment::Fabric(fabric.to_owned()), frame);
            }
            Verdict::Metadata => self.to_metadata(fabric, frame),
            Verdict::Drop(reason) => self.dropped(fabric, reason.code(), frame),
        }
    }

    /// A packet from outside or from the metadata service.
    fn enter_fabric(&self, fabric: &str, origin: Origin, frame: &mut Frame) {
        match self.decide(fabric, &origin, &frame.header()) {
            Verdict::Deliver { nic, destination } => {
                if destination != frame.destination() {
                    frame.set_destination(destination);
                }
                self.to_nic(fabric, &nic, frame);
            }
            Verdict::Drop(reason) => self.dropped(fabric, reason.code(), frame),
            Verdict::Internet { .. } | Verdict::Metadata => {
                self.dropped(fabric, "no-transit", frame);
            }
        }
    }

    /// Decides, and remembers the conversation where the packet passes.
    fn decide(&self, fabric: &str, origin: &Origin, header: &Header) -> Verdict {
        let Some(fabric) = self.fabrics.get(fabric) else {
            return Verdict::Drop(super::DropReason::NoRoute);
        };
        let now = self.started.elapsed();
        let state = read(&fabric.state);
        let mut flows = lock(&fabric.flows);
        let verdict = decide(&state, &flows, origin, header, now);
        if let (Origin::Nic(nic), false) = (origin, matches!(verdict, Verdict::Drop(_))) {
            flows.note(nic, header.flow, now);
        }
        if let Verdict::Deliver { nic, destination } = &verdict {
            let mut flow = header.flow;
            flow.destination = *destination;
            flows.note(nic, flow, now);
        }
        verdict
    }

    fn to_nic(&self, fabric: &str, nic: &NicId, frame: &mut Frame) {
        let key = (fabric.to_owned(), nic.clone());
        match self.nics.get(&key) {
            Some(port) => self.to_port(port, frame),
            None => self.dropped(fabric, "nic-without-vm", frame),
        }
    }

    fn to_metadata(&self, fabric: &str, frame: &mut Frame) {
        let service =
            |role: &PortRole| matches!(role, PortRole::Metadata { fabric: f } if f == fabric);
        match self.ports.iter().find(|(_, port)| service(&port.role)) {
            Some((name, _)) => self.to_port(name, frame),
            None => self.dropped(fabric, "no-metadata-service", frame),
        }
    }

    fn to_port(&self, name: &str, frame: &mut Frame) {
        let treatment = self.port_treatment(name);
        let stage = Stage::Deliver(name.to_owned());
        self.through(name, &treatment, stage, frame);
    }

    fn deliver(&self, name: &str, frame: &mut Frame) {
        if let Some(port) = self.ports.get(name) {
            frame.set_macs(port.mac, ROUTER_MAC);
            if !self.write(port, frame) {
                self.dropped(name, "device-down", frame);
            }
        }
    }

    fn port_treatment(&self, name: &str) -> Treatment {
        let all = read(&self.port_impairments);
        all.get(name).copied().unwrap_or_default().into()
    }

    /// Writes to a device; a node whose device is down or gone receives nothing.
    fn write(&self, port: &Port, frame: &Frame) -> bool {
        port.tap.send(frame.bytes()).is_ok()
    }

    fn dropped(&self, place: &str, reason: &'static str, frame: &Frame) {
        let header = frame.header();
        self.drops
            .count(place, reason, frame.packets(), Some(&header));
    }
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
