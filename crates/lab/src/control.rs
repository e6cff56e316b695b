//! The control socket of a running lab: one line of JSON each way, descriptors attached where a program is
//! to use the caller's terminal.

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};

/// What is asked of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Request {
    /// Nodes, links, fabrics, drops.
    Status,
    /// Run a program in a node with the attached standard input, output and error.
    Exec {
        /// The node.
        node: String,
        /// The program and its arguments.
        argv: Vec<String>,
        /// The caller's `TERM`.
        term: Option<String>,
    },
    /// Break something, or repair it.
    Break {
        /// A node, an underlay link, or `NODE/INTERFACE`.
        target: String,
        /// How.
        fault: Fault,
    },
    /// End the lab.
    Down,
}

/// What can be done to a node or a link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Link: no carrier, nothing passes. Node: all its links.
    Cut,
    /// Link: nothing passes, and nobody sees why.
    Blackhole,
    /// Node: power off.
    Kill,
    /// Node: every process stops.
    Freeze,
    /// Link: milliseconds in each direction.
    Delay(u32),
    /// Link: share of lost packets in each direction, in percent.
    Loss(f64),
    /// Everything as it was: links whole, frozen processes go on.
    Repair,
}

/// What a lab answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The status.
    Status(serde_json::Value),
    /// The program has ended with this exit code.
    Exited(u8),
    /// Done: what was done.
    Done(String),
    /// Refused: why.
    Refused(String),
}
