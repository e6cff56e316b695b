//! The programs as a user runs them.
//!
//! Everything that touches a network runs in namespaces of its own: the test starts itself again under
//! `unshare`, as root or, where that is allowed, without being root.

mod actions;
mod bgp;
mod crash;
mod daemon;
mod dynamic;
mod federation;
mod namespace;
mod reference;
mod sessions;
mod upgrade;
