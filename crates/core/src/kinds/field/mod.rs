//! The texts that fields hold: one type each, whose parser is the check.
//!
//! [`Text<T>`] lends a type its place in the JSON Schema (as a `format`) and in `serde`; the walker runs the
//! same parser through [`format`], so that every bad text is reported, not only the first.

mod address;
mod dynamic;
mod endpoint;
mod name;
mod number;
mod secret;
mod time;
mod word;

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

pub(crate) use address::{AllowedIp, InterfaceAddress, OverlayAddress, host_range};
pub(crate) use dynamic::{HardwareAddress, SourceName, Topic};
pub(crate) use endpoint::HttpUrl;
pub(crate) use name::{AbsolutePath, CloudName, Reference, ResourceName, SubscriptionId};
pub(crate) use number::{RouteTable, Seconds};
pub(crate) use secret::InlineKey;
pub(crate) use time::Span;
pub(crate) use word::{Capability, Cloud, Side};

/// In a field's `x-reference`: the name of an interface of the kernel will do as well.
pub(crate) const KERNEL_INTERFACE: &str = "(kernel interface)";

/// A type that is written as text.
pub(crate) trait TextField: Sized {
    /// The `format` in the JSON Schema.
    const FORMAT: &'static str;
    /// What a person calls it, with an article.
    const WHAT: &'static str;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Complaint>;
}

/// What is wrong with a text.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// Diagnostic id.
    pub(crate) id: &'static str,
    /// A fragment that quotes the text, unless it is a secret.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: Option<String>,
}

impl Complaint {
    /// `… is not …`.
    pub(crate) fn not<T: TextField>(id: &'static str, text: &str) -> Self {
        Self {
            id,
            message: format!("`{}` is not {}", shorten(text), T::WHAT),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A format by name.
#[derive(Debug)]
pub(crate) struct Format {
    /// The `format` in the JSON Schema.
    pub(crate) name: &'static str,
    /// What a person calls it.
    pub(crate) what: &'static str,
    /// The check.
    pub(crate) check: fn(&str) -> Result<(), Complaint>,
}

const fn entry<T: TextField>() -> Format {
    Format {
        name: T::FORMAT,
        what: T::WHAT,
        check: |text| T::parse(text).map(drop),
    }
}

const FORMATS: &[Format] = &[
    entry::<AbsolutePath>(),
    entry::<AllowedIp>(),
    entry::<CloudName>(),
    entry::<HardwareAddress>(),
    entry::<HttpUrl>(),
    entry::<InlineKey>(),
    entry::<InterfaceAddress>(),
    entry::<OverlayAddress>(),
    entry::<Reference>(),
    entry::<ResourceName>(),
    entry::<RouteTable>(),
    entry::<Seconds>(),
    entry::<SourceName>(),
    entry::<Span>(),
    entry::<SubscriptionId>(),
    entry::<Topic>(),
    entry::<crate::action::policy::TimeOfDay>(),
    entry::<crate::kinds::bgp::CommunityText>(),
    entry::<crate::kinds::bgp::PasswordText>(),
    entry::<crate::kinds::bgp::Watched>(),
    entry::<api::IfName>(),
    entry::<api::MobileAddress>(),
    entry::<crate::federation::signature::NodePublicKey>(),
    entry::<api::time::Timestamp>(),
    entry::<crate::dynamic::Digest>(),
    entry::<crate::key::PublicKey>(),
    entry::<ipnet::Ipv4Net>(),
    entry::<std::net::IpAddr>(),
    entry::<std::net::Ipv4Addr>(),
    entry::<std::net::SocketAddr>(),
];

/// Finds a format.
pub(crate) fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// A text field of a specification.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T> Deref for Text<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, T: TextField> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        T::parse(&text)
            .map(Self)
            .map_err(|complaint| serde::de::Error::custom(complaint.message))
    }
}

impl<T: TextField> JsonSchema for Text<T> {
    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": T::FORMAT })
    }
}

/// The text as far as it fits into a message.
fn shorten(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 80;
    let visible = |c: char| !c.is_control();
    if text.chars().count() <= LONGEST && text.chars().all(visible) {
        return text.into();
    }
    let mut short: String = text.chars().filter(|c| visible(*c)).take(LONGEST).collect();
    short.push('…');
    short.into()
}
