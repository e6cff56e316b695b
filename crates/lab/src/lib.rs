//! The lab: multi-site fabrics on one machine out of network namespaces and real packets.
//!
//! It runs the real `routerd` and `routerctl` in them and says what passed. Nothing here is needed in
//! production.

pub mod cloud;
pub mod fabric;
