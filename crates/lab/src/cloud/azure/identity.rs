//! Principals and their tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use super::site::Site;
use crate::cloud::Request;

/// Object id of the operator, who owns the subscription.
pub const OPERATOR: &str = "00000000-0000-0000-00b1-000000000001";
/// A token in use.
#[derive(Debug, Clone)]
struct Token {
    principal: String,
    expires: Duration,
}

/// Everybody, and the tokens they have. Tokens are opaque to us: what counts is this table.
#[derive(Debug)]
pub(super) struct Identities {
    secret: [u8; 32],
    epoch: u64,
    tenant: String,
    lifetime: Duration,
    /// Client id and resource id by object id.
    known: BTreeMap<String, (String, String)>,
    tokens: BTreeMap<String, Token>,
    issued: u64,
}

impl Identities {
    pub(super) fn new(site: &Site, secret: [u8; 32]) -> Self {
        let known = site
            .machines
            .values()
            .map(|machine| {
                let names = (machine.client_id.clone(), site.machine_id(&machine.name));
                (machine.principal.clone(), names)
            })
            .collect();
        Self {
            secret,
            epoch: site.epoch,
            tenant: site.tenant.clone(),
            lifetime: site.token_lifetime,
            known,
            tokens: BTreeMap::new(),
            issued: 0,
        }
    }

    /// The time in tokens, in seconds since 1970.
    pub(super) fn unix(&self, time: Duration) -> u64 {
        self.epoch + time.as_secs()
    }

    /// How long tokens live.
    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// A new token: a JSON Web Token in shape, so that clients can read who they are.
    pub(super) fn issue(&mut self, principal: &str, now: Duration) -> String {
        self.issued += 1;
        let expires = now + self.lifetime;
        let (client_id, resource) = self.known.get(principal).cloned().unwrap_or_default();
        let claims = json!({
            "aud": "https://management.azure.com/",
            "iss": format!("https://sts.windows.net/{}/", self.tenant),
            "iat": self.unix(now),
            "nbf": self.unix(now),
            "exp": self.unix(expires),
            "appid": client_id,
            "oid": principal,
            "sub": principal,
            "tid": self.tenant,
            "idtyp": "app",
            "xms_mirid": resource,
        });
        let mut digest = Sha256::new();
        digest.update(self.secret);
        digest.update(self.issued.to_be_bytes());
        let header = json!({"typ": "JWT", "alg": "none"});
        let token = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
            URL_SAFE_NO_PAD.encode(digest.finalize()),
        );
        let entry = Token {
            principal: principal.to_owned(),
            expires,
        };
        self.tokens.insert(token.clone(), entry);
        token
    }

    /// The newest token of a principal that lives on for five minutes, as the metadata service hands out the
    /// same one again and again; else a new one.
    pub(super) fn token(&mut self, principal: &str, now: Duration) -> (String, Duration) {
        let fresh = now + Duration::from_secs(300).min(self.lifetime / 2);
        let found = self
            .tokens
            .iter()
            .filter(|(_, token)| token.principal == principal && token.expires > fresh)
            .max_by_key(|(_, token)| token.expires)
            .map(|(text, token)| (text.clone(), token.expires));
        found.unwrap_or_else(|| (self.issue(principal, now), now + self.lifetime))
    }

    /// Every token issued so far.
    pub(super) fn issued(&self) -> Vec<String> {
        self.tokens.keys().cloned().collect()
    }

    /// Every token issued so far is no good any more.
    pub(super) fn expire_all(&mut self, now: Duration) {
        for token in self.tokens.values_mut() {
            token.expires = token.expires.min(now);
        }
    }

    /// Who sends a request.
    pub(super) fn principal(&self, request: &Request, now: Duration) -> Result<String, Refusal> {
        let Some(header) = request.header("authorization") else {
            return Err(Refusal::new(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            ));
        };
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.tokens.get(token.trim()));
        match token {
            None => Err(Refusal::new(
                401,
                "InvalidAuthenticationToken",
                "The access token is invalid.",
            )),
            Some(token) if token.expires <= now => Err(Refusal::new(
                401,
                "ExpiredAuthenticationToken",
                format!(
                    "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
                    self.unix(token.expires),
                    self.unix(now)
                ),
            )),
            Some(token) => Ok(token.principal.clone()),
        }
    }
}
