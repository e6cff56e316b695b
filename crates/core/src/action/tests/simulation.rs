//! Any interleaving of people, daemon, executors, crashes and late effects.

use std::collections::{BTreeMap, BTreeSet};

use api::action::journal::{Event, JournalRow};
use api::action::protocol::{ErrorClass, ExecuteStatus, Mode, Outcome};
use api::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::lab::{Cloud, Fault, Lab, TIMEOUT_MS, assign, forwarding, open_policy, person};
use crate::action::{Book, Chain, Next, Policy, Run, interrupted, verify};

const NICS: [&str; 2] = ["/nics/a", "/nics/b"];

#[derive(Debug, Clone)]
enum Op {
    Import {
        nic: usize,
        host: u8,
        generation: u64,
    },
    Approve {
        id: u64,
        rollback: bool,
    },
    Begin(Kind),
    /// The current run starts what it can.
    Step,
    /// A running executor ends.
    Land {
        which: usize,
        fault: Fault,
    },
    /// The daemon is killed; its executors live on for a while, or not.
    Crash {
        zombies: bool,
    },
    Wait {
        seconds: u64,
    },
    Policy {
        open: bool,
        approval: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Automatic,
    Execute,
    Rollback,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::DiesBefore),
        1 => Just(Fault::DiesAfter),
        1 => Just(Fault::TimesOut),
        1 => Just(Fault::Refused(ErrorClass::Transient)),
        1 => Just(Fault::Refused(ErrorClass::Conflict)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        Just(Kind::Automatic),
        Just(Kind::Execute),
        Just(Kind::Rollback)
    ];
    prop_oneof![
        3 => (0..NICS.len(), 0u8..3, 1u64..4)
            .prop_map(|(nic, host, generation)| Op::Import { nic, host, generation }),
        1 => (1u64..8, any::<bool>()).prop_map(|(id, rollback)| Op::Approve { id, rollback }),
        3 => kind.prop_map(Op::Begin),
        6 => Just(Op::Step),
        6 => (0usize..3, fault()).prop_map(|(which, fault)| Op::Land { which, fault }),
        1 => any::<bool>().prop_map(|zombies| Op::Crash { zombies }),
        2 => (1u64..200).prop_map(|seconds| Op::Wait { seconds }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(open, approval)| Op::Policy { open, approval }),
    ]
}

struct Simulation {
    lab: Lab,
    run: Run,
    /// When they have to be done, whether the daemon lives or not.
    flying: Vec<(Timestamp, u64, Mode)>,
    /// Executors that outlived the daemon, and when they do what they were asked.
    zombies: Vec<(Timestamp, u64, Mode)>,
}

impl Simulation {
    fn new(before: &Cloud) -> Self {
        let lab = Lab {
            cloud: before.clone(),
            ..Lab::default()
        };
        Self {
            lab,
            run: Run::automatic(),
            flying: Vec::new(),
            zombies: Vec::new(),
        }
    }

    fn perform(&mut self, op: &Op) {
        match *op {
            Op::Import {
                nic,
                host,
                generation,
            } => self.import(nic, host, generation),
            Op::Approve { id, rollback } => self.approve(id, rollback),
            Op::Begin(kind) => {
                self.run = match kind {
                    Kind::Automatic => Run::automatic(),
                    Kind::Execute => self.lab.execute(&[]),
                    Kind::Rollback => self.lab.rollback(&[]),
                }
            }
            Op::Step => self.step(),
            Op::Land { which, fault } => self.land(which, fault),
            Op::Crash { zombies } => self.crash(zombies),
            Op::Wait { seconds } => self.wait(seconds),
            Op::Policy { open, approval } => {
                *self.lab.policy() = Policy {
                    enabled: open,
                    require_approval: approval,
                    ..open_policy()
                };
            }
        }
    }

    fn import(&mut self, nic: usize, host: u8, generation: u64) {
        let mut plan = match host {
            0 => forwarding(NICS[nic]),
            _ => assign(NICS[nic], &format!("10.0.0.{host}")),
        };
        plan.generation = generation;
        if crate::action::import(&self.lab.book, &plan, &person()).is_ok() {
            self.lab.import(&plan);
        }
    }

    /// As a person would: only what can be approved.
    fn approve(&mut self, id: u64, rollback: bool) {
        let event = Event::Approved {
            by: person(),
            rollback,
        };
        let row = self.lab.chain.seal(self.lab.now, id, &event);
        let row = self.lab.chain.clone().follow(&row).expect("sealed");
        if self.lab.book.clone().push(&row).is_ok() {
            self.lab.write(id, &event);
        }
    }

    fn step(&mut self) {
        match self.run.next(&self.lab.book, self.lab.world()) {
            Next::Nothing => {}
            Next::Record(id, event) => self.lab.write(id, &event),
            Next::Start(id, mode) => {
                assert!(self.lab.policy().enabled, "started without a policy");
                assert!(
                    self.zombies
                        .iter()
                        .all(|(_, zombie, _)| !self.same_nic(*zombie, id)),
                    "two executors"
                );
                self.lab.write(
                    id,
                    &self
                        .run
                        .started(self.lab.get(id), mode, self.lab.now, TIMEOUT_MS),
                );
                self.flying
                    .push((self.lab.now.plus_millis(TIMEOUT_MS), id, mode));
            }
        }
    }

