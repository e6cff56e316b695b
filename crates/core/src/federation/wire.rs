//! A batch on the wire: six header fields beside the body, the same over HTTP and over NATS.

use api::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::receive::{Outcome, Refusal};
use super::signature::{Envelope, Signer};

/// The method of every message, also over a transport that has none.
pub const METHOD: &str = "POST";
/// The path of every message.
pub const PATH: &str = "/v1/events";

/// The longest name, nonce or signature, in bytes.
const MAX_FIELD: usize = 256;

/// Everything about a message but its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The `EventGroup`.
    pub group: String,
    /// Who signed it.
    pub sender: String,
    /// For whom it is.
    pub recipient: String,
    /// When it was signed.
    pub timestamp: Timestamp,
    /// Unique for each message of this sender.
    pub nonce: String,
    /// The signature.
    pub signature: String,
}

impl Head {
    /// The names of the fields, in the order of [`Self::values`].
    pub const NAMES: [&str; 6] = [
        "routerd-group",
        "routerd-sender",
        "routerd-recipient",
        "routerd-timestamp",
        "routerd-nonce",
        "routerd-signature",
    ];

    /// Signs a body. `nonce` is unique for each message of this sender.
    pub fn sign(
        signer: &Signer,
        address: &Address<'_>,
        timestamp: Timestamp,
        nonce: String,
        body: &[u8],
    ) -> Self {
        let mut head = Self {
            group: address.group.to_owned(),
            sender: address.sender.to_owned(),
            recipient: address.recipient.to_owned(),
            timestamp,
            nonce,
            signature: String::new(),
        };
        head.signature = signer.sign(&head.envelope(body));
        head
    }

    /// Reads the fields of a message.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if one is missing, too long, or no point in time.
    pub fn read<'h>(field: impl Fn(&str) -> Option<&'h str>) -> Result<Self, Refusal> {
        let read = |name| {
            let text = field(name).filter(|text| !text.is_empty() && text.len() <= MAX_FIELD);
            text.map(str::to_owned).ok_or(Refusal::Malformed)
        };
        let [group, sender, recipient, timestamp, nonce, signature] = Self::NAMES;
        Ok(Self {
            group: read(group)?,
            sender: read(sender)?,
            recipient: read(recipient)?,
            timestamp: read(timestamp)?.parse().map_err(|_| Refusal::Malformed)?,
            nonce: read(nonce)?,
            signature: read(signature)?,
        })
    }

    /// The fields as they travel.
    pub fn values(&self) -> [String; 6] {
        [
            self.group.clone(),
            self.sender.clone(),
            self.recipient.clone(),
            self.timestamp.to_string(),
            self.nonce.clone(),
            self.signature.clone(),
        ]
    }

    /// What is signed.
    pub fn envelope<'a>(&'a self, body: &'a [u8]) -> Envelope<'a> {
        Envelope {
            method: METHOD,
            path: PATH,
            group: &self.group,
            sender: &self.sender,
            recipient: &self.recipient,
            timestamp: self.timestamp,
            nonce: &self.nonce,
            body,
        }
    }
}

/// From whom to whom.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// The `EventGroup`.
    pub group: &'a str,
    /// Who signs.
    pub sender: &'a str,
    /// For whom.
    pub recipient: &'a str,
}

/// The answer to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// What became of each event, in order. Status 200, or 409 if one of them is known with other content.
    Outcomes(Vec<Outcome>),
    /// The name of the reason to refuse the whole message, and what it means.
    Refused {
        /// As in the counters.
        reason: String,
        /// For people.
        message: String,
    },
}

impl Reply {
    /// The answer to an accepted batch and its status.
    pub fn accepted(outcomes: Vec<Outcome>) -> (u16, Self) {
        let conflict = outcomes.contains(&Outcome::Conflict);
        (if conflict { 409 } else { 200 }, Self::Outcomes(outcomes))
    }

    /// The answer to a refused message and its status.
    pub fn refused(refusal: Refusal) -> (u16, Self) {
        let reason = refusal.counter().to_owned();
        let message = refusal.to_string();
        (refusal.status(), Self::Refused { reason, message })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn head() -> Head {
        let address = Address {
            group: "cloudedge",
            sender: "onprem",
            recipient: "cloud",
        };
        let now = Timestamp::from_millis(1_780_191_055_123);
        Head::sign(
            &Signer::node_key(&[1; 32]),
            &address,
            now,
            "n1".into(),
            b"{}",
        )
    }

    #[test]
    fn a_head_travels_unchanged() {
        let values = head().values();
        let fields: BTreeMap<_, _> = Head::NAMES.into_iter().zip(&values).collect();
        let read = Head::read(|name| fields.get(name).map(|text| text.as_str()));
        assert_eq!(read, Ok(head()));
    }

    #[test]
    fn a_field_that_is_missing_or_too_long_is_malformed() {
        let values = head().values();
        let long = "x".repeat(MAX_FIELD + 1);
        for bad in Head::NAMES {
            for replaced in [None, Some(""), Some(long.as_str())] {
                let fields = Head::NAMES.into_iter().zip(&values);
                let fields: BTreeMap<_, _> = fields.map(|(n, v)| (n, v.as_str())).collect();
                let read = Head::read(|name| match name == bad {
                    true => replaced,
                    false => fields.get(name).copied(),
                });
                assert_eq!(read, Err(Refusal::Malformed), "{bad}");
            }
        }
    }
}
