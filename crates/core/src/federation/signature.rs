//! The signature of a batch: everything that decides what the receiver does with it is covered.
//!
//! `node-key` is Ed25519 (RFC 8032) with the node's own key, `hmac` is HMAC-SHA-256 (RFC 2104) with a secret that
//! the whole group shares. Several keys may be valid for one sender while keys rotate.

use std::fmt;

use api::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Separates these signatures from any other use of the same key.
const DOMAIN: &[u8] = b"routerd-event-batch-v1";

/// A batch on its way, as it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// HTTP path.
    pub path: &'a str,
    /// The `EventGroup`.
    pub group: &'a str,
    /// Who signs.
    pub sender: &'a str,
    /// For whom; a batch for one node is worth nothing to another.
    pub recipient: &'a str,
    /// When it was signed.
    pub timestamp: Timestamp,
    /// Unique for each message of this sender.
    pub nonce: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl Envelope<'_> {
    /// The bytes that are signed: each field after its length as 64 bits big endian, so that no two envelopes
    /// give the same bytes. The body stands for itself by its SHA-256.
    fn signing_input(&self) -> Vec<u8> {
        let time = self.timestamp.as_millis().to_be_bytes();
        let digest = Sha256::digest(self.body);
        let texts = [
            self.method,
            self.path,
            self.group,
            self.sender,
            self.recipient,
            self.nonce,
        ];
        let fields = texts
            .iter()
            .map(|t| t.as_bytes())
            .chain([&time[..], &digest[..]]);
        let mut input = DOMAIN.to_vec();
        for field in fields {
            input.extend((field.len() as u64).to_be_bytes());
            input.extend(field);
        }
        input
    }
}

/// What a node signs with. It never prints.
#[derive(Clone)]
pub enum Signer {
    /// The node's own key.
    NodeKey(Box<SigningKey>),
    /// The group's shared secret.
    Hmac(Vec<u8>),
}

impl Signer {
    /// A signer with this Ed25519 seed.
    pub fn node_key(seed: &[u8; 32]) -> Self {
        Self::NodeKey(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The public key, of a node key.
    pub fn public_key(&self) -> Option<NodePublicKey> {
        match self {
            Self::NodeKey(key) => Some(NodePublicKey(key.verifying_key())),
            Self::Hmac(_) => None,
        }
    }

    /// The signature as it travels: `ed25519=BASE64` or `hmac-sha256=BASE64`.
    pub fn sign(&self, envelope: &Envelope<'_>) -> String {
        let input = envelope.signing_input();
        match self {
            Self::NodeKey(key) => {
                format!("ed25519={}", STANDARD.encode(key.sign(&input).to_bytes()))
            }
            Self::Hmac(secret) => format!(
                "hmac-sha256={}",
                STANDARD.encode(mac(secret, &input).finalize().into_bytes())
            ),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(redacted)")
    }
}

/// An Ed25519 public key; prints as base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePublicKey(VerifyingKey);

impl std::str::FromStr for NodePublicKey {
    type Err = BadPublicKey;

    fn from_str(text: &str) -> Result<Self, BadPublicKey> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| BadPublicKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| BadPublicKey)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| BadPublicKey)?;
        if key.is_weak() {
            Err(BadPublicKey)
        } else {
            Ok(Self(key))
        }
    }
}

impl fmt::Display for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0.as_bytes()))
    }
}

/// A text is not an Ed25519 public key, or it is one of the few that verify anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key (44 characters of base64)")]
pub struct BadPublicKey;

/// What a sender's signatures are checked against; two of a kind while keys rotate.
#[derive(Clone)]
pub enum Verifier {
    /// The sender's own keys.
    NodeKeys(Vec<NodePublicKey>),
    /// The group's secrets.
    Hmac(Vec<Vec<u8>>),
}

