//! A cloud, an executor and a daemon in miniature, to drive the engine with.

use std::collections::{BTreeMap, BTreeSet};

use api::action::journal::{Actor, Event, JournalRow, State};
use api::action::plan::{ActionPlan, Decision, Facts, Precondition, ProviderName, Verb};
use api::action::protocol::{ActionError, Effect, ErrorClass, ExecuteStatus, Mode, Outcome};
use api::time::Timestamp;
use serde_json::json;

use crate::action::{Action, Book, Chain, Imported, Next, Policy, Run, StoredRow, World, import};

pub(crate) const TIMEOUT_MS: u64 = 30_000;

/// What the cloud holds, by NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cloud {
    pub(crate) forwarding: BTreeSet<String>,
    pub(crate) assigned: BTreeSet<(String, String)>,
}

/// How an executor's run goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The cloud refuses; nothing was changed.
    Refused(ErrorClass),
    /// Killed before it changed anything.
    DiesBefore,
    /// Killed after it changed everything: the answer is lost.
    DiesAfter,
    /// It says that it does not know.
    TimesOut,
}

pub(crate) struct Lab {
    pub(crate) cloud: Cloud,
    pub(crate) now: Timestamp,
    pub(crate) chain: Chain,
    pub(crate) stored: Vec<StoredRow>,
    pub(crate) rows: Vec<JournalRow>,
    pub(crate) book: Book,
    pub(crate) policies: BTreeMap<String, Policy>,
    pub(crate) decisions: BTreeMap<String, Decision>,
    pub(crate) profiles: BTreeMap<String, ProviderName>,
    pub(crate) executors: BTreeSet<ProviderName>,
}

pub(crate) fn azure() -> ProviderName {
    "azure".parse().expect("a provider")
}

pub(crate) fn person() -> Actor {
    Actor {
        name: "ann".to_owned(),
        uid: Some(1000),
    }
}

/// Lets everything pass that can be let pass.
pub(crate) fn open_policy() -> Policy {
    Policy {
        enabled: true,
        dry_run_only: false,
        require_approval: false,
        allowed_providers: [azure()].into(),
        allowed_provider_refs: BTreeSet::new(),
        allowed_actions: Verb::ALL.into(),
        allowed_cidrs: BTreeSet::new(),
        max_actions_per_run: 100,
        allow_undo: true,
        execution_window: None,
    }
}

pub(crate) fn forwarding(nic: &str) -> ActionPlan {
    serde_json::from_value(json!({
        "name": "forwarding", "provider": "azure", "providerRef": "main",
        "action": "ensure-forwarding-enabled", "target": {"nicRef": nic},
        "idempotencyKey": format!("forwarding/{nic}"),
    }))
    .expect("a plan")
}

pub(crate) fn assign(nic: &str, address: &str) -> ActionPlan {
    serde_json::from_value(json!({
        "name": "assign", "provider": "azure", "providerRef": "main",
        "action": "assign-secondary-ip", "target": {"nicRef": nic, "address": address},
        "idempotencyKey": format!("assign/{nic}/{address}"),
    }))
    .expect("a plan")
}

pub(crate) fn needs(mut plan: ActionPlan, condition: serde_json::Value) -> ActionPlan {
    let condition: Precondition = serde_json::from_value(condition).expect("a precondition");
    plan.preconditions.push(condition);
    plan
}

impl Default for Lab {
    fn default() -> Self {
        Self {
            cloud: Cloud::default(),
            now: "2026-05-31T01:00:00Z".parse().expect("a point in time"),
            chain: Chain::default(),
            stored: Vec::new(),
            rows: Vec::new(),
            book: Book::default(),
            policies: [("live".to_owned(), open_policy())].into(),
            decisions: BTreeMap::new(),
            profiles: [("main".to_owned(), azure())].into(),
            executors: [azure()].into(),
        }
    }
}

