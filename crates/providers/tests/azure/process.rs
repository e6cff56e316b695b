//! The real program over real sockets and TLS: that it works at all, and that it can be killed at any request.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use api::action::protocol::{
    ApiVersion, Effect as Shown, Envelope, ExecuteSpec, ExecuteStatus, ExecutorRequest,
    ExecutorResult, Mode, Outcome,
};
use lab::cloud::azure::example::{ROUTER, STANDBY, TABLE, example};
use lab::cloud::azure::{Assignment, Azure, NETWORK_CONTRIBUTOR};
use lab::cloud::fault::{Effect, Fault};
use lab::cloud::serve::{Listening, Server, Service};
use lab::cloud::tls::Authority;
use lab::fabric::{FabricState, NicId};
use serde_json::Value;

use crate::cases::{CASES, Case};
use crate::world::{World, normalize};

/// How long a request may take to arrive before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cloud on loopback.
struct Site {
    service: Arc<Service<Azure>>,
    table: Arc<RwLock<FabricState>>,
    endpoint: String,
    metadata: String,
    authority: PathBuf,
    _directory: tempfile::TempDir,
    _servers: [Server; 2],
}

impl Site {
    fn start(moves: bool, atomic: bool, prepare: Option<&Case>) -> Self {
        let (site, fabric) = example().expect("the example is valid");
        let table = Arc::new(RwLock::new(fabric.clone()));
        let mut azure = Azure::new(site, &fabric, [7; 32]);
        azure.site_mut().atomic_move = atomic;
        let scope = azure.site().group_id();
        for nic in [ROUTER, STANDBY] {
            let principal = azure.site().machines[&NicId::from(nic)].principal.clone();
            azure.assign_role(Assignment {
                principal,
                role: NETWORK_CONTRIBUTOR.to_owned(),
                scope: scope.clone(),
            });
        }
        let service = Service::new(azure, table.clone());
        let authority = Authority::new().expect("an authority");
        let tls = authority
            .server(&["localhost".to_owned()])
            .expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("authority.pem");
        std::fs::write(&file, authority.pem()).expect("write");
        let (secure, endpoint) = listener();
        let (clear, metadata) = listener();
        let start = |socket, tls| {
            let listening = Listening {
                socket,
                tls,
                origin: Box::new(|_| Some(ROUTER.into())),
                control: false,
            };
            Server::start(service.clone(), listening).expect("a server")
        };
        let servers = [start(secure, Some(tls)), start(clear, None)];
        let site = Self {
            service,
            table,
            endpoint: format!("https://localhost:{endpoint}"),
            metadata: format!("http://127.0.0.1:{metadata}"),
            authority: file,
            _directory: directory,
            _servers: servers,
        };
        site.prepare(moves, prepare);
        site
    }

    /// Brings about what the case begins with, through the program itself.
    fn prepare(&self, moves: bool, case: Option<&Case>) {
        use api::action::Verb::{
            AssignSecondaryIp, EnsureForwardingDisabled, EnsureForwardingEnabled, EnsureRoute,
            RemoveRoute, UnassignSecondaryIp,
        };
        let first = match case.map(|case| case.verb) {
            Some(EnsureForwardingDisabled) => EnsureForwardingEnabled,
            Some(UnassignSecondaryIp) => AssignSecondaryIp,
            Some(AssignSecondaryIp) if moves => AssignSecondaryIp,
            Some(EnsureRoute) if moves => EnsureRoute,
            Some(RemoveRoute) => EnsureRoute,
            _ => return,
        };
        let mut spec = World::new().spec(first, Mode::Execute);
        if moves {
            spec.target.nic_ref = Some(self.nic_id(STANDBY));
        }
        assert_eq!(self.run(spec).status, Outcome::Succeeded);
        self.service.with(|azure, _| azure.clear_log());
    }

    fn nic_id(&self, nic: &str) -> String {
        self.service
            .with(|azure, _| azure.site().nic_id(&nic.into()))
    }

    fn everything(&self) -> Vec<Option<Value>> {
        self.service.with(|azure, _| {
            let table = azure.site().table_id(&TABLE.into());
            let ids = [
                azure.site().nic_id(&ROUTER.into()),
                azure.site().nic_id(&STANDBY.into()),
                table,
            ];
            ids.iter()
                .map(|id| {
                    let mut document = azure.representation(id)?;
                    normalize(&mut document);
                    Some(document)
                })
                .collect()
        })
    }

