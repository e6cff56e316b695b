//! The field's words as types: what holds is checked once, here.

mod community;
mod prefix;
mod time;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use community::{Community, ExtendedCommunity, LargeCommunity, StandardCommunity};
pub use prefix::Prefix;
pub use time::Time;

/// A value that does not name what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct ParseError {
    text: String,
    what: &'static str,
}

impl ParseError {
    pub(crate) fn new(text: &str, what: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            what,
        }
    }
}

/// An autonomous system number of four octets (RFC 6793); never 0 (RFC 7607).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Asn(u32);

impl Asn {
    /// Stands for a four-octet number where only two octets fit (RFC 6793, section 4.2.2).
    pub(crate) const TRANS: u16 = 23456;

    /// As the number on the wire.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// As two octets, or [`Asn::TRANS`] where they do not suffice.
    pub(crate) fn two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(Self::TRANS)
    }
}

impl TryFrom<u32> for Asn {
    type Error = ParseError;

    fn try_from(number: u32) -> Result<Self, ParseError> {
        if number == 0 {
            return Err(ParseError::new(
                "0",
                "an autonomous system number (RFC 7607)",
            ));
        }
        Ok(Self(number))
    }
}

impl From<Asn> for u32 {
    fn from(asn: Asn) -> Self {
        asn.0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP identifier: unique in its autonomous system, never 0 (RFC 6286). Also a cluster id (RFC 4456).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Ipv4Addr", into = "Ipv4Addr")]
pub struct RouterId(u32);

impl RouterId {
    /// As the number on the wire.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for RouterId {
    type Error = ParseError;

    fn try_from(number: u32) -> Result<Self, ParseError> {
        if number == 0 {
            return Err(ParseError::new("0.0.0.0", "a BGP identifier"));
        }
        Ok(Self(number))
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = ParseError;

    fn try_from(address: Ipv4Addr) -> Result<Self, ParseError> {
        Self::try_from(u32::from(address))
    }
}

impl From<RouterId> for Ipv4Addr {
    fn from(id: RouterId) -> Self {
        Self::from(id.0)
    }
}

impl FromStr for RouterId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let address: Ipv4Addr = text
            .parse()
            .map_err(|_| ParseError::new(text, "a BGP identifier"))?;
        Self::try_from(address)
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(self.0).fmt(f)
    }
}

/// An address family that is spoken (RFC 4760): both are unicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

impl Family {
    /// Every family, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The family that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4Unicast,
            IpAddr::V6(_) => Self::Ipv6Unicast,
        }
    }

    pub(crate) fn from_wire(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4Unicast),
            (2, 1) => Some(Self::Ipv6Unicast),
            _ => None,
        }
    }

    pub(crate) fn afi(self) -> u16 {
        match self {
            Self::Ipv4Unicast => 1,
            Self::Ipv6Unicast => 2,
        }
    }

    /// AFI, a reserved octet, SAFI: as in capabilities and route refresh.
    pub(crate) fn wire(self) -> [u8; 4] {
        let [high, low] = self.afi().to_be_bytes();
        [high, low, 0, 1]
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Ipv4Unicast => 0,
            Self::Ipv6Unicast => 1,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        })
    }
}

/// A transport connection, numbered by the shell; a number is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
