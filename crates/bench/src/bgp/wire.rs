//! As much of BGP as a load generator needs: what it sends is put together once, what it receives is read without a copy.
//! Written apart from the speaker's own codec, which it measures.

use std::net::Ipv4Addr;

/// The first `/32`. Addresses that no speaker filters by itself.
pub const FIRST_ROUTE: u32 = u32::from_be_bytes([20, 0, 0, 0]);
/// The system of everybody.
pub const ASN: u32 = 65000;

pub const OPEN: u8 = 1;
pub const UPDATE: u8 = 2;
pub const NOTIFICATION: u8 = 3;
pub const KEEPALIVE: u8 = 4;

/// Marker, length and type.
pub const HEADER: usize = 19;
/// Routes in one UPDATE that fits the standard 4,096 octets.
const ROUTES: usize = 780;

/// One message.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    let length = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// An OPEN of [`ASN`] for IPv4 with route refresh and 4-octet systems.
pub fn open(identifier: Ipv4Addr, hold: u16) -> Vec<u8> {
    let mut body = vec![4];
    body.extend((ASN as u16).to_be_bytes());
    body.extend(hold.to_be_bytes());
    body.extend(identifier.octets());
    body.extend([16, 2, 14, 1, 4, 0, 1, 0, 1, 2, 0, 65, 4]);
    body.extend(ASN.to_be_bytes());
    frame(OPEN, &body)
}

/// What every route of a stream says.
#[derive(Debug, Clone, Copy)]
pub struct Saying {
    pub next_hop: Ipv4Addr,
    pub preference: u32,
    /// A large community of its own for every route; else they all carry the same attributes.
    pub own: bool,
}

impl Saying {
    fn attributes(self, route: u32) -> Vec<u8> {
        let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
        out.extend(self.next_hop.octets());
        out.extend([0x40, 5, 4]);
        out.extend(self.preference.to_be_bytes());
        if self.own {
            out.extend([0xc0, 32, 12]);
            for word in [ASN, route, self.preference] {
                out.extend(word.to_be_bytes());
            }
        } else {
            out.extend([0xc0, 8, 4, 0xfd, 0xe8, 0, 1]);
        }
        out
    }

    /// UPDATEs that announce these routes.
    pub fn announce(self, routes: std::ops::Range<u32>) -> Vec<u8> {
        let mut out = Vec::new();
        let each = if self.own { 1 } else { ROUTES };
        for first in routes.clone().step_by(each) {
            let attributes = self.attributes(first);
            let mut body = vec![0, 0];
            body.extend((attributes.len() as u16).to_be_bytes());
            body.extend(attributes);
            put_routes(&mut body, first..routes.end.min(first + each as u32));
            out.extend(frame(UPDATE, &body));
        }
        out
    }
}

/// UPDATEs that withdraw these routes.
pub fn withdraw(routes: std::ops::Range<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    for first in routes.clone().step_by(ROUTES) {
        let mut nets = Vec::new();
        put_routes(&mut nets, first..routes.end.min(first + ROUTES as u32));
        let mut body = (nets.len() as u16).to_be_bytes().to_vec();
        body.extend(nets);
        body.extend([0, 0]);
        out.extend(frame(UPDATE, &body));
    }
    out
}

fn put_routes(out: &mut Vec<u8>, routes: std::ops::Range<u32>) {
    for route in routes {
        out.push(32);
        out.extend((FIRST_ROUTE + route).to_be_bytes());
    }
}

/// The length of the message that begins here; absent while its header is not complete.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(16..HEADER)?;
    Some(usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// Reads the body of an UPDATE: `each` is told every `/32` with its next hop, none where it is withdrawn. Absent: it
/// is malformed.
pub fn read_update(body: &[u8], mut each: impl FnMut(u32, Option<u32>)) -> Option<()> {
    let (withdrawn, rest) = sized(body)?;
    let (mut attributes, announced) = sized(rest)?;
    routes(withdrawn, &mut |route| each(route, None))?;
    let mut next_hop = None;
    while let [flags, code, rest @ ..] = attributes {
        let (value, rest) = if flags & 0x10 != 0 {
            sized(rest)?
        } else {
            let (length, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(*length))?
        };
        match code {
            3 => next_hop = Some(word(value)?),
            // RFC 4760, which some speak for IPv4 as well: family 1/1, next hop of four octets, a reserved one.
            14 if value.get(..4)? == [0, 1, 1, 4] => {
                let next_hop = word(&value[4..])?;
                routes(value.get(9..)?, &mut |route| each(route, Some(next_hop)))?;
            }
            15 if value.get(..3)? == [0, 1, 1] => {
                routes(&value[3..], &mut |route| each(route, None))?;
            }
            _ => {}
        }
        attributes = rest;
    }
    routes(announced, &mut |route| each(route, next_hop))
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes
        .first_chunk()
        .map(|octets| u32::from_be_bytes(*octets))
}

fn routes(mut bytes: &[u8], each: &mut impl FnMut(u32)) -> Option<()> {
    while let Some((length, rest)) = bytes.split_first() {
        let size = usize::from(*length).div_ceil(8);
        if *length == 32 {
            each(word(rest)?);
        }
        bytes = rest.get(size..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let saying = |own| Saying {
            next_hop: Ipv4Addr::new(10, 99, 0, 11),
            preference: 200,
            own,
        };
        let next_hop = Some(0x0a63_000b);
        for (stream, told) in [
            (saying(false).announce(5..2005), next_hop),
            (saying(true).announce(5..2005), next_hop),
            (withdraw(5..2005), None),
        ] {
            let mut heard = Vec::new();
            let mut rest = stream.as_slice();
            while let Some(length) = length(rest) {
                assert!(length <= 4096, "{length}");
                let body = &rest[HEADER..length];
                let each = |route, next_hop| heard.push((route - FIRST_ROUTE, next_hop));
                assert_eq!(read_update(body, each), Some(()));
                rest = &rest[length..];
            }
            let all: Vec<_> = (5..2005).map(|route| (route, told)).collect();
            assert_eq!(heard, all);
        }
        assert_eq!(read_update(&[0, 9, 32], |_, _| ()), None);
    }
}
