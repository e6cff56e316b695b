//! The sections of an UPDATE (RFC 4271, section 4.3) and its multiprotocol attributes (RFC 4760).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::notification::Notification;
use super::reader::Reader;
use crate::types::Family;

/// The three sections, each still octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections<'a> {
    pub(crate) withdrawn: &'a [u8],
    pub(crate) attributes: &'a [u8],
    pub(crate) nlri: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Lengths that contradict the message's leave no way to find the prefixes: the session ends
    /// (RFC 7606, section 3 b).
    pub(crate) fn split(body: &'a [u8]) -> Result<Self, Notification> {
        let malformed = || Notification::new(3, 1, Vec::new());
        let mut reader = Reader(body);
        let length = reader.u16().ok_or_else(malformed)?;
        let withdrawn = reader.take(length.into()).ok_or_else(malformed)?;
        let length = reader.u16().ok_or_else(malformed)?;
        let attributes = reader.take(length.into()).ok_or_else(malformed)?;
        Ok(Self {
            withdrawn,
            attributes,
            nlri: reader.0,
        })
    }
}

/// MP_REACH_NLRI of a family that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach<'a> {
    pub(crate) family: Family,
    pub(crate) next_hop: IpAddr,
    pub(crate) nlri: &'a [u8],
}

/// MP_UNREACH_NLRI of a family that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreach<'a> {
    pub(crate) family: Family,
    pub(crate) nlri: &'a [u8],
}

/// Optional attribute error: the prefixes inside cannot be located, which ends the session (RFC 7606, section 7.11).
fn malformed() -> Notification {
    Notification::new(3, 9, Vec::new())
}

impl<'a> Reach<'a> {
    /// `None`: of a family that we do not speak.
    pub(crate) fn decode(value: &'a [u8]) -> Result<Option<Self>, Notification> {
        let mut reader = Reader(value);
        let afi = reader.u16().ok_or_else(malformed)?;
        let safi = reader.u8().ok_or_else(malformed)?;
        let length = reader.u8().ok_or_else(malformed)?;
        let next_hop = reader.take(length.into()).ok_or_else(malformed)?;
        reader.u8().ok_or_else(malformed)?;
        let Some(family) = Family::from_wire(afi, safi) else {
            return Ok(None);
        };
        Ok(Some(Self {
            family,
            next_hop: address(family, next_hop).ok_or_else(malformed)?,
            nlri: reader.0,
        }))
    }
}

/// A global address alone, or followed by a link-local one that says nothing here.
fn address(family: Family, octets: &[u8]) -> Option<IpAddr> {
    match (family, octets.len()) {
        (Family::Ipv4Unicast, 4) => {
            let v4: [u8; 4] = octets.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(v4)))
        }
        (Family::Ipv6Unicast, 16 | 32) => {
            let (v6, _) = octets.split_first_chunk::<16>()?;
            Some(IpAddr::V6(Ipv6Addr::from(*v6)))
        }
        _ => None,
    }
}

impl<'a> Unreach<'a> {
    /// `None`: of a family that we do not speak.
    pub(crate) fn decode(value: &'a [u8]) -> Result<Option<Self>, Notification> {
        let mut reader = Reader(value);
        let afi = reader.u16().ok_or_else(malformed)?;
        let safi = reader.u8().ok_or_else(malformed)?;
        Ok(Family::from_wire(afi, safi).map(|family| Self {
            family,
            nlri: reader.0,
        }))
    }
}
