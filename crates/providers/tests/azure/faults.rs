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
use providers::clock::Clock;
use serde_json::{Value, json};

use crate::cases::{CASES, Case, MOVE, NIC, OTHER, ROUTE};
use crate::killed;
use crate::world::{CAPTURED, Tamper, World, class, present, succeeded};

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

/// Writes of whole NICs and routes that were carried out.
fn puts(world: &World) -> usize {
    let azure = world.azure.borrow();
    let done = |one: &&lab::cloud::azure::Exchange| one.method == "PUT" && one.status == Some(200);
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

const ROWS: [Row; 18] = [
    row("answer lost after the change", 120, |case, world| {
        world.fault(case.strike(Effect::LoseAnswer));
    }),
    row("connection lost before the change", 120, |case, world| {
        world.fault(case.strike(Effect::Drop));
    }),
    row("nobody there for a while", 120, |_, world| {
        world.unreachable.set(4);
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
        "looking at the operation throttled for a minute",
        120,
        |_, world| {
            world.operation_time(Duration::from_secs(20));
            world.fault(
                Fault::next(Effect::Throttle {
                    retry_after_seconds: 60,
                })
                .on("GET", "/operations/"),
            );
        },
    ),
    row("looking at the operation refused: 403", 120, |_, world| {
        world.operation_time(Duration::from_secs(20));
        world.fault(
            Fault::next(refuse(403, "AuthorizationFailed"))
                .on("GET", "/operations/")
                .times(100),
        );
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
    row("API hangs up throughout", 30, |_, world| {
        world.fault(Fault::next(Effect::Drop).times(10_000));
    }),
    row("nobody there throughout", 30, |_, world| {
        world.unreachable.set(usize::MAX);
    }),
];

/// A fault that strikes at each request of a run in turn, and how often it did.
type Sweep = fn(&Case) -> usize;

const SWEEPS: [(&str, Sweep); 4] = [
    ("token expires, at each request", tokens_expire),
    (
        "kill -9 at each request, then execute",
        killed::then_completed,
    ),
    (
        "kill -9 at each request, then rollback",
        killed::then_rolled_back,
    ),
    (
        "kill -9 at each request of the rollback, then rollback",
        killed::while_rolling_back,
    ),
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
    world.unreachable.set(0);
    world.operation_time(Duration::ZERO);
    world.wait(Duration::from_secs(120));
    let words = words(case, &world, &status, clean);
    let raced = raced(case, &world);
    if row.name.starts_with("tag stale") && raced.is_none() {
        // A move carries no tag, and a route that is new or gone has no fields of others.
        assert!(
            case.write.1 == MOVE || case.write.1 == ROUTE && case.name != "… taken over",
            "{}",
            case.name
        );
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
            if case.write.1 == MOVE && puts(world) > 0 {
                return "done, in halves".to_owned();
            }
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
    for (name, strike) in SWEEPS {
        write!(table, "\n| {name} |").expect("a string");
        for case in &CASES {
            write!(table, " {} times, each ends well |", strike(case)).expect("a string");
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
fn tokens_expire(case: &Case) -> usize {
    let mut strikes = 0;
    loop {
        let world = (case.world)();
        let (baseline, prior) = (world.everything(), case.prior(&world));
        let step = u32::try_from(strikes).expect("small");
        world.fault(Fault::next(Effect::ExpireTokens).after(step));
        let status = case.run(&world, Mode::Execute, &prior);
        succeeded(&status, true);
        let struck = world.azure.borrow_mut().faults_mut().pending().is_empty();
        case.ends_well(&world, &prior, &baseline);
        if !struck {
            return strikes;
        }
        strikes += 1;
    }
}

/// A link to another host is not followed, whatever answer it stands in: the token would travel with it. The
/// world's transport takes no request to another host.
#[test]
fn a_token_goes_to_nobody_else() {
    const ELSEWHERE: &str = "https://elsewhere.example/";
    let next_page: Tamper = |request, answer| {
        if request.url.contains("/networkInterfaces?") {
            answer.body = json!({"value": [], "nextLink": ELSEWHERE})
                .to_string()
                .into();
        }
    };
    let operation: Tamper = |_, answer| {
        for (name, value) in &mut answer.headers {
            if name == "azure-asyncoperation" {
                ELSEWHERE.clone_into(value);
            }
        }
    };
    let redirect: Tamper = |request, answer| {
        if request.url.contains("/networkInterfaces/") {
            answer.status = 307;
            answer
                .headers
                .push(("location".to_owned(), ELSEWHERE.to_owned()));
        }
    };
    for tamper in [next_page, operation, redirect] {
        let world = World::new();
        world.tamper.set(tamper);
        let status = world.run(Verb::AssignSecondaryIp, Mode::Execute, |_| ());
        assert_eq!(
            (status.status, class(&status)),
            (Outcome::Failed, "invalid"),
            "{status:#?}"
        );
    }
}

/// A pause that the cloud asks for with a refusal other than 429 is kept too.
#[test]
fn a_pause_that_is_asked_for_is_kept() {
    let world = World::new();
    world.fault(Fault::next(refuse(503, "ServiceUnavailable")).on("PUT", NIC));
    world.tamper.set(|_, answer| {
        if answer.status == 503 {
            answer
                .headers
                .push(("retry-after".to_owned(), "45".to_owned()));
        }
    });
    let before = world.elapsed();
    let status = world.run(Verb::EnsureForwardingEnabled, Mode::Execute, |_| ());
    succeeded(&status, true);
    assert!(world.elapsed() - before >= Duration::from_secs(45));
    // … and said where there is no time for it.
    let world = World::new();
    world.timeout.set(30);
    world.fault(
        Fault::next(refuse(503, "ServiceUnavailable"))
            .on("PUT", NIC)
            .times(9),
    );
    world.tamper.set(|_, answer| {
        if answer.status == 503 {
            answer
                .headers
                .push(("retry-after".to_owned(), "45".to_owned()));
        }
    });
    let status = world.run(Verb::EnsureForwardingEnabled, Mode::Execute, |_| ());
    assert_eq!(class(&status), "transient", "{status:#?}");
    let asked = status.error.and_then(|error| error.retry_after_seconds);
    assert_eq!(asked, Some(45));
}