    fn same_nic(&self, a: u64, b: u64) -> bool {
        self.lab.get(a).shares_lane(self.lab.get(b))
    }

    fn land(&mut self, which: usize, fault: Fault) {
        if which < self.flying.len() {
            let (_, id, mode) = self.flying.remove(which);
            let event = self.lab.run_executor(id, mode, fault);
            self.lab.write(id, &event);
        }
    }

    fn crash(&mut self, zombies: bool) {
        let orphans = std::mem::take(&mut self.flying);
        if zombies {
            self.zombies.extend(orphans);
        }
        self.reread();
        self.run = Run::automatic();
        for (id, event) in interrupted(&self.lab.book) {
            self.lab.write(id, &event);
        }
    }

    /// What a daemon knows after a restart is what it knew before.
    fn reread(&mut self) {
        let mut chain = Chain::default();
        let mut book = Book::default();
        for row in &self.lab.stored {
            book.push(&chain.follow(row).expect("whole"))
                .expect("it follows");
        }
        assert_eq!((&book, &chain), (&self.lab.book, &self.lab.chain));
        self.lab.book = book;
    }

    fn wait(&mut self, seconds: u64) {
        self.lab.now = self.lab.now.plus_millis(seconds * 1000);
        // A living daemon kills what takes too long, whatever that had done by then.
        while let Some(which) = self
            .flying
            .iter()
            .position(|(until, _, _)| *until <= self.lab.now)
        {
            let killed =
                [Fault::DiesBefore, Fault::DiesAfter][usize::from(seconds.is_multiple_of(2))];
            self.land(which, killed);
        }
        let due = |(at, _, _): &(Timestamp, u64, Mode)| *at <= self.lab.now;
        let (due, later) = self.zombies.drain(..).partition(due);
        self.zombies = later;
        let due: Vec<(Timestamp, u64, Mode)> = due;
        for (_, id, mode) in due {
            self.lab.carry_out(id, mode);
        }
    }

    /// Everything ends well: executors answer, nobody crashes, everything is rolled back.
    fn settle(&mut self) {
        while !self.flying.is_empty() {
            self.land(0, Fault::None);
        }
        self.wait(3600);
        *self.lab.policy() = open_policy();
        for _ in 0..4 {
            self.lab.drive(self.lab.rollback(&[]));
        }
    }
}

/// After a change that did not answer, nothing is changed before a look that did.
fn looks_before_it_acts_again(rows: &[JournalRow]) {
    let mut unknown = BTreeSet::new();
    for row in rows {
        match &row.event {
            Event::Started { mode, .. } if mode.mutates() => {
                assert!(
                    !unknown.contains(&row.action),
                    "row {}: changed again unseen",
                    row.seq
                );
            }
            Event::Lost { mode, .. } if mode.mutates() => drop(unknown.insert(row.action)),
            Event::Finished {
                mode: Mode::Observe,
                status,
            } if status.status == Outcome::Succeeded => {
                unknown.remove(&row.action);
            }
            Event::Finished { mode, status } if mode.mutates() && timed_out(status) => {
                unknown.insert(row.action);
            }
            _ => {}
        }
    }
}

fn timed_out(status: &ExecuteStatus) -> bool {
    status
        .error
        .as_ref()
        .is_some_and(|e| e.class == ErrorClass::Timeout)
}

/// Once something was changed, the prior facts stand.
fn priors_stand(rows: &[JournalRow]) {
    let mut book = Book::default();
    let mut priors = BTreeMap::new();
    for row in rows {
        book.push(row).expect("it follows");
        for action in book.actions().filter(|action| action.changes > 0) {
            let prior = action.prior.clone().expect("no change without prior facts");
            assert_eq!(
                *priors.entry(action.id).or_insert_with(|| prior.clone()),
                prior
            );
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens(
        forwarding in vec(any::<bool>(), NICS.len()),
        assigned in any::<bool>(),
        ops in vec(op(), 1..80),
    ) {
        let mut before = Cloud::default();
        for (nic, on) in NICS.iter().zip(forwarding) {
            if on {
                before.forwarding.insert((*nic).to_owned());
            }
        }
        if assigned {
            before.assigned.insert((NICS[0].to_owned(), "10.0.0.1/32".to_owned()));
        }
        let mut simulation = Simulation::new(&before);
        for op in &ops {
            simulation.perform(op);
        }
        simulation.settle();
        let lab = &simulation.lab;
        looks_before_it_acts_again(&lab.rows);
        priors_stand(&lab.rows);
        prop_assert_eq!(verify(&lab.stored, &[]), Ok(lab.chain.head().clone()));
        // The cloud is as nobody had ever touched it.
        prop_assert_eq!(&lab.cloud, &before);
        prop_assert!(lab.book.actions().all(|action| !action.may_be_in_effect() || lab.book.successor(action).is_some()));
    }
}
