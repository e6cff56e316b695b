//! Every fault against every verb. After each: nothing was executed twice, no foreign field was lost, and a
//! retry or a rollback ends in a state that has a name.
//!
//! The outcomes are the table in `docs/reference/azure-faults.md`; `UPDATE_GOLDEN=1` writes it anew.

use std::fmt::Write as _;
use std::time::Duration;

use api::action::Verb;
use api::action::protocol::{Effect as Shown, ExecuteStatus, Mode, Outcome};
use lab::cloud::azure::example::{ROUTER, STANDBY};
use lab::cloud::fault::{Effect, Fault};
use serde_json::{Value, json};

use crate::cases::{CASES, Case, MOVE, NIC, OTHER, ROUTE};
use crate::world::{CAPTURED, World, class, present, succeeded};

/// Writes that were carried out.
fn writes(world: &World) -> usize {
    let azure = world.azure.borrow();
    let done = |one: &&lab::cloud::azure::Exchange| {
        one.method != "GET"
            && one
                .status
                .is_some_and(|status| (200..300).contains(&status))
    };
    azure.log().iter().filter(done).count()
}

type Arrange = fn(&Case, &World);

/// A fault, how it is arranged, and how long the executor has.
struct Row {
    name: &'static str,
    arrange: Arrange,
    timeout: u64,
}

const fn row(name: &'static str, timeout: u64, arrange: Arrange) -> Row {
    Row {
        name,
        arrange,
        timeout,
    }
}

fn failing(times: u32) -> impl Fn(&Case, &World) {
    move |case, world| {
        let effect = Effect::FailOperation {
            code: "InternalServerError".to_owned(),
            message: "An error occurred.".to_owned(),
        };
        world.fault(case.strike(effect).times(times));
    }
}

fn refuse(status: u16, code: &str) -> Effect {
    Effect::Refuse {
        status,
        code: code.to_owned(),
        message: format!("{code} on demand."),
    }
}

const ROWS: [Row; 14] = [
    row("answer lost after the change", 120, |case, world| {
        world.fault(case.strike(Effect::LoseAnswer));
    }),
    row("connection lost before the change", 120, |case, world| {
        world.fault(case.strike(Effect::Drop));
    }),
    row("500 to the change", 120, |case, world| {
        world.fault(case.strike(refuse(500, "InternalServerError")));
    }),
    row("every read answered 503 once", 120, |_, world| {
        world.fault(
            Fault::next(refuse(503, "ServiceUnavailable"))
                .on("GET", "/subscriptions/")
                .times(2),
        );
    }),
    row("throttled for a minute, time enough", 120, |case, world| {
        world.fault(case.strike(Effect::Throttle {
            retry_after_seconds: 60,
        }));
    }),
    row("throttled for a minute, 30 s given", 30, |case, world| {
        world.fault(case.strike(Effect::Throttle {
            retry_after_seconds: 60,
        }));
    }),
    row(
        "tag stale: another writer changes another field",
        120,
        |case, world| {
            world.fault(case.strike(Effect::Race {
                pointer: "/tags/owner".to_owned(),
                value: json!("network team"),
            }));
        },
    ),
    row(
        "another operation in progress, for a while",
        120,
        |case, world| {
            world.fault(
                case.strike(refuse(409, "AnotherOperationInProgress"))
                    .times(5),
            );
        },
    ),
    row("operation ends Failed, once", 120, |case, world| {
        failing(1)(case, world)
    }),
    row("operation ends Failed, always", 120, |case, world| {
        failing(100)(case, world)
    }),
    row("token expires before the change", 120, |case, world| {
        world.fault(case.strike(Effect::ExpireTokens));
    }),
    row("refused: 403", 120, |case, world| {
        world.fault(case.strike(refuse(403, "AuthorizationFailed")).times(100));
    }),
    row(
        "operation takes longer than the time given",
        10,
        |_, world| {
            world.operation_time(Duration::from_secs(60));
        },
    ),
    row("API down throughout", 30, |_, world| {
        world.fault(Fault::next(Effect::Drop).times(10_000));
    }),
];

