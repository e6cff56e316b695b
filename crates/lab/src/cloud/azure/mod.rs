//! Azure: Resource Manager and the instance metadata service over a fabric's state table.
//!
//! - [`site`]: what the subscription looks like; [`documents`]: its resources from the table;
//! - [`identity`]: machines, tokens; [`roles`]: who may do what; [`metadata`]: what a machine is told;
//! - [`store`]: representations with their tags; [`operation`]: long-running changes, which reach the table when
//!   they end;
//! - [`nic`], [`routes`], [`network`], [`authorization`]: the resource types.
//!
//! A change is checked against all representations when it is asked for, and reaches the packets when its
//! operation ends, as in Azure.

mod alone;
mod authorization;
mod behaviour;
mod dispatch;
mod documents;
mod error;
pub mod example;
mod identity;
mod metadata;
mod network;
mod nic;
mod operation;
mod roles;
mod routes;
mod site;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{Effect, Faults};
use super::knobs::Knobs;
use super::throttle::Bucket;
use super::{Cloud, Reply, Request, Response};
use crate::fabric::FabricState;
use behaviour::Behaviour;
use error::Refusal;
use identity::Identities;
use operation::Operations;
use store::Store;

pub use super::knobs::Exchange;
pub use identity::OPERATOR;
pub use roles::{Assignment, NETWORK_CONTRIBUTOR, OWNER, READER, Role};
pub use site::{Machine, Site};

/// One Azure subscription with one virtual network.
#[derive(Debug)]
pub struct Azure {
    site: Site,
    store: Store,
    operations: Operations,
    identities: Identities,
    roles: roles::Roles,
    knobs: Knobs,
    /// By principal and kind of request.
    buckets: BTreeMap<(String, &'static str), Bucket>,
}

/// A request of somebody known.
struct Call<'a> {
    request: &'a Request,
    principal: String,
    now: Duration,
    /// What becomes of the operation that this request starts.
    ending: operation::Ending,
}

type Answer = Result<Response, Refusal>;

impl Azure {
    /// A subscription whose network is what the table holds now. The operator owns it; machines have no role.
    /// `secret` makes tokens unguessable.
    pub fn new(site: Site, fabric: &FabricState, secret: [u8; 32]) -> Self {
        let mut roles = roles::Roles::builtin();
        roles.assignments.insert(
            "00000000-0000-0000-0000-0000000000ff".to_owned(),
            Assignment {
                principal: OPERATOR.to_owned(),
                role: OWNER.to_owned(),
                scope: site.subscription_id(),
            },
        );
        Self {
            store: documents::of(&site, fabric),
            identities: Identities::new(&site, secret),
            operations: Operations::default(),
            roles,
            knobs: Knobs::default(),
            buckets: BTreeMap::new(),
            site,
        }
    }

    /// What the subscription looks like.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Changes how it behaves.
    pub fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    /// Gives a principal a role, and names the assignment.
    pub fn assign_role(&mut self, assignment: Assignment) -> String {
        let name = |number: usize| format!("00000000-0000-0000-0001-{number:012x}");
        let mut number = self.roles.assignments.len() + 1;
        while self.roles.assignments.contains_key(&name(number)) {
            number += 1;
        }
        let name = name(number);
        self.roles.assignments.insert(name.clone(), assignment);
        name
    }

    /// Takes a role away again.
    pub fn revoke_role(&mut self, name: &str) -> bool {
        self.roles.assignments.remove(name).is_some()
    }

    /// Adds a custom role of this name (a GUID).
    pub fn define_role(&mut self, name: &str, role: Role) {
        self.roles.definitions.insert(name.to_owned(), role);
    }

    /// A token for a principal, as the directory would issue one to an operator.
    pub fn issue_token(&mut self, principal: &str, now: Duration) -> String {
        self.identities.issue(principal, now)
    }

    /// Takes every role of a principal away.
    pub fn revoke_roles(&mut self, principal: &str) {
        let assignments = &mut self.roles.assignments;
        assignments.retain(|_, assignment| assignment.principal != principal);
    }

    /// Every token issued so far: to search for where none may be.
    pub fn tokens(&self) -> Vec<String> {
        self.identities.issued()
    }

    /// The representation of a resource as a reader would see it.
    pub fn representation(&self, id: &str) -> Option<serde_json::Value> {
        self.store.render(id)
    }

    /// What can be said of NICs and route tables, as a reader would see it, by name.
    pub fn documents(&self) -> BTreeMap<String, serde_json::Value> {
        let all = ["networkInterfaces", "routeTables"]
            .into_iter()
            .flat_map(|kind| self.store.of_type(kind));
        let named = |document: &store::Document| {
            let name = document.id.rsplit('/').next().unwrap_or_default();
            (name.to_owned(), self.store.render_document(document))
        };
        all.map(named).collect()
    }

