//! The frame of every executor: one request in, one result out.
//!
//! A cloud implements [`Provider`]; everything around it (reading the request, the deadline, what a failed
//! change leaves behind) is the same for all.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use api::action::plan::Facts;
use api::action::protocol::{
    Answer, ApiVersion, Effect, Envelope, ExecuteSpec, ExecuteStatus, ExecutionContext,
    ExecutorRequest, ExecutorResult, Mode, Outcome, PreflightCheck, PreflightSpec, PreflightStatus,
    PreflightVerdict,
};

use crate::clock::{Clock, SystemClock};
use crate::fault::Fault;
use crate::http::Transport;
use crate::http::wire::{Proxying, Wire};

/// Kept back from the time the daemon gives: an answer that comes after the kill is worth nothing.
const MARGIN: Duration = Duration::from_secs(1);
/// The largest request read, in bytes.
const MAX_REQUEST: u64 = 1 << 20;

/// What an executor may touch.
pub struct Session<'a> {
    /// To the cloud's API.
    pub api: &'a dyn Transport,
    /// To the metadata service of this machine.
    pub metadata: &'a dyn Transport,
    /// Time.
    pub clock: &'a dyn Clock,
    /// The environment variables.
    pub environment: BTreeMap<String, String>,
}

/// What a verb found or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether anything was changed; for a dry run: would be.
    pub changed: bool,
    /// One sentence fragment.
    pub message: String,
    /// Whether the action's effect is there now.
    pub effect: Effect,
    /// The facts as they are now.
    pub observed: Facts,
    /// Whether a rollback would have something to restore.
    pub undo_available: bool,
}

/// One cloud.
pub trait Provider {
    /// As in `CloudProviderProfile.provider`.
    const NAME: &'static str;

    /// Prepares for a request; no call is made yet.
    ///
    /// # Errors
    /// When the settings make no sense.
    fn open<'a>(
        session: &'a Session<'a>,
        context: &ExecutionContext,
        deadline: Duration,
    ) -> Result<Box<dyn Performer + 'a>, Fault>;
}

/// A cloud, ready for one request.
pub trait Performer {
    /// Looks, or does, as the mode says.
    ///
    /// # Errors
    /// Why not.
    fn perform(&self, spec: &ExecuteSpec) -> Result<Report, Fault>;

    /// Says whether the intents could be carried out.
    fn preflight(&self, spec: &PreflightSpec) -> PreflightStatus;
}

/// Reads one request from standard input, writes one result to standard output.
pub fn main<P: Provider>() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().take(MAX_REQUEST).read_to_string(&mut text) {
        eprintln!("read the request: {error}");
        return ExitCode::from(2);
    }
    let request: ExecutorRequest = match serde_json::from_str(&text) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("the request is not one: {error}");
            return ExitCode::from(2);
        }
    };
    let session = Session {
        api: &Wire::new(Proxying::Environment),
        metadata: &Wire::new(Proxying::Direct),
        clock: &SystemClock::start(),
        environment: environment(),
    };
    match serde_json::to_string(&answer::<P>(&request, &session)) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("write the result: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The variables that are text; none that we read is anything else.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Carries out one request.
pub fn answer<P: Provider>(request: &ExecutorRequest, session: &Session<'_>) -> ExecutorResult {
    match request {
        ExecutorRequest::ExecuteActionRequest(Envelope { spec, .. }) => {
            ExecutorResult::ExecuteActionResult(Answer {
                api_version: ApiVersion::V1Alpha1,
                status: execute::<P>(spec, session),
            })
        }
        ExecutorRequest::PreflightRequest(Envelope { spec, .. }) => {
            ExecutorResult::PreflightResult(Answer {
                api_version: ApiVersion::V1Alpha1,
                status: preflight::<P>(spec, session),
            })
        }
    }
}

fn execute<P: Provider>(spec: &ExecuteSpec, session: &Session<'_>) -> ExecuteStatus {
    if let Err(fault) = check::<P>(spec) {
        return failed(fault, None);
    }
    let deadline = deadline(&spec.context, session.clock);
    let opened = match P::open(session, &spec.context, deadline) {
        Ok(opened) => opened,
        Err(fault) => return failed(fault, None),
    };
    match opened.perform(spec) {
        Ok(report) => succeeded(report),
        // What a broken-off change left behind is part of the answer, when there is time to look.
        Err(fault) if spec.mode.mutates() => {
            let look = ExecuteSpec {
                mode: Mode::Observe,
                ..spec.clone()
            };
            failed(fault, opened.perform(&look).ok())
        }
        Err(fault) => failed(fault, None),
    }
}

fn preflight<P: Provider>(spec: &PreflightSpec, session: &Session<'_>) -> PreflightStatus {
    let deadline = deadline(&spec.context, session.clock);
    match P::open(session, &spec.context, deadline) {
        Ok(opened) => opened.preflight(spec),
        Err(fault) => PreflightStatus {
            identity: None,
            nic: None,
            checks: vec![failed_check("settings", fault)],
        },
    }
}

fn deadline(context: &ExecutionContext, clock: &dyn Clock) -> Duration {
    clock.elapsed() + Duration::from_secs(context.timeout_seconds).saturating_sub(MARGIN)
}

fn check<P: Provider>(spec: &ExecuteSpec) -> Result<(), Fault> {
    use api::action::ErrorClass::Invalid;
    if spec.provider.as_str() != P::NAME {
        return Err(Fault::new(
            Invalid,
            format!("this executor serves {}, not {}", P::NAME, spec.provider),
        ));
    }
    if spec.action.takes_address() && spec.target.address.is_none() {
        return Err(Fault::new(
            Invalid,
            format!("{} needs target.address", spec.action),
        ));
    }
    if spec.mode == Mode::Rollback && spec.prior.is_empty() {
        return Err(Fault::new(
            Invalid,
            "no prior facts: what a rollback should restore was never observed",
        ));
    }
    Ok(())
}

fn succeeded(report: Report) -> ExecuteStatus {
    ExecuteStatus {
        status: Outcome::Succeeded,
        changed: report.changed,
        message: report.message,
        effect: Some(report.effect),
        observed: report.observed,
        undo_available: report.undo_available,
        error: None,
    }
}

fn failed(fault: Fault, left: Option<Report>) -> ExecuteStatus {
    let (effect, observed) = match left {
        Some(report) => (Some(report.effect), report.observed),
        None => (None, Facts::default()),
    };
    ExecuteStatus {
        status: Outcome::Failed,
        changed: effect == Some(Effect::Partial),
        message: fault.to_string(),
        effect,
        observed,
        undo_available: false,
        error: Some(fault.into()),
    }
}

/// A check that a fault ended.
pub(crate) fn failed_check(name: &str, fault: Fault) -> PreflightCheck {
    let error = api::action::protocol::ActionError::from(fault);
    PreflightCheck {
        name: name.to_owned(),
        status: PreflightVerdict::Fail,
        detail: error.detail,
        hint: error.hint,
        permission: error.permission,
        scope: error.scope,
    }
}
