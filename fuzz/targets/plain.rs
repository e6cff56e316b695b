//! What plain tunnels make of any datagram. See `linux::plain::fuzz`.

pub fn run(data: &[u8]) {
    linux::plain::fuzz::datagram(data);
}
