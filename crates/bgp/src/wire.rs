//! The wire: framing and messages of BGP-4.
//!
//! The codec is our own, after `rustbgpd-wire`, `zettabgp` and `routecore` were weighed. What decided: an UPDATE here
//! is never turned into a tree of attributes and routes. Its attribute section is checked in one pass against
//! RFC 7606 and becomes the canonical octets that are interned (see [`crate::attr`]); its NLRI are walked in place; what
//! is sent is put together from the same octets. None of those crates can do that without building and
//! dropping a vector per attribute, all of them decide themselves what RFC 7606 makes of an error (which has to be
//! pinned case by case, and told to the operator), and the best of them breaks its API almost weekly. It is about a
//! thousand lines that change only when the RFCs do, held by goldens, a round trip and a fuzzer.
//!
//! This module knows no session and no RIB. It must not panic whatever it is given.

pub(crate) mod attributes;
mod capability;
pub(crate) mod encode;
pub(crate) mod nlri;
pub(crate) mod notification;
pub(crate) mod open;
pub(crate) mod reader;
pub(crate) mod refresh;
#[cfg(test)]
mod tests;
pub(crate) mod update;

pub(crate) use capability::{AddPathModes, Capabilities, LongLivedFamily, Restart, RestartFamily};
pub(crate) use notification::Notification;
pub(crate) use open::Open;

/// Octets of the fixed header.
pub(crate) const HEADER: usize = 19;
/// Longest message unless both sides offer more (RFC 4271, section 4.1).
pub(crate) const MAX_MESSAGE: usize = 4096;
/// Longest message if both sides offer it (RFC 8654).
pub(crate) const MAX_EXTENDED: usize = 65535;

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    Update,
    Notification,
    Keepalive,
    RouteRefresh,
}

/// The first message in `stream`: its kind and its length with the header. `None`: not all of it is there yet.
///
/// The header is judged as soon as it is there, so that garbage is refused without waiting for more of it.
pub(crate) fn frame(stream: &[u8], extended: bool) -> Result<Option<(Kind, usize)>, Notification> {
    let Some(header) = stream.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    if header[..16] != [0xff; 16] {
        return Err(Notification::new(1, 1, Vec::new()));
    }
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let (kind, shortest) = match header[18] {
        1 => (Kind::Open, 29),
        2 => (Kind::Update, 23),
        3 => (Kind::Notification, 21),
        4 => (Kind::Keepalive, HEADER),
        5 => (Kind::RouteRefresh, 23),
        other => return Err(Notification::new(1, 3, vec![other])),
    };
    let longest = match kind {
        Kind::Keepalive => HEADER,
        Kind::Open => MAX_MESSAGE,
        _ if extended => MAX_EXTENDED,
        _ => MAX_MESSAGE,
    };
    if length < shortest || length > longest {
        return Err(Notification::new(1, 2, header[16..18].to_vec()));
    }
    Ok((stream.len() >= length).then_some((kind, length)))
}

/// Writes a message: the body by `body`, the header around it.
pub(crate) fn message(out: &mut Vec<u8>, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0]);
    out.push(match kind {
        Kind::Open => 1,
        Kind::Update => 2,
        Kind::Notification => 3,
        Kind::Keepalive => 4,
        Kind::RouteRefresh => 5,
    });
    body(out);
    let length = u16::try_from(out.len() - start).unwrap_or(u16::MAX);
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

/// A KEEPALIVE.
pub(crate) fn keepalive(out: &mut Vec<u8>) {
    message(out, Kind::Keepalive, |_| ());
}
