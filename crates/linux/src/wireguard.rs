//! WireGuard devices: kernel driver through generic netlink, user-space driver through the configuration socket.
