//! The instance metadata service: which machine this is, and its NIC.

use std::time::Duration;

use api::action::ErrorClass;
use serde_json::Value;

use super::arm::Arm;
use super::id::ArmId;
use super::resource::Nic;
use crate::executor::Session;
use crate::fault::Fault;
use crate::http::client::{Client, Reply};
use crate::http::{Method, Request, Response};

/// Overrides the service's address, as in Azure's own clients.
const OVERRIDE: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
/// Where the service is on every Azure machine.
const SERVICE: &str = "http://169.254.169.254";
/// How long the service is given: it is on this host and answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// The service itself: one request, no identity.
pub(super) struct MetadataService<'a> {
    client: Client<'a>,
    base: String,
}

impl<'a> MetadataService<'a> {
    pub(super) fn open(session: &'a Session<'a>, deadline: Duration) -> Self {
        let base = session
            .environment
            .get(OVERRIDE)
            .map_or(SERVICE, |url| url.trim_end_matches('/'))
            .to_owned();
        Self {
            client: Client::new(session.metadata, session.clock, deadline),
            base,
        }
    }

    /// One answer. The service asks for retries with 404, 410, 429 and 5xx while it starts or is updated.
    pub(super) fn get(&self, path: &str, query: &str) -> Result<Response, Fault> {
        let request = Request::new(Method::Get, format!("{}{path}?{query}", self.base))
            .header("metadata", "true");
        let begun = self.client.remaining();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let spent = begun.saturating_sub(self.client.remaining());
            match self.client.send(&request).map_err(unreachable)? {
                Reply::Lost(fault) => return Err(unreachable(fault)),
                Reply::Answered(answer)
                    if matches!(answer.status, 404 | 410) && spent < PATIENCE =>
                {
                    self.client
                        .pause(self.client.backoff(attempt), "the metadata service")?;
                }
                Reply::Answered(answer) => return Ok(answer),
            }
        }
    }
}

fn unreachable(fault: Fault) -> Fault {
    fault.context("metadata service").hint(format!(
        "this executor runs on an Azure machine with a managed identity; elsewhere set {OVERRIDE} or \
         auth.mode external-command"
    ))
}

/// What the service knows about this machine.
pub(super) struct Metadata<'a> {
    service: MetadataService<'a>,
}

impl<'a> Metadata<'a> {
    /// Prepares; nothing is asked yet.
    pub(super) fn open(session: &'a Session<'a>, deadline: Duration) -> Result<Self, Fault> {
        Ok(Self {
            service: MetadataService::open(session, deadline),
        })
    }

    /// This machine's own NIC: the one in its resource group with the hardware address of the machine's first
    /// interface. The service does not tell resource ids of NICs.
    ///
    /// # Errors
    /// When there is none, or it may not be looked for.
    pub(super) fn own_nic(&self, arm: &Arm<'_>) -> Result<ArmId, Fault> {
        let instance = self.instance()?;
        let text = |pointer: &str| instance.pointer(pointer).and_then(Value::as_str);
        let mac = text("/network/interface/0/macAddress").map(plain_mac);
        let (Some(subscription), Some(group), Some(mac)) = (
            text("/compute/subscriptionId"),
            text("/compute/resourceGroupName"),
            mac,
        ) else {
            return Err(Fault::new(
                ErrorClass::NotFound,
                "the metadata service does not say what machine this is",
            )
            .hint("name the NIC in nicRef"));
        };
        let group = arm.group_of(subscription, group);
        let nics = arm
            .list(&format!(
                "{group}/providers/Microsoft.Network/networkInterfaces"
            ))
            .map_err(|fault| fault.context("look for this machine's NIC"))?;
        let own = nics
            .into_iter()
            .map(Nic::new)
            .find(|nic| nic.mac().map(plain_mac).as_deref() == Some(&mac));
        match own {
            Some(nic) => nic.id(),
            None => Err(Fault::new(
                ErrorClass::NotFound,
                format!(
                    "no network interface in {group} has this machine's hardware address {mac}"
                ),
            )
            .hint("name the NIC in nicRef, or its group in the profile's resourceGroup")),
        }
    }

    fn instance(&self) -> Result<Value, Fault> {
        let answer = self
            .service
            .get("/metadata/instance", "api-version=2021-02-01")?;
        answer
            .json()
            .filter(|_| answer.is_success())
            .ok_or_else(|| {
                Fault::new(
                    ErrorClass::Transient,
                    format!(
                        "the metadata service answered {} about this machine",
                        answer.status
                    ),
                )
                .hint("name the NIC in nicRef")
            })
    }
}

/// `00-0D-3A-1B-C7-21`, `000D3A1BC721` and `00:0d:3a:1b:c7:21` are the same.
fn plain_mac(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_hexdigit)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// Percent-encodes what may not stand in a query value (RFC 3986 §3.4; `:` and `/` may).
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
