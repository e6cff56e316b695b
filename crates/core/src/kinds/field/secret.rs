//! Keys.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::{Complaint, TextField};
use crate::federation::signature::NodePublicKey;
use crate::key::{PublicKey, SecretKey};

impl TextField for PublicKey {
    const FORMAT: &'static str = "wireguard-public-key";
    const WHAT: &'static str = "a WireGuard public key (44 characters of base64)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let key: Self = text.parse().map_err(|_| {
            Complaint::not::<Self>("bad-key", text)
                .hint("`wg pubkey` prints it; `routerctl describe` shows the one of a router")
        })?;
        if key.0 == [0; 32] {
            return Err(Complaint::not::<Self>("bad-key", text).hint("all its bits are zero"));
        }
        Ok(key)
    }
}

impl TextField for NodePublicKey {
    const FORMAT: &'static str = "node-public-key";
    const WHAT: &'static str = "the public key of a node (44 characters of base64)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|_| {
            Complaint::not::<Self>("bad-key", text)
                .hint("`routerctl get eventgroups` shows the one of a node")
        })
    }
}

/// A private key that stands in the configuration. It is never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InlineKey(pub(crate) SecretKey);

impl TextField for InlineKey {
    const FORMAT: &'static str = "wireguard-private-key";
    const WHAT: &'static str = "a WireGuard private key (44 characters of base64)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map(Self).map_err(|_| Complaint {
            id: "bad-key",
            message: format!("what stands here is not {}", Self::WHAT),
            hint: Some(
                "`wg genkey` makes one; `privateKeyFile` keeps it out of this file".to_owned(),
            ),
        })
    }
}

impl<'de> Deserialize<'de> for InlineKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|complaint| serde::de::Error::custom(complaint.message))
    }
}

impl JsonSchema for InlineKey {
    fn schema_name() -> Cow<'static, str> {
        Self::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "x-secret": true })
    }
}
