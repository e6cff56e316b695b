//! What is to be done.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::MobileAddress;
use crate::time::Timestamp;

/// A change of a cloud's network. Inert until a `ProviderActionPolicy` admits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionPlan {
    /// What people call it.
    pub name: String,
    /// Which cloud; the executor is the plugin `<provider>-executor`.
    pub provider: ProviderName,
    /// `metadata.name` of the `CloudProviderProfile`.
    pub provider_ref: String,
    /// What to do.
    pub action: Verb,
    /// To what.
    pub target: Target,
    /// How.
    #[serde(default, skip_serializing_if = "Parameters::is_default")]
    pub parameters: Parameters,
    /// How much an operator should think before approving.
    #[serde(default)]
    pub risk_level: RiskLevel,
    /// Names the intent: with [`Self::generation`] it makes importing idempotent.
    pub idempotency_key: String,
    /// Counts how often the intent went away and came back. A newer generation supersedes an older one that
    /// was not carried out.
    #[serde(default = "first_generation")]
    pub generation: u64,
    /// What must hold when its turn comes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preconditions: Vec<Precondition>,
    /// Facts that the executor must observe afterwards, or the action has failed.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub expected_effects: Facts,
    /// Whether it can be taken back.
    #[serde(default)]
    pub undo: Undo,
    /// The routing decision it follows: if that has changed when its turn comes, it is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

fn first_generation() -> u64 {
    1
}

/// What an executor can do. Every verb is idempotent: already so is success without a change.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Lets the NIC send and receive packets of other addresses (source/destination check off).
    EnsureForwardingEnabled,
    /// The opposite.
    EnsureForwardingDisabled,
    /// Makes the address a secondary private IP of the NIC.
    AssignSecondaryIp,
    /// Takes it from the NIC.
    UnassignSecondaryIp,
    /// Makes the route table send the address to the NIC.
    #[serde(alias = "assign-route-table-route")]
    EnsureRoute,
    /// Removes that route.
    #[serde(alias = "unassign-route-table-route")]
    RemoveRoute,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 6] = [
        Self::EnsureForwardingEnabled,
        Self::EnsureForwardingDisabled,
        Self::AssignSecondaryIp,
        Self::UnassignSecondaryIp,
        Self::EnsureRoute,
        Self::RemoveRoute,
    ];

    /// The verb as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EnsureForwardingEnabled => "ensure-forwarding-enabled",
            Self::EnsureForwardingDisabled => "ensure-forwarding-disabled",
            Self::AssignSecondaryIp => "assign-secondary-ip",
            Self::UnassignSecondaryIp => "unassign-secondary-ip",
            Self::EnsureRoute => "ensure-route",
            Self::RemoveRoute => "remove-route",
        }
    }

    /// Whether it is about one address ([`Target::address`]); otherwise about the NIC as a whole.
    pub fn takes_address(self) -> bool {
        !matches!(
            self,
            Self::EnsureForwardingEnabled | Self::EnsureForwardingDisabled
        )
    }

    /// Whether it changes a route table ([`Target::route_table_ref`]).
    pub fn takes_route_table(self) -> bool {
        matches!(self, Self::EnsureRoute | Self::RemoveRoute)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text names no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action")]
pub struct VerbError(String);

impl FromStr for Verb {
    type Err = VerbError;

    fn from_str(text: &str) -> Result<Self, VerbError> {
        match text {
            "assign-route-table-route" => Ok(Self::EnsureRoute),
            "unassign-route-table-route" => Ok(Self::RemoveRoute),
            _ => Self::ALL
                .into_iter()
                .find(|verb| verb.as_str() == text)
                .ok_or_else(|| VerbError(text.to_owned())),
        }
    }
}

/// A cloud: 1 to 32 lower-case letters, digits and dashes (`aws`, `azure`, `oci`, `gcp`).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ProviderName(String);

/// A text names no provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a provider (1 to 32 lower-case letters, digits and dashes)")]
pub struct ProviderNameError(String);

impl ProviderName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plugin that changes this cloud.
    pub fn executor(&self) -> String {
        format!("{}-executor", self.0)
    }
}

impl TryFrom<String> for ProviderName {
    type Error = ProviderNameError;

    fn try_from(text: String) -> Result<Self, ProviderNameError> {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=32).contains(&text.len()) && text.chars().all(letters) {
            Ok(Self(text))
        } else {
            Err(ProviderNameError(text))
        }
    }
}

impl FromStr for ProviderName {
    type Err = ProviderNameError;

    fn from_str(text: &str) -> Result<Self, ProviderNameError> {
        text.to_owned().try_into()
    }
}

