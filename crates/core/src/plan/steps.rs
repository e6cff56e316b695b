//! Puts steps into the order that keeps traffic flowing.

use api::ResourceId;

use super::{Action, Step};

/// The order of execution. What is new is complete from the wire upward before it attracts packets, and only
/// then does the old go, from what attracts packets down to the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Captured addresses on the OS swallow packets right now.
    FreeCapturedAddress,
    MakeKey,
    MakeLink,
    /// A UDP port that somebody else is to have: its holder goes to another one, or to none.
    FreePort,
    /// The same of a process, which takes its new port in the same step.
    MovePort,
    /// A plain tunnel takes its port as it is made.
    MakePlainTunnel,
    ConfigureTunnel,
    SetLink,
    AddAddress,
    SetSetting,
    SetClamp,
    SetRoute,
    /// Its gateway may be reached by a route of the stage before.
    SetRouteWithGateway,
    AddProxy,
    RemoveProxy,
    RemoveRoute,
    RemoveAddress,
    RemoveTable,
    RestoreSetting,
    RestoreLink,
    RemoveLink,
    /// A port that a removed tunnel held until now.
    TakeOverPort,
    /// Of a device that is what it should be by now.
    TakeOverDevice,
}

/// Steps as they are found, in any order.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    staged: Vec<(Stage, Step)>,
}

impl Steps {
    /// Adds a step for a resource.
    pub(crate) fn push(&mut self, stage: Stage, owner: &ResourceId, action: Action) {
        let owner = owner.clone();
        self.staged.push((stage, Step { owner, action }));
    }

    /// Adds a step that no resource asks for: something of ours is not wanted any more.
    pub(crate) fn clean_up(&mut self, stage: Stage, action: Action) {
        self.push(stage, &ResourceId::new("routerd", "cleanup"), action);
    }

    /// All steps in the order of execution; within a stage as they were added.
    pub(crate) fn in_order(mut self) -> Vec<Step> {
        self.staged.sort_by_key(|(stage, _)| *stage);
        self.staged.into_iter().map(|(_, step)| step).collect()
    }
}
