//! `FederationSLO`: how late events may be.

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::event_peer::GroupReference;
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::federation::intent::ObjectiveIntent;

/// How late the events of a group may be before `routerctl doctor federation` speaks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FederationSLO {
    /// The group.
    group_ref: GroupReference,
    /// What counts for deliveries to peers.
    #[serde(default)]
    delivery: Delivery,
    /// What counts for runs of subscriptions.
    #[serde(default)]
    subscription: Runs,
}

/// What counts for deliveries, in seconds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Delivery {
    /// A delivery that waits longer is worth a warning. Absent: 60.
    #[schemars(range(min = 1, max = 86_400))]
    lag_warn_seconds: Option<u32>,
    /// A delivery that waits longer is a failure. Absent: 180.
    #[schemars(range(min = 1, max = 86_400))]
    lag_fail_seconds: Option<u32>,
    /// A delivery that waits and expires sooner is worth a warning. Absent: 120.
    #[schemars(range(max = 86_400))]
    expires_soon_seconds: Option<u32>,
}

/// What counts for runs of subscriptions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Runs {
    /// More events that wait for a run than this are worth a warning. Absent: 10.
    #[schemars(range(max = 1_000_000))]
    max_pending_runs: Option<u32>,
    /// More events whose last run failed than this are a failure. Absent: 0.
    #[schemars(range(max = 1_000_000))]
    max_failed_runs: Option<u32>,
}

impl Kind for FederationSLO {
    const NAME: &'static str = "FederationSLO";
    const GROUP: &'static str = "federation.routerd.net";
    const EXAMPLE: &'static str = "\
groupRef: cloudedge
delivery:
  lagWarnSeconds: 60
  lagFailSeconds: 180
subscription:
  maxFailedRuns: 0
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        let federation = &mut draft.effective.federation;
        let group = self.group_ref.name();
        if let Some(first) = federation.objectives.values().find(|o| o.group == group) {
            let message = format!("{} speaks for that group already", first.owner);
            let found = Diagnostic::error("duplicate-objective", message).hint("keep one of them");
            resource.report(sink, "groupRef", found);
        }
        let standard = ObjectiveIntent::standard(group);
        let millis = |seconds: Option<u32>, default| {
            seconds.map_or(default, |seconds| u64::from(seconds) * 1000)
        };
        let intent = ObjectiveIntent {
            owner: resource.id.clone(),
            lag_warn: millis(self.delivery.lag_warn_seconds, standard.lag_warn),
            lag_fail: millis(self.delivery.lag_fail_seconds, standard.lag_fail),
            expires_soon: millis(self.delivery.expires_soon_seconds, standard.expires_soon),
            max_pending_runs: (self.subscription.max_pending_runs)
                .map_or(standard.max_pending_runs, u64::from),
            max_failed_runs: (self.subscription.max_failed_runs)
                .map_or(standard.max_failed_runs, u64::from),
            group: standard.group,
        };
        if intent.lag_fail < intent.lag_warn {
            let message = "`lagFailSeconds` is below `lagWarnSeconds`: there would be no warning";
            let found = Diagnostic::error("bad-objective", message).hint("give it a larger number");
            resource.report(sink, "delivery.lagFailSeconds", found);
        }
        let objectives = &mut federation.objectives;
        objectives.insert(resource.id.name.clone(), intent);
    }
}
