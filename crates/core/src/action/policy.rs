//! What a `ProviderActionPolicy` lets pass. Each refusal has a reason of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use api::action::plan::{ActionPlan, ProviderName, Verb};
use api::time::Timestamp;
use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A `ProviderActionPolicy`. The default lets nothing pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Whether it counts at all.
    pub enabled: bool,
    /// Executors may look and say what they would do, nothing more.
    pub dry_run_only: bool,
    /// A person has to approve each action.
    pub require_approval: bool,
    /// Clouds; none listed: none.
    pub allowed_providers: BTreeSet<ProviderName>,
    /// Profiles; none listed: any.
    pub allowed_provider_refs: BTreeSet<String>,
    /// Actions; none listed: none.
    pub allowed_actions: BTreeSet<Verb>,
    /// Where addresses must lie; none listed: anywhere.
    #[serde(rename = "allowedCIDRs")]
    pub allowed_cidrs: BTreeSet<Ipv4Net>,
    /// How many changes one run may begin; 0: none.
    pub max_actions_per_run: u32,
    /// Whether actions may be rolled back.
    pub allow_undo: bool,
    /// When changes may begin; absent: always.
    pub execution_window: Option<Window>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enabled: false,
            dry_run_only: true,
            require_approval: true,
            allowed_providers: BTreeSet::new(),
            allowed_provider_refs: BTreeSet::new(),
            allowed_actions: BTreeSet::new(),
            allowed_cidrs: BTreeSet::new(),
            max_actions_per_run: 0,
            allow_undo: false,
            execution_window: None,
        }
    }
}

/// When changes may begin, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Days on which the window opens; none listed: every day.
    #[serde(default)]
    pub days: BTreeSet<Day>,
    /// When it opens.
    pub start: TimeOfDay,
    /// When it closes; not later than `start` means on the next day.
    pub end: TimeOfDay,
}

/// A day of the week.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];

    fn of(time: Timestamp) -> Self {
        Self::ALL[usize::from(time.weekday()) % Self::ALL.len()]
    }
}

/// Minutes since midnight; written `HH:MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

/// A text is not a time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time of day (HH:MM, 00:00 to 23:59)")]
pub struct TimeOfDayError(String);

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        let two = |part: &str, limit: u16| -> Option<u16> {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            let number = part.parse().ok()?;
            (digits && number < limit).then_some(number)
        };
        text.split_once(':')
            .and_then(|(hour, minute)| Some(Self(two(hour, 24)? * 60 + two(minute, 60)?)))
            .ok_or_else(|| TimeOfDayError(text.to_owned()))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = TimeOfDayError;

    fn try_from(text: String) -> Result<Self, TimeOfDayError> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl Window {
    /// Whether it is open.
    pub fn contains(&self, now: Timestamp) -> bool {
        let minute = now.minute_of_day();
        let opens_on = |day: Day| self.days.is_empty() || self.days.contains(&day);
        let today = Day::of(now);
        // `weekday` repeats every seven days, so six days later is the day before.
        let yesterday = Day::of(now.plus_millis(6 * 86_400_000));
        if self.start < self.end {
            opens_on(today) && (self.start.0..self.end.0).contains(&minute)
        } else {
            (opens_on(today) && minute >= self.start.0)
                || (opens_on(yesterday) && minute < self.end.0)
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} UTC", self.start, self.end)?;
        for (index, day) in self.days.iter().enumerate() {
            let name = format!("{day:?}").to_lowercase();
            write!(f, "{}{name}", if index == 0 { " on " } else { "," })?;
        }
        Ok(())
    }
}

/// What somebody wants to do with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// To take it back, not to do it.
    pub rollback: bool,
    /// To change something, not only to look.
    pub mutates: bool,
    /// Somebody approved that.
    pub approved: bool,
    /// Changes already begun in this run under this policy.
    pub begun: u32,
}

impl Request {
    /// To look at an action's target, or to ask what a change would do.
    pub fn look(rollback: bool) -> Self {
        Self {
            rollback,
            mutates: false,
            approved: false,
            begun: 0,
        }
    }

