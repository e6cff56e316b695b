//! OPEN (RFC 4271, section 4.2) with extended optional parameters (RFC 9072).

use super::capability::Capabilities;
use super::notification::Notification;
use super::reader::Reader;
use super::{Kind, message};
use crate::types::{Asn, RouterId};

/// An OPEN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// From the capability where there is one.
    pub(crate) asn: Asn,
    /// Seconds: 0 or at least 3.
    pub(crate) hold: u16,
    pub(crate) router_id: RouterId,
    pub(crate) capabilities: Capabilities,
}

const CAPABILITIES: u8 = 2;
const EXTENDED: u8 = 255;

impl Open {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        message(out, Kind::Open, |out| {
            out.push(4);
            out.extend_from_slice(&self.asn.two_octets().to_be_bytes());
            out.extend_from_slice(&self.hold.to_be_bytes());
            out.extend_from_slice(&self.router_id.get().to_be_bytes());
            let mut capabilities = Vec::new();
            self.capabilities.encode(self.asn, &mut capabilities);
            // What we offer stays far below 255 octets: two families, each in four capabilities.
            let length = u8::try_from(capabilities.len()).unwrap_or(0);
            out.extend_from_slice(&[length.saturating_add(2), CAPABILITIES, length]);
            out.extend_from_slice(&capabilities);
        });
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::new(2, 0, Vec::new());
        let mut reader = Reader(body);
        let version = reader.u8().ok_or_else(malformed)?;
        if version != 4 {
            return Err(Notification::new(2, 1, vec![0, 4]));
        }
        let short_asn = reader.u16().ok_or_else(malformed)?;
        let hold = reader.u16().ok_or_else(malformed)?;
        let id = reader.u32().ok_or_else(malformed)?;
        let capabilities = parameters(reader)?;
        let asn = capabilities.four_octet_asn.unwrap_or(u32::from(short_asn));
        let asn = Asn::try_from(asn).map_err(|_| Notification::new(2, 2, Vec::new()))?;
        if hold == 1 || hold == 2 {
            return Err(Notification::new(2, 6, Vec::new()));
        }
        let router_id = RouterId::try_from(id).map_err(|_| Notification::new(2, 3, Vec::new()))?;
        Ok(Self {
            asn,
            hold,
            router_id,
            capabilities,
        })
    }
}

fn parameters(mut reader: Reader<'_>) -> Result<Capabilities, Notification> {
    let malformed = || Notification::new(2, 0, Vec::new());
    let short = reader.u8().ok_or_else(malformed)?;
    let extended = short == EXTENDED && reader.0.first() == Some(&EXTENDED);
    let length = if extended {
        reader.u8().ok_or_else(malformed)?;
        usize::from(reader.u16().ok_or_else(malformed)?)
    } else {
        usize::from(short)
    };
    if reader.0.len() != length {
        return Err(malformed());
    }
    let mut capabilities = Capabilities::default();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or_else(malformed)?;
        let length = if extended {
            reader.u16().map(usize::from)
        } else {
            reader.u8().map(usize::from)
        };
        let value = length.and_then(|l| reader.take(l)).ok_or_else(malformed)?;
        if kind != CAPABILITIES {
            return Err(Notification::new(2, 4, Vec::new()));
        }
        capabilities.decode(value).ok_or_else(malformed)?;
    }
    Ok(capabilities)
}