impl From<ProviderName> for String {
    fn from(name: ProviderName) -> Self {
        name.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an action changes.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The router's NIC in the provider's own form (an ARM id, an ENI id …); absent: the executor finds the NIC
    /// of the machine it runs on through the metadata service. For a route it is the next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic_ref: Option<String>,
    /// The route table in the provider's own form; absent: the one of the NIC's subnet. Only for routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_table_ref: Option<String>,
    /// The address. Needed for addresses and routes, refused for forwarding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<MobileAddress>,
}

/// How an action is to be done, beyond its target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// What to call the new ip-configuration or route, where the cloud names them; absent: derived from the
    /// address, always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The next hop address of a route; absent: the NIC's primary address. Only for routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Ipv4Addr>,
    /// The NICs of the routers that share the capture with this one: the address may be taken from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_group: Vec<String>,
    /// The address may be taken from any NIC.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_reassignment: bool,
}

impl Parameters {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How much an operator should think before approving. It is shown, never consulted.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// Adds something of our own.
    #[default]
    Low,
    /// Changes how a NIC or a subnet forwards.
    Medium,
    /// Takes something from somebody else.
    High,
}

/// Whether an action can be taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// By restoring the facts observed before the first change.
    #[default]
    RestorePrior,
    /// Never.
    None,
}

/// What must hold when an action's turn comes. Until it does the action waits, whatever the condition is; only
/// what can never hold again ([`Self::NotAfter`]) ends the waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Precondition {
    /// The newest action with this key has succeeded.
    ActionSucceeded {
        /// Its key.
        idempotency_key: String,
    },
    /// It is this late.
    NotBefore {
        /// Not before this point.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// It is not later than this; afterwards the action is skipped.
    NotAfter {
        /// Not after this point.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// The executor observes this fact before the first change; looked at again with every run until it does.
    Fact {
        /// Its name.
        name: String,
        /// The value it must have.
        equals: String,
    },
}

/// The routing decision that an action follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// What was decided about: usually the address.
    pub subject: String,
    /// Who holds it.
    pub holder: String,
    /// Digest of the path that was chosen.
    pub signature: String,
    /// Counts the decisions about this subject.
    pub generation: u64,
}

/// Facts by name in camelCase: `ipForwarding=false`.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Facts(pub BTreeMap<String, String>);

impl Facts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fact of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Adds or replaces a fact.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// The same facts named as what was true before: `ipForwarding` becomes `priorIpForwarding`.
    #[must_use]
    pub fn as_prior(&self) -> Self {
        let prior = |name: &String| {
            let mut rest = name.chars();
            let first = rest.next().into_iter().flat_map(char::to_uppercase);
            "prior".chars().chain(first).chain(rest).collect()
        };
        Self(
            self.0
                .iter()
                .map(|(name, value)| (prior(name), value.clone()))
                .collect(),
        )
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        f.pad(&facts.join(" "))
    }
}

/// Why a plan is refused for its shape alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A field that must not be empty is.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A field is there that this action has no use for.
    #[error("{verb} takes no {field}")]
    Useless {
        /// The action.
        verb: Verb,
        /// The field.
        field: &'static str,
    },
    /// A field is missing.
    #[error("{verb} needs {field}")]
    Missing {
        /// The action.
        verb: Verb,
        /// The field.
        field: &'static str,
    },
}

impl ActionPlan {
    /// Checks what the types cannot: the fields that this action needs and those it has no use for.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        for (field, text) in [
            ("name", &self.name),
            ("providerRef", &self.provider_ref),
            ("idempotencyKey", &self.idempotency_key),
        ] {
            if text.trim().is_empty() {
                return Err(PlanError::Empty(field));
            }
        }
        let verb = self.action;
        if verb.takes_address() && self.target.address.is_none() {
            return Err(PlanError::Missing {
                verb,
                field: "target.address",
            });
        }
        let parameters = &self.parameters;
        let assigns = verb == Verb::AssignSecondaryIp;
        let creates = assigns || verb == Verb::EnsureRoute;
        let useless = [
            (
                "target.address",
                !verb.takes_address() && self.target.address.is_some(),
            ),
            (
                "target.routeTableRef",
                !verb.takes_route_table() && self.target.route_table_ref.is_some(),
            ),
            ("parameters.name", !creates && parameters.name.is_some()),
            (
                "parameters.nextHop",
                verb != Verb::EnsureRoute && parameters.next_hop.is_some(),
            ),
            (
                "parameters.placementGroup",
                !assigns && !parameters.placement_group.is_empty(),
            ),
            (
                "parameters.allowReassignment",
                !creates && parameters.allow_reassignment,
            ),
        ];
        match useless.into_iter().find(|(_, wrong)| *wrong) {
            Some((field, _)) => Err(PlanError::Useless { verb, field }),
            None => Ok(()),
        }
    }
}
