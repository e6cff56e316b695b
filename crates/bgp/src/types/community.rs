//! Communities: standard (RFC 1997), large (RFC 8092), extended (RFC 4360, carried but not interpreted).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// A standard community: `65000:1`, or its well-known name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StandardCommunity(pub u32);

impl StandardCommunity {
    /// Not to leave the autonomous system (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// Not to be advertised at all (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not to be advertised to external peers (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// Kept beyond graceful restart; least preferred (RFC 9494).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// Not to be kept beyond graceful restart (RFC 9494).
    pub const NO_LLGR: Self = Self(0xffff_0007);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::NO_EXPORT, "no-export"),
        (Self::NO_ADVERTISE, "no-advertise"),
        (Self::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
        (Self::LLGR_STALE, "llgr-stale"),
        (Self::NO_LLGR, "no-llgr"),
    ];
}

impl fmt::Display for StandardCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(known, _)| known == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// A large community: `global:local1:local2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LargeCommunity(pub [u32; 3]);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [global, first, second] = self.0;
        write!(f, "{global}:{first}:{second}")
    }
}

/// An extended community: eight octets that are passed on as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", u64::from_be_bytes(self.0))
    }
}

/// A community that a policy may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Community {
    /// Of two numbers.
    Standard(StandardCommunity),
    /// Of three numbers.
    Large(LargeCommunity),
}

impl FromStr for Community {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let named = StandardCommunity::NAMES
            .iter()
            .find(|(_, name)| *name == text);
        if let Some((community, _)) = named {
            return Ok(Self::Standard(*community));
        }
        let error = || ParseError::new(text, "a community like 65000:1 or 65000:1:2");
        let numbers: Vec<u32> = text
            .split(':')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| error())?;
        match numbers[..] {
            [high, low] if high <= 0xffff && low <= 0xffff => {
                Ok(Self::Standard(StandardCommunity(high << 16 | low)))
            }
            [global, first, second] => Ok(Self::Large(LargeCommunity([global, first, second]))),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(community) => community.fmt(f),
            Self::Large(community) => community.fmt(f),
        }
    }
}

impl TryFrom<String> for StandardCommunity {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        match text.parse()? {
            Community::Standard(community) => Ok(community),
            Community::Large(_) => Err(ParseError::new(&text, "a standard community")),
        }
    }
}

impl TryFrom<String> for LargeCommunity {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        match text.parse()? {
            Community::Large(community) => Ok(community),
            Community::Standard(_) => Err(ParseError::new(&text, "a large community")),
        }
    }
}

impl TryFrom<String> for Community {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

/// A community as its text.
macro_rules! into_string {
    ($($kind:ty),*) => {$(
        impl From<$kind> for String {
            fn from(community: $kind) -> Self {
                community.to_string()
            }
        }
    )*};
}
into_string!(StandardCommunity, LargeCommunity, Community);
