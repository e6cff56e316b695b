//! The configuration socket of the user-space WireGuard. See `linux::tunnel::fuzz`.

pub fn run(data: &[u8]) {
    linux::tunnel::fuzz::configuration(data);
}