    fn start_program(&self, mut spec: ExecuteSpec) -> Child {
        spec.context.profile.endpoint = Some(self.endpoint.clone());
        let request = ExecutorRequest::ExecuteActionRequest(Envelope {
            api_version: ApiVersion::V1Alpha1,
            spec,
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_azure-provider-executor"))
            .env_clear()
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &self.metadata)
            .env("SSL_CERT_FILE", &self.authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the executor");
        let mut stdin = child.stdin.take().expect("its input");
        let text = serde_json::to_string(&request).expect("a request");
        stdin.write_all(text.as_bytes()).expect("send the request");
        child
    }

    fn run(&self, spec: ExecuteSpec) -> ExecuteStatus {
        let output = self
            .start_program(spec)
            .wait_with_output()
            .expect("its end");
        result(&output)
    }

    /// Starts the program and kills it when its `step`-th request has been carried out and is not yet answered.
    /// False: it ended before that.
    fn kill_at(&self, spec: ExecuteSpec, step: u32) -> bool {
        let held = Fault::next(Effect::Latency { millis: 600_000 }).after(step);
        self.service.with(|azure, _| {
            azure.clear_log();
            azure.faults_mut().add(held);
        });
        let mut child = self.start_program(spec);
        let began = Instant::now();
        let wanted = usize::try_from(step).expect("small") + 1;
        let killed = loop {
            if self.service.with(|azure, _| azure.log().len()) >= wanted {
                child.kill().expect("kill -9");
                break true;
            }
            if child.try_wait().expect("its state").is_some() {
                break false;
            }
            assert!(began.elapsed() < PATIENCE, "request {wanted} never came");
            std::thread::yield_now();
        };
        child.wait().expect("its end");
        self.service
            .with(|azure, _| azure.faults_mut().set(Vec::new()));
        killed
    }
}

fn listener() -> (TcpListener, u16) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("its address").port();
    (socket, port)
}

fn result(output: &Output) -> ExecuteStatus {
    let text = String::from_utf8_lossy(&output.stdout);
    match serde_json::from_str(&text) {
        Ok(ExecutorResult::ExecuteActionResult(answer)) => answer.status,
        other => panic!(
            "{other:?} from {text}, {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[test]
fn the_program_is_killed_at_every_request() {
    let mut kills = 0;
    for case in &CASES {
        let moves = case.takes;
        let atomic = case.write.0 == "POST";
        for step in 0.. {
            let site = Site::start(moves, atomic, Some(case));
            let baseline = site.everything();
            let world = World::new();
            let seen = site.run(case.spec(&world, Mode::Observe, &Default::default()));
            let prior = seen.observed.as_prior();
            if !site.kill_at(case.spec(&world, Mode::Execute, &prior), step) {
                break;
            }
            kills += 1;
            let seen = site.run(case.spec(&world, Mode::Observe, &prior));
            assert_eq!(
                seen.status,
                Outcome::Succeeded,
                "{} step {step}: {seen:#?}",
                case.name
            );
            let done = site.run(case.spec(&world, Mode::Execute, &prior));
            assert_eq!(
                (done.status, done.effect),
                (Outcome::Succeeded, Some(Shown::Present)),
                "{done:#?}"
            );
            assert_eq!(
                done.changed,
                seen.effect != Some(Shown::Present),
                "{} step {step}",
                case.name
            );
            let undone = site.run(case.spec(&world, Mode::Rollback, &prior));
            assert_eq!(
                undone.status,
                Outcome::Succeeded,
                "{} step {step}: {undone:#?}",
                case.name
            );
            assert_eq!(site.everything(), baseline, "{} step {step}", case.name);
            let held = site.table.read().expect("the table").nics()[&ROUTER.into()]
                .addresses
                .len();
            assert_eq!(
                held,
                if case.name.starts_with("unassign") {
                    2
                } else {
                    1
                }
            );
        }
    }
    assert!(kills > 40, "only {kills} kills");
}

#[test]
fn an_authority_that_is_not_trusted_gets_no_request() {
    let site = Site::start(false, false, None);
    let spec = World::new().spec(CASES[0].verb, Mode::Observe);
    let child = {
        let other = tempfile::NamedTempFile::new().expect("a file");
        let authority = Authority::new().expect("another authority");
        std::fs::write(other.path(), authority.pem()).expect("write");
        let site = Site {
            authority: other.path().to_owned(),
            ..site
        };
        let output = site.start_program(ExecuteSpec {
            context: api::action::protocol::ExecutionContext {
                timeout_seconds: 5,
                ..spec.context.clone()
            },
            ..spec
        });
        output.wait_with_output().expect("its end")
    };
    let status = result(&child);
    assert_eq!(status.status, Outcome::Failed);
    assert!(status.message.contains("certificate"), "{}", status.message);
}