impl Lab {
    pub(crate) fn world(&self) -> World<'_> {
        World {
            now: self.now,
            policies: &self.policies,
            decisions: &self.decisions,
            profiles: &self.profiles,
            executors: &self.executors,
        }
    }

    pub(crate) fn policy(&mut self) -> &mut Policy {
        self.policies.get_mut("live").expect("the policy")
    }

    pub(crate) fn write(&mut self, action: u64, event: &Event) {
        let sealed = self.chain.seal(self.now, action, event);
        let row = self
            .chain
            .follow(&sealed)
            .expect("what was just sealed follows");
        self.book
            .push(&row)
            .unwrap_or_else(|e| panic!("{e}: {event:?}"));
        self.stored.push(sealed);
        self.rows.push(row);
        self.now = self.now.plus_millis(10);
    }

    pub(crate) fn import(&mut self, plan: &ActionPlan) -> u64 {
        match import(&self.book, plan, &person()).expect("it is taken") {
            Imported::Unchanged(id) => id,
            Imported::New(id, rows) => {
                for (action, event) in rows {
                    self.write(action, &event);
                }
                id
            }
        }
    }

    pub(crate) fn approve(&mut self, id: u64, rollback: bool) {
        self.write(
            id,
            &Event::Approved {
                by: person(),
                rollback,
            },
        );
    }

    pub(crate) fn get(&self, id: u64) -> &Action {
        self.book.get(id).expect("the action")
    }

    pub(crate) fn state(&self, id: u64) -> State {
        self.get(id).state
    }

    pub(crate) fn execute(&self, ids: &[u64]) -> Run {
        Run::execute(ids.iter().copied(), false, person())
    }

    pub(crate) fn rollback(&self, ids: &[u64]) -> Run {
        Run::rollback(ids.iter().copied(), false, person())
    }

    /// Why it would not go on if a person asked for it.
    pub(crate) fn held(&self, id: u64) -> Option<String> {
        self.execute(&[])
            .held(&self.book, self.world(), self.get(id))
            .map(|refusal| refusal.code)
    }

    pub(crate) fn held_rollback(&self, id: u64) -> Option<String> {
        self.rollback(&[])
            .held(&self.book, self.world(), self.get(id))
            .map(|refusal| refusal.code)
    }

    /// Runs to the end without faults; says what was started.
    pub(crate) fn drive(&mut self, run: Run) -> Vec<(u64, Mode)> {
        self.drive_with(run, |_, _| Fault::None)
    }

    pub(crate) fn drive_with(
        &mut self,
        mut run: Run,
        mut fault: impl FnMut(u64, Mode) -> Fault,
    ) -> Vec<(u64, Mode)> {
        let mut started = Vec::new();
        loop {
            match run.next(&self.book, self.world()) {
                Next::Nothing => return started,
                Next::Record(id, event) => self.write(id, &event),
                Next::Start(id, mode) => {
                    started.push((id, mode));
                    self.write(id, &run.started(self.get(id), mode, self.now, TIMEOUT_MS));
                    let event = self.run_executor(id, mode, fault(id, mode));
                    self.write(id, &event);
                }
            }
        }
    }

    /// What the executor does and what the daemon then writes.
    pub(crate) fn run_executor(&mut self, id: u64, mode: Mode, fault: Fault) -> Event {
        let lost = || Event::Lost {
            mode,
            reason: "killed".to_owned(),
            reaped: true,
        };
        match fault {
            Fault::DiesBefore => lost(),
            Fault::Refused(class) => Event::Finished {
                mode,
                status: failure(class),
            },
            Fault::None => Event::Finished {
                mode,
                status: self.carry_out(id, mode),
            },
            Fault::DiesAfter => {
                self.carry_out(id, mode);
                lost()
            }
            Fault::TimesOut => {
                self.carry_out(id, mode);
                Event::Finished {
                    mode,
                    status: failure(ErrorClass::Timeout),
                }
            }
        }
    }

    pub(crate) fn carry_out(&mut self, id: u64, mode: Mode) -> ExecuteStatus {
        let action = self.get(id).clone();
        let before = self.effect(&action.plan);
        let name = fact(action.plan.action);
        match mode {
            Mode::Observe | Mode::DryRun => {}
            Mode::Execute => self.set(&action.plan, true),
            Mode::Rollback => {
                let prior = action.prior.expect("a rollback has prior facts").facts;
                let prior_name = format!("prior{}{}", name[..1].to_uppercase(), &name[1..]);
                self.set(&action.plan, prior.get(&prior_name) == Some("true"));
            }
        }
        let after = self.effect(&action.plan);
        let mut observed = Facts::default();
        observed.set(name, after);
        ExecuteStatus {
            status: Outcome::Succeeded,
            changed: if mode == Mode::DryRun {
                !before
            } else {
                before != after
            },
            message: format!("{mode} {name}: {before} to {after}"),
            effect: Some(if after {
                Effect::Present
            } else {
                Effect::Absent
            }),
            observed,
            undo_available: true,
            error: None,
        }
    }

    pub(crate) fn effect(&self, plan: &ActionPlan) -> bool {
        let nic = plan.target.nic_ref.clone().expect("a NIC");
        match plan.target.address {
            None => self.cloud.forwarding.contains(&nic),
            Some(address) => self.cloud.assigned.contains(&(nic, address.to_string())),
        }
    }

    fn set(&mut self, plan: &ActionPlan, on: bool) {
        let nic = plan.target.nic_ref.clone().expect("a NIC");
        match (plan.target.address, on) {
            (None, true) => drop(self.cloud.forwarding.insert(nic)),
            (None, false) => drop(self.cloud.forwarding.remove(&nic)),
            (Some(address), true) => drop(self.cloud.assigned.insert((nic, address.to_string()))),
            (Some(address), false) => {
                self.cloud.assigned.remove(&(nic, address.to_string()));
            }
        }
    }
}

fn fact(verb: Verb) -> &'static str {
    if verb.takes_address() {
        "assigned"
    } else {
        "ipForwarding"
    }
}

pub(crate) fn failure(class: ErrorClass) -> ExecuteStatus {
    ExecuteStatus {
        status: Outcome::Failed,
        changed: false,
        message: format!("failed: {class}"),
        effect: None,
        observed: Facts::default(),
        undo_available: false,
        error: Some(ActionError {
            class,
            detail: "as the test wants it".to_owned(),
            hint: None,
            permission: None,
            scope: None,
            retry_after_seconds: None,
        }),
    }
}