/// How it came out, in a few words, after the invariants have been checked.
fn outcome(case: &Case, row: &Row) -> String {
    let world = (case.world)();
    let baseline = world.everything();
    let clean = {
        let world = (case.world)();
        succeeded(&case.run(&world, Mode::Execute, &case.prior(&world)), true);
        writes(&world)
    };
    let prior = case.prior(&world);
    world.timeout.set(row.timeout);
    (row.arrange)(case, &world);
    let status = case.run(&world, Mode::Execute, &prior);
    world.timeout.set(120);
    world.operation_time(Duration::ZERO);
    world.wait(Duration::from_secs(120));
    let words = words(case, &world, &status, clean);
    let raced = raced(case, &world);
    if row.name.starts_with("tag stale") && raced.is_none() {
        // A move carries no tag, and a route that is new or gone has no fields of others.
        assert!(matches!(case.write.1, MOVE | ROUTE), "{}", case.name);
        case.ends_well(&world, &prior, &baseline);
        return "–".to_owned();
    }
    world.azure.borrow_mut().faults_mut().set(Vec::new());
    if let Some((id, mut document)) = raced {
        // The other writer's change survives ours and our rollback.
        assert_eq!(document["tags"]["owner"], "network team", "{}", case.name);
        let undone = case.run(&world, Mode::Rollback, &prior);
        assert_eq!(undone.status, Outcome::Succeeded, "{undone:#?}");
        if let Some(now) = world.shown(&id) {
            assert_eq!(now["tags"]["owner"], "network team", "{}", case.name);
            document = now;
        }
        assert!(document.is_object());
    } else {
        case.ends_well(&world, &prior, &baseline);
    }
    words
}

fn words(case: &Case, world: &World, status: &ExecuteStatus, clean: usize) -> String {
    match status.status {
        Outcome::Succeeded => {
            present(status);
            let count = writes(world);
            match count.cmp(&clean) {
                std::cmp::Ordering::Equal => "done".to_owned(),
                std::cmp::Ordering::Greater => format!("done, {} written again", count - clean),
                std::cmp::Ordering::Less => panic!("{}: fewer writes than needed", case.name),
            }
        }
        Outcome::Failed => {
            let left = match status.effect {
                Some(Shown::Present) => "in place",
                Some(Shown::Absent) => "as before",
                Some(Shown::Partial) => "half done",
                None => "not known, observe",
            };
            format!("{}: {left}", class(status))
        }
        Outcome::Skipped => panic!("an executor skips nothing"),
    }
}

/// The resource that another writer has changed, if that was the fault.
fn raced(case: &Case, world: &World) -> Option<(String, Value)> {
    let id = match case.write.1 {
        NIC => world.nic_id(ROUTER),
        OTHER => world.nic_id(STANDBY),
        ROUTE => world.route_id("routerd-10-77-60-9-32"),
        _ => return None,
    };
    let document = world.shown(&id)?;
    document.pointer("/tags/owner")?;
    Some((id, document))
}

#[test]
fn the_table_in_the_manual_is_true() {
    let mut table = String::from("| fault |");
    for case in &CASES {
        write!(table, " {} |", case.name).expect("a string");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(CASES.len()));
    for row in &ROWS {
        write!(table, "\n| {} |", row.name).expect("a string");
        for case in &CASES {
            write!(table, " {} |", outcome(case, row)).expect("a string");
        }
    }
    table.push('\n');
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/azure-faults.md"
    );
    let page = std::fs::read_to_string(path).expect("the page");
    let (before, rest) = page
        .split_once("<!-- table -->\n")
        .expect("the table's beginning");
    let (written, after) = rest.split_once("<!-- end -->").expect("the table's end");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let page = format!("{before}<!-- table -->\n{table}<!-- end -->{after}");
        std::fs::write(path, page).expect("write the page");
    } else {
        assert_eq!(written, table, "UPDATE_GOLDEN=1 writes the table anew");
    }
}