    /// To change something, as the first in its run.
    pub fn change(rollback: bool, approved: bool) -> Self {
        Self {
            rollback,
            mutates: true,
            approved,
            begun: 0,
        }
    }
}

/// Why a policy refuses. Ordered by how far a request got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Gate {
    /// There is no policy.
    #[error("there is no ProviderActionPolicy")]
    NoPolicy,
    /// It is switched off.
    #[error("`enabled` is false")]
    Disabled,
    /// Another cloud.
    #[error("{0} is not in `allowedProviders`")]
    Provider(ProviderName),
    /// Another profile.
    #[error("{0} is not in `allowedProviderRefs`")]
    ProviderRef(String),
    /// Another action.
    #[error("{0} is not in `allowedActions`")]
    Action(Verb),
    /// An address somewhere else.
    #[error("{0} is in none of `allowedCIDRs`")]
    Address(Ipv4Net),
    /// No rollback.
    #[error("`allowUndo` is false")]
    Undo,
    /// No change.
    #[error("`dryRunOnly` is true")]
    DryRunOnly,
    /// Nobody approved it.
    #[error("`requireApproval` is true and nobody approved it")]
    Approval,
    /// The wrong time.
    #[error("`executionWindow` is {0}")]
    Window(String),
    /// Enough for one run.
    #[error("`maxActionsPerRun` is {0}")]
    RunLimit(u32),
}

impl Gate {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy => "no-policy",
            Self::Disabled => "policy-disabled",
            Self::Provider(_) => "provider-not-allowed",
            Self::ProviderRef(_) => "provider-ref-not-allowed",
            Self::Action(_) => "action-not-allowed",
            Self::Address(_) => "address-not-allowed",
            Self::Undo => "undo-not-allowed",
            Self::DryRunOnly => "dry-run-only",
            Self::Approval => "needs-approval",
            Self::Window(_) => "outside-window",
            Self::RunLimit(_) => "run-limit",
        }
    }
}

impl Policy {
    /// Whether this policy lets a request pass.
    ///
    /// # Errors
    /// The first gate that does not.
    pub fn admit(&self, plan: &ActionPlan, request: Request, now: Timestamp) -> Result<(), Gate> {
        self.admit_scope(plan, request.rollback)?;
        if request.mutates {
            self.admit_change(request, now)
        } else {
            Ok(())
        }
    }

    fn admit_scope(&self, plan: &ActionPlan, rollback: bool) -> Result<(), Gate> {
        if !self.enabled {
            return Err(Gate::Disabled);
        }
        if !self.allowed_providers.contains(&plan.provider) {
            return Err(Gate::Provider(plan.provider.clone()));
        }
        let refs = &self.allowed_provider_refs;
        if !refs.is_empty() && !refs.contains(&plan.provider_ref) {
            return Err(Gate::ProviderRef(plan.provider_ref.clone()));
        }
        if !self.allowed_actions.contains(&plan.action) {
            return Err(Gate::Action(plan.action));
        }
        if let Some(address) = plan.target.address {
            let inside = |cidr: &Ipv4Net| cidr.contains(&address.addr());
            if !self.allowed_cidrs.is_empty() && !self.allowed_cidrs.iter().any(inside) {
                return Err(Gate::Address(address.host_route()));
            }
        }
        if rollback && !self.allow_undo {
            return Err(Gate::Undo);
        }
        Ok(())
    }

    fn admit_change(&self, request: Request, now: Timestamp) -> Result<(), Gate> {
        if self.dry_run_only {
            return Err(Gate::DryRunOnly);
        }
        if self.require_approval && !request.approved {
            return Err(Gate::Approval);
        }
        if let Some(window) = self
            .execution_window
            .as_ref()
            .filter(|window| !window.contains(now))
        {
            return Err(Gate::Window(window.to_string()));
        }
        if request.begun >= self.max_actions_per_run {
            return Err(Gate::RunLimit(self.max_actions_per_run));
        }
        Ok(())
    }
}
