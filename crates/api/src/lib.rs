//! Every type that crosses a process boundary of routerd: names, diagnostics, plans as people read
//! them, status, doctor reports and the control API.
//!
//! This crate owns shapes and their text form. It decides nothing and does no I/O.

pub mod action;
pub mod control;
pub mod diagnostic;
pub mod doctor;
pub mod dynamic;
pub mod event;
pub mod federation;
pub mod name;
pub mod plan;
pub mod plugin;
pub mod resource;
pub mod status;
pub mod time;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use name::{IfName, MobileAddress};
pub use resource::ResourceId;
