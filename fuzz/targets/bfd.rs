//! Any datagrams as BFD control packets: what is taken for one is the same when it is sent on.

use bgp::bfd::{LENGTH, Packet};

pub fn run(data: &[u8]) {
    let _ = Packet::parse(data);
    for chunk in data.chunks(LENGTH) {
        let mut bytes = chunk.to_vec();
        if let Some([first, _, _, length]) = bytes.first_chunk_mut() {
            *first = 0x20 | (*first & 0x1f);
            *length = LENGTH as u8;
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        }
    }
}
