//! Numbers that may also be written as text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::{Complaint, TextField};

/// A number or a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u32),
    Text(String),
}

/// Seconds, from 0 to 65535: a number, or a duration such as `25s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u16);

impl TextField for Seconds {
    const FORMAT: &'static str = "seconds";
    const WHAT: &'static str = "a duration in whole seconds (25s, 2m)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = || Complaint::not::<Self>("bad-duration", text);
        let split = text.find(|c: char| !c.is_ascii_digit());
        let (digits, unit) = text.split_at(split.unwrap_or(text.len()));
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "" => return Err(complaint().hint("remove the quotes, or add a unit: `25s`")),
            "ms" => return Err(complaint().hint("WireGuard counts whole seconds")),
            _ => return Err(complaint().hint("units are s, m and h")),
        };
        let count: u16 = digits.parse().map_err(|_| complaint())?;
        count
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| complaint().hint("the longest is 65535s"))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(n) => n.try_into().map(Self).map_err(D::Error::custom),
            NumberOrText::Text(text) => {
                Self::parse(&text).map_err(|complaint| D::Error::custom(complaint.message))
            }
        }
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        Self::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "format": Self::FORMAT,
            "minimum": 0, "maximum": 65535,
        })
    }
}

/// A routing table: its number, or `main` or `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteTable(pub(crate) u32);

impl RouteTable {
    /// The table that everything goes to unless told otherwise.
    pub(crate) const MAIN: Self = Self(254);
    /// Addresses of this host: the kernel's own.
    pub(crate) const LOCAL: Self = Self(255);
}

impl TextField for RouteTable {
    const FORMAT: &'static str = "route-table";
    const WHAT: &'static str = "a routing table (its number, `main` or `default`)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text {
            "main" => Ok(Self::MAIN),
            "default" => Ok(Self(253)),
            _ if text.parse::<u32>().is_ok() => {
                Err(Complaint::not::<Self>("bad-route-table", text).hint("remove the quotes"))
            }
            _ => Err(Complaint::not::<Self>("bad-route-table", text)),
        }
    }
}

impl<'de> Deserialize<'de> for RouteTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Ok(Self(number)),
            NumberOrText::Text(text) => {
                Self::parse(&text).map_err(|complaint| D::Error::custom(complaint.message))
            }
        }
    }
}

impl JsonSchema for RouteTable {
    fn schema_name() -> Cow<'static, str> {
        Self::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "format": Self::FORMAT,
            "minimum": 1, "maximum": 4_294_967_295_u32,
        })
    }
}
