//! The user-space WireGuard process.
pub(crate) mod uapi;
