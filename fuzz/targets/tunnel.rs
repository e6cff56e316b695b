//! The packet path of the user-space WireGuard. See `linux::tunnel::fuzz`.

pub fn run(data: &[u8]) {
    linux::tunnel::fuzz::packets(data);
}