    /// What goes wrong.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.knobs.faults
    }

    /// What was asked, oldest first.
    pub fn log(&self) -> &[Exchange] {
        self.knobs.log()
    }

    /// Forgets what was asked.
    pub fn clear_log(&mut self) {
        self.knobs.clear_log();
    }

    fn answer(
        &mut self,
        fabric: &mut FabricState,
        now: Duration,
        request: &Request,
        ending: operation::Ending,
    ) -> (Option<String>, Answer) {
        if request.path.starts_with("/metadata/") {
            return (None, Ok(self.metadata(now, request)));
        }
        let principal = match self.identities.principal(request, now) {
            Ok(principal) => principal,
            Err(refusal) => return (None, Err(refusal)),
        };
        let left = match self.throttle(&principal, now, &request.method) {
            Ok(left) => left,
            Err(refusal) => return (Some(principal), Err(refusal)),
        };
        let call = Call {
            request,
            principal: principal.clone(),
            now,
            ending,
        };
        let (header, count) = left;
        let answer = self
            .dispatch(fabric, &call)
            .map(|response| response.header(header, count.to_string()));
        (Some(principal), answer)
    }

    fn throttle(
        &mut self,
        principal: &str,
        now: Duration,
        method: &str,
    ) -> Result<(&'static str, u64), Refusal> {
        let (kind, header, rate) = match method {
            "GET" | "HEAD" => (
                "read",
                "x-ms-ratelimit-remaining-subscription-reads",
                self.site.reads,
            ),
            "DELETE" => (
                "delete",
                "x-ms-ratelimit-remaining-subscription-deletes",
                self.site.writes,
            ),
            _ => (
                "write",
                "x-ms-ratelimit-remaining-subscription-writes",
                self.site.writes,
            ),
        };
        let bucket = self
            .buckets
            .entry((principal.to_owned(), kind))
            .or_insert_with(|| Bucket::new(rate));
        match bucket.take(now) {
            Ok(left) => Ok((header, left)),
            Err(wait) => Err(Refusal::throttled(wait.as_secs() + 1)),
        }
    }

    /// What strikes before the request is looked at. An answer ends it.
    fn strike(
        &mut self,
        now: Duration,
        request: &Request,
        effects: &[Effect],
    ) -> Result<(Duration, operation::Ending), Reply> {
        let mut after = Duration::ZERO;
        let mut ending = operation::Ending::Well;
        for effect in effects {
            match effect {
                Effect::Latency { millis } => after += Duration::from_millis(*millis),
                Effect::Throttle {
                    retry_after_seconds,
                } => {
                    return Err(Refusal::throttled(*retry_after_seconds).response().into());
                }
                Effect::Refuse {
                    status,
                    code,
                    message,
                } => {
                    return Err(Refusal::new(*status, code, message.as_str())
                        .response()
                        .into());
                }
                Effect::Drop => {
                    return Err(Reply {
                        after,
                        response: None,
                    });
                }
                Effect::FailOperation { code, message } => {
                    ending = operation::Ending::Failed {
                        code: code.clone(),
                        message: message.clone(),
                    };
                }
                Effect::HalfMove => ending = operation::Ending::Half,
                Effect::Race { pointer, value } => {
                    self.store.race(&request.path, pointer, value.clone());
                }
                Effect::ExpireTokens => self.identities.expire_all(now),
                Effect::LoseAnswer => {}
            }
        }
        Ok((after, ending))
    }
}

impl Cloud for Azure {
    fn handle(&mut self, fabric: &mut FabricState, now: Duration, request: &Request) -> Reply {
        self.advance(fabric, now);
        let effects = self.knobs.faults.strike(request);
        let (after, ending) = match self.strike(now, request, &effects) {
            Ok(going_on) => going_on,
            Err(reply) => {
                let status = reply.response.as_ref().map(|response| response.status);
                self.knobs.note(request, None, status);
                return reply;
            }
        };
        let (principal, answer) = self.answer(fabric, now, request, ending);
        let response = answer.unwrap_or_else(|refusal| refusal.response());
        self.knobs.note(request, principal, Some(response.status));
        let lost = effects.contains(&Effect::LoseAnswer);
        // A change without duration has its effect before it is answered.
        self.advance(fabric, now);
        Reply {
            after,
            response: (!lost).then_some(response),
        }
    }

    fn advance(&mut self, fabric: &mut FabricState, now: Duration) {
        for ended in self.operations.due(now) {
            self.finish(fabric, &ended);
        }
    }

    fn knobs(&mut self) -> &mut Knobs {
        &mut self.knobs
    }

    fn behave(&mut self, wanted: &[u8]) -> Result<(), serde_json::Error> {
        serde_json::from_slice::<Behaviour>(wanted)?.apply(&mut self.site);
        Ok(())
    }

    fn operator_token(&mut self, now: Duration) -> String {
        self.issue_token(OPERATOR, now)
    }
}
