//! A running lab: its nodes, the packet engine, and what can be done to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cloud::running::Running;
use crate::fabric::counters::DropReport;
use crate::fabric::forward::Engine;
use crate::fabric::underlay::{Link, Underlay};
use crate::fabric::{FabricState, StateError};
use crate::node::Node;
use crate::topology::{Role, Topology};

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    nodes: BTreeMap<String, Node>,
    engine: Arc<Engine>,
    clouds: BTreeMap<String, Running>,
    phase: Mutex<String>,
}

/// What `lab status` shows.
#[derive(Debug, Serialize)]
pub struct LabStatus {
    /// The lab's name.
    pub name: String,
    /// What it is doing.
    pub phase: String,
    /// Nodes with their roles and the number of processes inside.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// The underlay's links.
    pub links: BTreeMap<String, Link>,
    /// The fabrics' state tables.
    pub fabrics: BTreeMap<String, FabricState>,
    /// What was dropped, where and why.
    pub drops: DropReport,
}

/// A node in `lab status`.
#[derive(Debug, Serialize)]
pub struct NodeStatus {
    /// `host`, `router`, `gateway`, `switch`.
    pub role: String,
    /// Its interfaces with their addresses.
    pub interfaces: BTreeMap<String, Vec<String>>,
    /// Processes inside.
    pub processes: usize,
}

impl Lab {
    /// Puts together what was built.
    pub fn new(
        topology: Topology,
        nodes: BTreeMap<String, Node>,
        engine: Arc<Engine>,
        clouds: BTreeMap<String, Running>,
    ) -> Self {
        Self {
            topology,
            nodes,
            engine,
            clouds,
            phase: Mutex::new("starting".to_owned()),
        }
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// All nodes.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that name; the message lists those that there are.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| {
            let names: Vec<_> = self.nodes.keys().map(String::as_str).collect();
            format!("no node `{name}`; there are {}", names.join(", "))
        })
    }

    /// Nodes that run routerd.
    pub fn routers(&self) -> impl Iterator<Item = &Node> {
        let router = |spec: &&crate::topology::NodeSpec| spec.role == Role::Router;
        let specs = self.topology.nodes.iter().filter(router);
        specs.filter_map(|spec| self.nodes.get(&spec.name))
    }

    /// The packet engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The API in front of a fabric.
    ///
    /// # Errors
    /// When the lab has none for that cloud.
    pub fn cloud(&self, fabric: &str) -> Result<&Running> {
        let found = self.clouds.get(fabric);
        found.with_context(|| format!("the lab has no API of {fabric}"))
    }

    /// The APIs by fabric.
    pub fn clouds(&self) -> &BTreeMap<String, Running> {
        &self.clouds
    }

    /// Changes a fabric's state table past its API: what the fabric does without one.
    ///
    /// # Errors
    /// When there is no such fabric or the cloud refuses the change.
    pub fn change_fabric<T>(
        &self,
        fabric: &str,
        change: impl FnOnce(&mut FabricState) -> Result<T, StateError>,
    ) -> Result<T> {
        let state = self.engine.state(fabric);
        let state = state.with_context(|| format!("no fabric `{fabric}`"))?;
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        Ok(change(&mut state)?)
    }

    /// Says what the lab is doing, for `lab status`.
    pub fn set_phase(&self, phase: &str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase.to_owned();
    }

    /// What the lab is doing.
    pub fn phase(&self) -> String {
        let phase = self.phase.lock();
        phase.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `lab status` shows.
    pub fn status(&self) -> LabStatus {
        let fabric = |name: &str| {
            let state = self.engine.state(name)?.read();
            let state = state.unwrap_or_else(PoisonError::into_inner).clone();
            Some((name.to_owned(), state))
        };
        let Underlay { links } = self.engine.underlay().clone();
        LabStatus {
            name: self.topology.name.clone(),
            phase: self.phase(),
            nodes: self.node_statuses(),
            links,
            fabrics: self.engine.fabrics().filter_map(fabric).collect(),
            drops: self.engine.drops().report(),
        }
    }

    fn node_statuses(&self) -> BTreeMap<String, NodeStatus> {
        let status = |spec: &crate::topology::NodeSpec| {
            let interfaces = spec.interfaces.iter().map(|interface| {
                let addresses = interface.addresses.iter().map(ToString::to_string);
                (interface.name.clone(), addresses.collect())
            });
            // A node that was powered off has no processes.
            let processes = self.nodes.get(&spec.name).map(Node::processes);
            NodeStatus {
                role: format!("{:?}", spec.role).to_lowercase(),
                interfaces: interfaces.collect(),
                processes: processes.and_then(Result::ok).map_or(0, |p| p.len()),
            }
        };
        let specs = self.topology.nodes.iter();
        specs
            .map(|spec| (spec.name.clone(), status(spec)))
            .collect()
    }
}