/// The second half of a move is refused: the address goes back to where it was, as it was there.
#[test]
fn a_move_whose_second_half_fails_is_taken_back() {
    let case = &CASES[3];
    let world = (case.world)();
    let (baseline, prior) = (world.everything(), case.prior(&world));
    world.fault(
        Fault::next(refuse(403, "AuthorizationFailed"))
            .on("PUT", NIC)
            .times(100),
    );
    let status = case.run(&world, Mode::Execute, &prior);
    assert_eq!(
        (status.status, class(&status)),
        (Outcome::Failed, "authorization")
    );
    assert!(status.message.contains("as before"), "{}", status.message);
    assert_eq!(world.everything(), baseline);
    assert_eq!(world.holder(CAPTURED).as_deref(), Some(STANDBY));
    case.ends_well(&world, &prior, &baseline);
}

/// … and where that fails too, the state is called half done; a retry completes it, a rollback takes it back.
#[test]
fn a_move_that_stays_half_done_says_so() {
    for retry in [true, false] {
        let case = &CASES[3];
        let world = (case.world)();
        let (baseline, prior) = (world.everything(), case.prior(&world));
        world.fault(
            Fault::next(refuse(403, "AuthorizationFailed"))
                .on("PUT", NIC)
                .times(100),
        );
        world.fault(
            Fault::next(refuse(403, "AuthorizationFailed"))
                .on("PUT", OTHER)
                .after(1)
                .times(100),
        );
        let status = case.run(&world, Mode::Execute, &prior);
        assert_eq!(status.effect, Some(Shown::Partial), "{status:#?}");
        assert_eq!(world.holder(CAPTURED), None);
        world.azure.borrow_mut().faults_mut().set(Vec::new());
        if retry {
            case.ends_well(&world, &prior, &baseline);
        } else {
            succeeded(&case.run(&world, Mode::Rollback, &prior), true);
            assert_eq!(world.everything(), baseline);
        }
    }
}

/// The cloud itself loses the address half-way through its atomic move.
#[test]
fn an_atomic_move_that_loses_the_address_is_completed() {
    let case = &CASES[4];
    let world = (case.world)();
    let (baseline, prior) = (world.everything(), case.prior(&world));
    world.fault(Fault::next(Effect::HalfMove).on("POST", MOVE));
    let status = case.run(&world, Mode::Execute, &prior);
    succeeded(&status, true);
    present(&status);
    assert_eq!(world.holder(CAPTURED).as_deref(), Some(ROUTER));
    case.ends_well(&world, &prior, &baseline);
}

/// A token may expire between any two requests.
#[test]
fn tokens_expire_at_every_step() {
    for case in &CASES {
        for step in 0.. {
            let world = (case.world)();
            let (baseline, prior) = (world.everything(), case.prior(&world));
            world.requests.set(0);
            world.fault(Fault::next(Effect::ExpireTokens).after(step));
            let status = case.run(&world, Mode::Execute, &prior);
            succeeded(&status, true);
            let struck = world.azure.borrow_mut().faults_mut().pending().is_empty();
            case.ends_well(&world, &prior, &baseline);
            if !struck {
                break;
            }
        }
    }
}

/// A link to another host is not followed, whatever answer it stands in.
#[test]
fn a_token_goes_to_nobody_else() {
    let world = World::new();
    world.azure.borrow_mut().site_mut().page_size = 1;
    world.fault(
        Fault::next(Effect::Refuse {
            status: 202,
            code: "x".to_owned(),
            message: "x".to_owned(),
        })
        .on("PUT", NIC),
    );
    // Every request's URL is checked by the world's transport.
    let status = world.run(Verb::AssignSecondaryIp, Mode::Execute, |_| ());
    succeeded(&status, true);
}