impl Verifier {
    /// Whether any of the keys made this signature. A signature of the other kind never fits.
    pub fn verifies(&self, envelope: &Envelope<'_>, signature: &str) -> bool {
        let input = envelope.signing_input();
        match (self, signature.split_once('=')) {
            (Self::NodeKeys(keys), Some(("ed25519", text))) => {
                let Some(signature) =
                    decode(text).and_then(|b| ed25519_dalek::Signature::from_slice(&b).ok())
                else {
                    return false;
                };
                keys.iter()
                    .any(|key| key.0.verify_strict(&input, &signature).is_ok())
            }
            (Self::Hmac(secrets), Some(("hmac-sha256", text))) => {
                let Some(tag) = decode(text) else {
                    return false;
                };
                secrets
                    .iter()
                    .any(|secret| mac(secret, &input).verify_slice(&tag).is_ok())
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeKeys(keys) => f.debug_tuple("NodeKeys").field(keys).finish(),
            Self::Hmac(secrets) => write!(f, "Hmac({} secrets)", secrets.len()),
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn mac(secret: &[u8], input: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.chain_update(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope<'static> {
        Envelope {
            method: "POST",
            path: "/v1/events",
            group: "cloudedge",
            sender: "onprem-router",
            recipient: "cloud-router",
            timestamp: Timestamp::from_millis(1_780_191_055_000),
            nonce: "n1",
            body: b"{}",
        }
    }

    #[test]
    fn every_field_is_covered() {
        let good = envelope();
        let changed = [
            Envelope {
                method: "PUT",
                ..good
            },
            Envelope {
                path: "/v1/event",
                ..good
            },
            Envelope {
                group: "other",
                ..good
            },
            Envelope {
                sender: "rogue",
                ..good
            },
            Envelope {
                recipient: "azure-router",
                ..good
            },
            Envelope {
                timestamp: good.timestamp.plus_millis(1),
                ..good
            },
            Envelope {
                nonce: "n2",
                ..good
            },
            Envelope {
                body: b"[]",
                ..good
            },
            // The same bytes with the border between two fields moved.
            Envelope {
                sender: "onprem-routerc",
                recipient: "loud-router",
                ..good
            },
        ];
        let node = Signer::node_key(&[7; 32]);
        let both = [
            (
                Verifier::NodeKeys(vec![node.public_key().expect("public key")]),
                node,
            ),
            (
                Verifier::Hmac(vec![b"shared".to_vec()]),
                Signer::Hmac(b"shared".to_vec()),
            ),
        ];
        for (verifier, signer) in both {
            let signature = signer.sign(&good);
            assert!(verifier.verifies(&good, &signature));
            for other in &changed {
                assert!(!verifier.verifies(other, &signature), "{other:?}");
            }
        }
    }

    #[test]
    fn a_key_rotates_with_two_valid_at_once() {
        let (old, new) = (Signer::node_key(&[1; 32]), Signer::node_key(&[2; 32]));
        let both = Verifier::NodeKeys(vec![
            old.public_key().expect("key"),
            new.public_key().expect("key"),
        ]);
        for signer in [&old, &new] {
            assert!(both.verifies(&envelope(), &signer.sign(&envelope())));
        }
        let only_new = Verifier::NodeKeys(vec![new.public_key().expect("key")]);
        assert!(!only_new.verifies(&envelope(), &old.sign(&envelope())));
    }

    #[test]
    fn kinds_do_not_mix_and_garbage_is_refused() {
        let node = Signer::node_key(&[7; 32]);
        let public = node.public_key().expect("key");
        let hmac = Verifier::Hmac(vec![public.0.as_bytes().to_vec()]);
        assert!(!hmac.verifies(&envelope(), &node.sign(&envelope())));
        let verifier = Verifier::NodeKeys(vec![public]);
        for garbage in [
            "",
            "ed25519",
            "ed25519=",
            "ed25519=AAAA",
            "rsa=AAAA",
            "ed25519=ÿ",
        ] {
            assert!(!verifier.verifies(&envelope(), garbage), "{garbage}");
        }
    }

    #[test]
    fn weak_keys_are_no_keys() {
        let zero = STANDARD.encode([0u8; 32]);
        assert_eq!(zero.parse::<NodePublicKey>(), Err(BadPublicKey));
    }
}
