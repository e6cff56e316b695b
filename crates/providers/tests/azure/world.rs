//! One subscription, one clock, no sockets.
//!
//! ```text
//! 10.77.60.0/24: ce-router-nic .4 (the executor's machine), ce-standby-nic .5, ce-client-nic .7; table ce-routes
//! captured: .9
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use api::action::Verb;
use api::action::plan::{Facts, Parameters, Target};
use api::action::protocol::{
    ApiVersion, Effect, Envelope, ExecuteSpec, ExecuteStatus, ExecutionContext, ExecutorRequest,
    ExecutorResult, Mode, Outcome, PreflightIntent, PreflightSpec, PreflightStatus,
    ProviderProfile,
};
use lab::cloud::azure::example::{ROUTER, STANDBY, TABLE, example};
use lab::cloud::azure::{Assignment, Azure, NETWORK_CONTRIBUTOR};
use lab::cloud::fault::Fault;
use lab::cloud::{Cloud, Request as LabRequest};
use lab::fabric::{FabricState, NicId};
use providers::clock::Clock;
use providers::executor::{self, Session};
use providers::http::{Request, Response, Transport, TransportError};
use serde_json::Value;

pub const CAPTURED: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 9);
const ENDPOINT: &str = "https://management.azure.com";

/// Changes the answer to a request.
pub type Tamper = fn(&Request, &mut Response);

/// What a process that is killed throws.
pub struct Killed;

pub struct World {
    pub azure: RefCell<Azure>,
    pub fabric: RefCell<FabricState>,
    now: Cell<Duration>,
    /// Requests until the executor is killed, and whether the last of them is carried out.
    kill: Cell<Option<(usize, bool)>>,
    /// So many requests more find nobody.
    pub unreachable: Cell<usize>,
    /// What becomes of answers on their way.
    pub tamper: Cell<Tamper>,
    /// Requests so far.
    pub requests: Cell<usize>,
    /// Seconds that the daemon gives the executor.
    pub timeout: Cell<u64>,
    machine: &'static str,
}

impl World {
    /// Every router may do everything in the resource group.
    pub fn new() -> Self {
        let world = Self::without_roles();
        let group = world.azure.borrow().site().group_id();
        for nic in [ROUTER, STANDBY] {
            world.grant(nic, &group);
        }
        world
    }

    pub fn without_roles() -> Self {
        let (site, fabric) = example().expect("the example is valid");
        Self {
            azure: RefCell::new(Azure::new(site, &fabric, [7; 32])),
            fabric: RefCell::new(fabric),
            now: Cell::new(Duration::ZERO),
            kill: Cell::new(None),
            unreachable: Cell::new(0),
            tamper: Cell::new(|_, _| ()),
            requests: Cell::new(0),
            timeout: Cell::new(120),
            machine: ROUTER,
        }
    }

    /// Gives a NIC's machine the role Network Contributor at a scope.
    pub fn grant(&self, nic: &str, scope: &str) {
        let mut azure = self.azure.borrow_mut();
        let principal = azure.site().machines[&NicId::from(nic)].principal.clone();
        azure.assign_role(Assignment {
            principal,
            role: NETWORK_CONTRIBUTOR.to_owned(),
            scope: scope.to_owned(),
        });
    }

    pub fn nic_id(&self, nic: &str) -> String {
        self.azure.borrow().site().nic_id(&NicId::from(nic))
    }

    pub fn route_id(&self, name: &str) -> String {
        let azure = self.azure.borrow();
        format!("{}/routes/{name}", azure.site().table_id(&TABLE.into()))
    }

    pub fn fault(&self, fault: Fault) {
        self.azure.borrow_mut().faults_mut().add(fault);
    }

    pub fn operation_time(&self, time: Duration) {
        self.azure.borrow_mut().site_mut().operation_time = time;
    }

    pub fn atomic_move(&self) {
        self.azure.borrow_mut().site_mut().atomic_move = true;
    }

