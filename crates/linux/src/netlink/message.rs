//! Netlink messages as bytes: requests are written straight into what is sent, answers are read in place.
//!
//! Not a schema of every attribute: a foreign link with an attribute that nobody has heard of must never make the
//! host unreadable, and a hundred thousand routes must not cost a tree of allocations each.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// A request: `struct nlmsghdr`, the fixed header of its family, attributes.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts a message of this type; `fixed` is the family's own header (`struct rtmsg` …).
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + fixed.len() + 48);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self { bytes }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        attribute(&mut self.bytes, kind, value);
        self
    }

    /// Adds an attribute that holds a number in host byte order.
    #[must_use]
    pub fn with_u32(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute that holds a text with its terminating zero.
    #[must_use]
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.with(kind, &value)
    }

    /// Adds an attribute that holds attributes.
    #[must_use]
    pub fn with_nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        attribute(&mut self.bytes, kind | libc::NLA_F_NESTED as u16, &[]);
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Length in bytes, padding included.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the finished message to what is sent.
    pub(crate) fn write(&self, out: &mut Vec<u8>, extra_flags: i32, sequence: u32) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let message = &mut out[start..];
        let flags = u16::from_ne_bytes([message[6], message[7]]) | extra_flags as u16;
        message[..4].copy_from_slice(&(self.bytes.len() as u32).to_ne_bytes());
        message[6..8].copy_from_slice(&flags.to_ne_bytes());
        message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// Appends an attribute.
pub(crate) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `RTM_NEWROUTE` …
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// Of the request that it answers.
    pub(crate) sequence: u32,
    /// What follows `struct nlmsghdr`.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family's own header, if the message is long enough for it.
    pub fn fixed<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.payload.first_chunk()
    }

    /// The attributes after a fixed header of this length.
    pub fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes::new(
            self.payload
                .get(fixed.next_multiple_of(4)..)
                .unwrap_or_default(),
        )
    }
}

/// Iterates over the messages in a received buffer; ends at the first that is malformed.
#[derive(Debug)]
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32_at(self.0, 0)? as usize;
        let message = self.0.get(..length)?;
        let payload = message.get(HEADER..)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            payload,
        })
    }
}

/// Iterates over attributes as (type without flags, value); ends at the first that is malformed.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Attributes in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the first attribute of this type.
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |(k, _)| *k == kind).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A number in host byte order at an offset.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number in host byte order at an offset.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An attribute that is an IPv4 address.
pub(crate) fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*value.first_chunk::<4>()?))
}

/// An attribute that is an IPv6 address.
pub(crate) fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*value.first_chunk::<16>()?))
}

/// An attribute that is a text with a terminating zero.
pub(crate) fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let request = Request::new(24, libc::NLM_F_CREATE, &[2, 32, 0])
            .with_u32(1, 7)
            .with_text(3, "eth0")
            .with_nested(5, |r| r.with(1, b"abc").with(2, &[]));
        let mut sent = Vec::new();
        request.write(&mut sent, libc::NLM_F_ACK, 9);
        request.write(&mut sent, 0, 10);
        let messages: Vec<_> = Messages::new(&sent).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].kind, 24);
        assert_eq!(messages[0].sequence, 9);
        assert_eq!(
            i32::from(messages[0].flags),
            libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_ACK
        );
        assert_eq!(messages[1].sequence, 10);
        let attributes = messages[1].attributes(3);
        assert_eq!(attributes.find(1).and_then(|v| u32_at(v, 0)), Some(7));
        assert_eq!(attributes.find(3).and_then(text).as_deref(), Some("eth0"));
        let nested = Attributes::new(attributes.find(5).expect("nested"));
        assert_eq!(
            nested.collect::<Vec<_>>(),
            [(1, b"abc".as_slice()), (2, &[])]
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages::new(&bytes) {
                for (_, value) in message.attributes(12) {
                    Attributes::new(value).count();
                }
            }
            Attributes::new(&bytes).count();
        }
    }
}
