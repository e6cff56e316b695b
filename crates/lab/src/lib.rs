//! The lab: multi-site fabrics on one machine out of network namespaces and real packets.
//!
//! It runs the real `routerd` and `routerctl` in them and says what passed. Nothing here is needed in
//! production.

pub mod agent;
pub mod build;
pub mod cli;
pub mod cloud;
pub mod conditions;
pub mod config;
pub mod control;
pub mod controller;
pub mod eventually;
pub mod evidence;
pub mod fabric;
pub mod faults;
pub mod impair;
pub mod lab;
pub mod node;
pub mod probe;
pub mod process;
pub mod report;
pub mod router;
pub mod sandbox;
pub mod scenario;
pub mod slowness;
pub mod task;
pub mod topology;
pub mod voice;