    /// Lets operations in progress end.
    pub fn wait(&self, time: Duration) {
        self.now.set(self.now.get() + time);
        self.azure
            .borrow_mut()
            .advance(&mut self.fabric.borrow_mut(), self.now.get());
    }

    /// The representation of a resource without tags and states; nothing if it is not there.
    pub fn shown(&self, id: &str) -> Option<Value> {
        let mut document = self.azure.borrow().representation(id)?;
        normalize(&mut document);
        Some(document)
    }

    /// Both routers' NICs and the route table.
    pub fn everything(&self) -> Vec<Option<Value>> {
        let table = self.azure.borrow().site().table_id(&TABLE.into());
        [self.nic_id(ROUTER), self.nic_id(STANDBY), table]
            .iter()
            .map(|id| self.shown(id))
            .collect()
    }

    /// Which NIC the packets for an address go to.
    pub fn holder(&self, address: Ipv4Addr) -> Option<String> {
        self.fabric
            .borrow()
            .holder(address)
            .map(ToString::to_string)
    }

    /// Puts an address on a NIC before anything is recorded.
    pub fn with_address(self, nic: &str, name: &str, address: Ipv4Addr) -> Self {
        let parameters = Parameters {
            name: Some(name.to_owned()),
            ..Parameters::default()
        };
        let status = self.run(Verb::AssignSecondaryIp, Mode::Execute, |spec| {
            spec.target.nic_ref = Some(self.nic_id(nic));
            spec.parameters = parameters.clone();
            spec.target.address = Some(address.into());
        });
        assert_eq!(status.status, Outcome::Succeeded, "{status:?}");
        self.azure.borrow_mut().clear_log();
        self.requests.set(0);
        self
    }

    pub fn spec(&self, verb: Verb, mode: Mode) -> ExecuteSpec {
        let address = verb.takes_address().then(|| CAPTURED.into());
        ExecuteSpec {
            action: verb,
            provider: "azure".parse().expect("a provider"),
            provider_ref: "azure-lab".to_owned(),
            target: Target {
                nic_ref: None,
                route_table_ref: None,
                address,
            },
            parameters: Parameters::default(),
            mode,
            idempotency_key: "key".to_owned(),
            prior: Facts::default(),
            context: self.context(),
        }
    }

    fn context(&self) -> ExecutionContext {
        ExecutionContext {
            node: "routerd-cloud".to_owned(),
            timeout_seconds: self.timeout.get(),
            profile: ProviderProfile::default(),
        }
    }

    pub fn run(&self, verb: Verb, mode: Mode, change: impl Fn(&mut ExecuteSpec)) -> ExecuteStatus {
        let mut spec = self.spec(verb, mode);
        change(&mut spec);
        self.execute(spec)
    }

    pub fn execute(&self, spec: ExecuteSpec) -> ExecuteStatus {
        let request = ExecutorRequest::ExecuteActionRequest(Envelope {
            api_version: ApiVersion::V1Alpha1,
            spec,
        });
        match self.answer(&request) {
            ExecutorResult::ExecuteActionResult(answer) => answer.status,
            ExecutorResult::PreflightResult(_) => panic!("an action answered as a preflight"),
        }
    }

    pub fn preflight(&self, intents: Vec<PreflightIntent>) -> PreflightStatus {
        let request = ExecutorRequest::PreflightRequest(Envelope {
            api_version: ApiVersion::V1Alpha1,
            spec: PreflightSpec {
                provider: "azure".parse().expect("a provider"),
                provider_ref: "azure-lab".to_owned(),
                intents,
                context: self.context(),
            },
        });
        match self.answer(&request) {
            ExecutorResult::PreflightResult(answer) => answer.status,
            ExecutorResult::ExecuteActionResult(_) => panic!("a preflight answered as an action"),
        }
    }

    fn answer(&self, request: &ExecutorRequest) -> ExecutorResult {
        let session = Session {
            api: self,
            metadata: self,
            clock: self,
            environment: BTreeMap::new(),
        };
        executor::answer::<providers::azure::Azure>(request, &session)
    }

