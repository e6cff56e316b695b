//! The user-space WireGuard process.
