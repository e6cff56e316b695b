//! The verbs, each in the situations in which it takes different ways.

use api::action::Verb;
use api::action::plan::Facts;
use api::action::protocol::{ExecuteSpec, ExecuteStatus, Mode, Outcome};
use lab::cloud::azure::example::{ROUTER, STANDBY};
use lab::cloud::fault::{Effect, Fault};
use serde_json::Value;

use crate::world::{CAPTURED, World, present, succeeded};

/// A verb in a situation.
pub struct Case {
    pub name: &'static str,
    pub verb: Verb,
    pub world: fn() -> World,
    /// Method and path of its first write.
    pub write: (&'static str, &'static str),
    /// Whether the address may be taken from others.
    pub takes: bool,
}

pub const NIC: &str = "networkInterfaces/ce-router-nic";
pub const OTHER: &str = "networkInterfaces/ce-standby-nic";
pub const MOVE: &str = "moveIpConfigurations";
pub const ROUTE: &str = "routes/routerd-10-77-60-9-32";

fn forwarding() -> World {
    let world = World::new();
    succeeded(
        &world.run(Verb::EnsureForwardingEnabled, Mode::Execute, |_| ()),
        true,
    );
    world.azure.borrow_mut().clear_log();
    world
}

fn assigned() -> World {
    World::new().with_address(ROUTER, "capture", CAPTURED)
}

fn elsewhere() -> World {
    World::new().with_address(STANDBY, "capture", CAPTURED)
}

fn elsewhere_atomic() -> World {
    let world = elsewhere();
    world.atomic_move();
    world
}

fn routed() -> World {
    let world = World::new();
    succeeded(&world.run(Verb::EnsureRoute, Mode::Execute, |_| ()), true);
    world.azure.borrow_mut().clear_log();
    world
}

fn routed_elsewhere() -> World {
    let world = World::new();
    let status = world.run(Verb::EnsureRoute, Mode::Execute, |spec| {
        spec.target.nic_ref = Some(world.nic_id(STANDBY));
    });
    succeeded(&status, true);
    world.azure.borrow_mut().clear_log();
    world
}

pub const CASES: [Case; 9] = [
    Case {
        name: "ensure-forwarding-enabled",
        verb: Verb::EnsureForwardingEnabled,
        world: World::new,
        write: ("PUT", NIC),
        takes: false,
    },
    Case {
        name: "ensure-forwarding-disabled",
        verb: Verb::EnsureForwardingDisabled,
        world: forwarding,
        write: ("PUT", NIC),
        takes: false,
    },
    Case {
        name: "assign-secondary-ip",
        verb: Verb::AssignSecondaryIp,
        world: World::new,
        write: ("PUT", NIC),
        takes: false,
    },
    Case {
        name: "… moved in halves",
        verb: Verb::AssignSecondaryIp,
        world: elsewhere,
        write: ("PUT", OTHER),
        takes: true,
    },
    Case {
        name: "… moved at once",
        verb: Verb::AssignSecondaryIp,
        world: elsewhere_atomic,
        write: ("POST", MOVE),
        takes: true,
    },
    Case {
        name: "unassign-secondary-ip",
        verb: Verb::UnassignSecondaryIp,
        world: assigned,
        write: ("PUT", NIC),
        takes: false,
    },
    Case {
        name: "ensure-route",
        verb: Verb::EnsureRoute,
        world: World::new,
        write: ("PUT", ROUTE),
        takes: false,
    },
    Case {
        name: "… taken over",
        verb: Verb::EnsureRoute,
        world: routed_elsewhere,
        write: ("PUT", ROUTE),
        takes: true,
    },
    Case {
        name: "remove-route",
        verb: Verb::RemoveRoute,
        world: routed,
        write: ("DELETE", ROUTE),
        takes: false,
    },
];

impl Case {
    pub fn spec(&self, world: &World, mode: Mode, prior: &Facts) -> ExecuteSpec {
        let mut spec = world.spec(self.verb, mode);
        spec.prior = prior.clone();
        spec.parameters.allow_reassignment = self.takes;
        spec
    }

    pub fn run(&self, world: &World, mode: Mode, prior: &Facts) -> ExecuteStatus {
        world.execute(self.spec(world, mode, prior))
    }

    pub fn prior(&self, world: &World) -> Facts {
        let seen = self.run(world, Mode::Observe, &Facts::default());
        succeeded(&seen, false);
        seen.observed.as_prior()
    }

    pub fn strike(&self, effect: Effect) -> Fault {
        let (method, path) = self.write;
        Fault::next(effect).on(method, path)
    }

    /// Where the verb leads when nothing goes wrong.
    pub fn goal(&self) -> Vec<Option<Value>> {
        let world = (self.world)();
        succeeded(&self.run(&world, Mode::Execute, &self.prior(&world)), true);
        world.everything()
    }

    /// Whatever happened: doing it again leads to the goal, rolling it back to the baseline.
    #[track_caller]
    pub fn ends_well(&self, world: &World, prior: &Facts, baseline: &[Option<Value>]) {
        world.azure.borrow_mut().faults_mut().set(Vec::new());
        let done = self.run(world, Mode::Execute, prior);
        assert_eq!(done.status, Outcome::Succeeded, "{}: {done:#?}", self.name);
        present(&done);
        assert_eq!(
            world.everything(),
            self.goal(),
            "{}: not where it leads",
            self.name
        );
        let undone = self.run(world, Mode::Rollback, prior);
        assert_eq!(
            undone.status,
            Outcome::Succeeded,
            "{}: {undone:#?}",
            self.name
        );
        assert_eq!(
            world.everything(),
            baseline,
            "{}: not the baseline",
            self.name
        );
    }
}
