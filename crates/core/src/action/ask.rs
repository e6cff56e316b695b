//! What an executor is asked, and what its answer means.

use std::collections::BTreeSet;
use std::time::Duration;

use api::action::journal::{Event, State};
use api::action::plan::{ActionPlan, Facts, ProviderName};
use api::action::protocol::{
    Answer, ApiVersion, Envelope, ExecuteSpec, ExecutionContext, ExecutorRequest, ExecutorResult,
    Mode, PreflightIntent, PreflightSpec, PreflightStatus,
};

use super::book::Book;
use super::profile::Profile;
use super::record::Action;
use crate::doctor::Looked;
use crate::plugin::{redact, redact_execution, redact_preflight, secret_fact};

/// Where an executor is asked from.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Name of this router.
    pub node: &'a str,
    /// The profile of the cloud.
    pub profile: &'a Profile,
    /// After this the executor is killed.
    pub timeout: Duration,
}

/// How the run of an executor ended.
#[derive(Debug, Clone, Copy)]
pub struct Ran<'a> {
    /// What was wrong with it; absent if it ended with exit status 0.
    pub fault: Option<&'a str>,
    /// What it wrote to standard output.
    pub stdout: &'a [u8],
    /// Whether every process that it started is known to be gone.
    pub reaped: bool,
}

impl Asker<'_> {
    fn context(&self) -> ExecutionContext {
        ExecutionContext {
            node: self.node.to_owned(),
            timeout_seconds: self.timeout.as_secs().max(1),
            profile: self.profile.executor.clone(),
        }
    }

    /// The request about an action.
    pub fn request(&self, action: &Action, mode: Mode) -> ExecutorRequest {
        let prior = action.prior.as_ref().map(|prior| prior.facts.clone());
        self.execution(&action.plan, mode, prior.unwrap_or_default())
    }

    /// The request what a cloud has of what a plan asks for.
    pub fn look(&self, plan: &ActionPlan) -> ExecutorRequest {
        self.execution(plan, Mode::Observe, Facts::default())
    }

    fn execution(&self, plan: &ActionPlan, mode: Mode, prior: Facts) -> ExecutorRequest {
        ExecutorRequest::ExecuteActionRequest(Envelope {
            api_version: ApiVersion::V1Alpha1,
            spec: ExecuteSpec {
                action: plan.action,
                provider: plan.provider.clone(),
                provider_ref: plan.provider_ref.clone(),
                target: plan.target.clone(),
                parameters: plan.parameters.clone(),
                mode,
                idempotency_key: plan.idempotency_key.clone(),
                prior,
                context: self.context(),
            },
        })
    }

    /// The request whether these plans could be carried out.
    pub fn preflight(&self, provider_ref: &str, plans: &[ActionPlan]) -> ExecutorRequest {
        let intents: BTreeSet<_> = plans
            .iter()
            .map(|plan| PreflightIntent {
                action: plan.action,
                target: plan.target.clone(),
            })
            .collect();
        ExecutorRequest::PreflightRequest(Envelope {
            api_version: ApiVersion::V1Alpha1,
            spec: PreflightSpec {
                provider: self.profile.provider.clone(),
                provider_ref: provider_ref.to_owned(),
                intents: intents.into_iter().collect(),
                context: self.context(),
            },
        })
    }
}

/// What is still going to be asked of a profile's cloud: actions that are not done, and what is proposed.
pub fn outstanding(book: &Book, proposed: &[ActionPlan], provider_ref: &str) -> Vec<ActionPlan> {
    let open = book
        .open()
        .filter(|action| {
            !matches!(
                action.state,
                State::Succeeded | State::Skipped | State::RolledBack
            )
        })
        .map(|action| &action.plan);
    open.chain(proposed)
        .filter(|plan| plan.provider_ref == provider_ref)
        .cloned()
        .collect()
}

/// The row to write for what an executor answered: only a whole and sensible answer counts as one.
pub fn answer(mode: Mode, ran: Ran<'_>) -> Event {
    let lost = |reason: String| Event::Lost {
        mode,
        reason: redact(&reason),
        reaped: ran.reaped,
    };
    let status = match read(ran) {
        Ok(ExecutorResult::ExecuteActionResult(Answer { status, .. })) => status,
        Ok(ExecutorResult::PreflightResult(_)) => {
            return lost("its result answers another request".to_owned());
        }
        Err(reason) => return lost(reason),
    };
    if let Some(name) = secret_fact(&status.observed) {
        return lost(format!(
            "the fact `{name}` of its result holds a credential"
        ));
    }
    match status.check(mode) {
        Ok(()) => Event::Finished {
            mode,
            status: redact_execution(status),
        },
        Err(error) => lost(format!("its result makes no sense: {error}")),
    }
}

/// What an executor saw that was asked to look.
///
/// # Errors
/// Why it saw nothing.
pub fn look_answer(ran: Ran<'_>) -> Result<Looked, String> {
    match answer(Mode::Observe, ran) {
        Event::Finished { status, .. } => match (status.effect, status.error) {
            (_, Some(error)) => Err(format!("{}: {}", error.class, error.detail)),
            (Some(effect), None) => Ok(Looked {
                effect,
                facts: status.observed,
                clock_offset: None,
            }),
            (None, None) => Err(status.message),
        },
        Event::Lost { reason, .. } => Err(reason),
        other => Err(format!("unexpected {other:?}")),
    }
}

/// What an executor's preflight found.
///
/// # Errors
/// Why there is no answer.
pub fn preflight_answer(ran: Ran<'_>) -> Result<PreflightStatus, String> {
    match read(ran).map_err(|reason| redact(&reason))? {
        ExecutorResult::PreflightResult(Answer { status, .. }) => Ok(redact_preflight(status)),
        ExecutorResult::ExecuteActionResult(_) => {
            Err("its result answers another request".to_owned())
        }
    }
}

fn read(ran: Ran<'_>) -> Result<ExecutorResult, String> {
    match ran.fault {
        Some(fault) => Err(fault.to_owned()),
        None => serde_json::from_slice(ran.stdout)
            .map_err(|error| format!("its result does not read: {error}")),
    }
}

/// What a rollback would do, from what was seen last: whether it would change anything, and what, in words.
pub fn rollback_preview(action: &Action) -> (bool, String) {
    let Some(prior) = &action.prior else {
        return (false, "nothing was observed before it".to_owned());
    };
    let now = action.observed.as_prior();
    let mut differing = Facts::default();
    for (name, before) in &prior.facts.0 {
        if now.get(name) != Some(before.as_str()) {
            differing.set(name, before);
        }
    }
    if differing.is_empty() {
        let message = format!("already as before: {}", prior.facts);
        return (false, message);
    }
    let message = format!("would restore {differing} (now {})", action.observed);
    (true, message)
}

/// The executors that a configuration has: the plugins of the right name that may execute provider actions.
pub fn executors(effective: &crate::Effective) -> BTreeSet<ProviderName> {
    let may = api::plugin::Capability::ExecuteProviderAction;
    let plugins = effective.plugins.iter();
    plugins
        .filter(|(_, plugin)| plugin.capabilities.contains(&may))
        .filter_map(|(name, _)| name.strip_suffix("-executor")?.parse().ok())
        .collect()
}