    /// Runs an action whose process is killed at its `step`-th request, before the request leaves or after it
    /// was carried out. Nothing: it ended before that.
    pub fn run_killed(&self, spec: ExecuteSpec, step: usize, carried_out: bool) -> Option<()> {
        self.kill.set(Some((step, carried_out)));
        let run = std::panic::AssertUnwindSafe(|| self.execute(spec));
        let ended = std::panic::catch_unwind(run);
        self.kill.set(None);
        match ended {
            Ok(_) => None,
            Err(thrown) if thrown.is::<Killed>() => Some(()),
            Err(thrown) => std::panic::resume_unwind(thrown),
        }
    }

    fn request(&self, request: &Request) -> LabRequest {
        let (place, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let at = place.find("://").map_or(0, |at| at + 3);
        let slash = place[at..]
            .find('/')
            .map_or(place.len(), |found| at + found);
        LabRequest {
            method: request.method.as_str().to_owned(),
            base: place[..slash].to_owned(),
            path: place[slash..].to_owned(),
            query: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            body: request
                .body
                .as_ref()
                .map(|body| body.to_string().into_bytes())
                .unwrap_or_default(),
            from: Some(self.machine.into()),
        }
    }
}

impl Transport for World {
    fn exchange(&self, request: &Request, _: Duration) -> Result<Response, TransportError> {
        let host = request.url.split('/').nth(2).unwrap_or_default();
        assert!(
            request.url.starts_with(ENDPOINT) || host == "169.254.169.254",
            "a request to {}",
            request.url
        );
        self.requests.set(self.requests.get() + 1);
        if self.unreachable.get() > 0 {
            self.unreachable.set(self.unreachable.get() - 1);
            return Err(TransportError::Unreachable {
                host: host.to_owned(),
                reason: "connection refused".to_owned(),
            });
        }
        let dies = match self.kill.get() {
            Some((1, false)) => std::panic::resume_unwind(Box::new(Killed)),
            Some((1, true)) => true,
            Some((left, after)) => {
                self.kill.set(Some((left - 1, after)));
                false
            }
            None => false,
        };
        self.now.set(self.now.get() + Duration::from_millis(10));
        let reply = self.azure.borrow_mut().handle(
            &mut self.fabric.borrow_mut(),
            self.now.get(),
            &self.request(request),
        );
        if dies {
            std::panic::resume_unwind(Box::new(Killed));
        }
        self.now.set(self.now.get() + reply.after);
        match reply.response {
            Some(response) => {
                let mut answer = Response {
                    status: response.status,
                    headers: response.headers,
                    body: response.body,
                };
                self.tamper.get()(request, &mut answer);
                Ok(answer)
            }
            None => Err(TransportError::Lost {
                host: host.to_owned(),
                reason: "the connection was closed".to_owned(),
            }),
        }
    }
}

impl Clock for World {
    fn elapsed(&self) -> Duration {
        self.now.get()
    }

    fn sleep(&self, duration: Duration) {
        self.now.set(self.now.get() + duration);
    }

    fn jitter(&self) -> f64 {
        0.5
    }
}

/// Takes tags and states out, which change with every write.
pub fn normalize(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| name != "etag" && name != "provisioningState");
            members.values_mut().for_each(normalize);
        }
        Value::Array(entries) => entries.iter_mut().for_each(normalize),
        _ => {}
    }
}

pub fn class(status: &ExecuteStatus) -> &'static str {
    status
        .error
        .as_ref()
        .map_or("none", |error| error.class.as_str())
}

#[track_caller]
pub fn succeeded(status: &ExecuteStatus, changed: bool) {
    assert_eq!(status.status, Outcome::Succeeded, "{status:#?}");
    assert_eq!(status.changed, changed, "{status:#?}");
    assert_eq!(status.error, None);
}

#[track_caller]
pub fn present(status: &ExecuteStatus) {
    assert_eq!(status.effect, Some(Effect::Present), "{status:#?}");
}
