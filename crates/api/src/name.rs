//! Newtypes whose construction is the check: nothing downstream validates them again.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// A network interface name that Linux takes as it is: 1 to 15 bytes, no slash, no colon, no white space, no `%` (a
/// pattern for the kernel), not `.` or `..`, nor `all` or `default` (which mean every interface to `sysctl`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// The longest name the kernel stores (`IFNAMSIZ` less the terminating zero).
    pub const MAX_LEN: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a valid name or address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an interface name.
    #[error("`{0}` is not an interface name (1 to 15 characters, no slash, colon or white space)")]
    IfName(String),
    /// Not an IPv4 host address.
    #[error("`{0}` is not an IPv4 host address (A.B.C.D or A.B.C.D/32)")]
    MobileAddress(String),
}

impl TryFrom<String> for IfName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let valid = !text.is_empty()
            && text.len() <= Self::MAX_LEN
            && ![".", "..", "all", "default"].contains(&text.as_str())
            && !text.contains(|c: char| {
                matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control()
            });
        if valid {
            Ok(Self(text))
        } else {
            Err(NameError::IfName(text))
        }
    }
}

impl FromStr for IfName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.to_owned().try_into()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An IPv4 address that moves between sites: always a host route, never a prefix.
///
/// Reads `A.B.C.D` and `A.B.C.D/32`; prints `A.B.C.D/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MobileAddress(Ipv4Addr);

impl MobileAddress {
    /// The address itself.
    pub fn addr(self) -> Ipv4Addr {
        self.0
    }

    /// The address as a `/32`.
    pub fn host_route(self) -> Ipv4Net {
        Ipv4Net::from(self.0)
    }
}

impl From<Ipv4Addr> for MobileAddress {
    fn from(addr: Ipv4Addr) -> Self {
        Self(addr)
    }
}

impl FromStr for MobileAddress {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let host = text.strip_suffix("/32").unwrap_or(text);
        host.parse()
            .map(Self)
            .map_err(|_| NameError::MobileAddress(text.to_owned()))
    }
}

impl TryFrom<String> for MobileAddress {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MobileAddress> for String {
    fn from(address: MobileAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MobileAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/32", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["eth0", "wg-hybrid", "ens21", "a", "exactly-15-char"] {
            assert!(good.parse::<IfName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "all",
            "default",
            "wg%d",
            "a/b",
            "a b",
            "a:1",
            "sixteen-chars-xx",
        ] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn mobile_addresses_are_hosts() {
        let a: MobileAddress = "10.77.60.9".parse().expect("host");
        assert_eq!(a, "10.77.60.9/32".parse().expect("host route"));
        assert_eq!(a.to_string(), "10.77.60.9/32");
        assert!("10.77.60.0/24".parse::<MobileAddress>().is_err());
        assert!("10.77.60".parse::<MobileAddress>().is_err());
    }
}
