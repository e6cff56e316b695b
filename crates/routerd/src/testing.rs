//! An engine, its store, and a host in memory that outlives both.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::control::{ApplyReport, Config, SourceFile};
use api::time::Timestamp;
use api::{IfName, MobileAddress};
use routerd_core::effective::{RouteKey, RouteTarget};
use routerd_core::fake::FakeKernel;
use routerd_core::kernel::{Kernel, KernelError, StepError};
use routerd_core::observed::{ArpConflict, Observed, Query, Route};
use routerd_core::plan::Step;
use tempfile::TempDir;

use crate::actions::Actions;
use crate::dynamic::Shelf;
use crate::engine::{ApplyError, Candidate, Captures, Engine, Outcome};
use crate::plugins::Plugins;
use crate::store::{Journal, PartStore, Store, timestamp};
use crate::view::{View, lock};

const ONPREM: &str = include_str!("../../../examples/two-site-onprem.yaml");
const CLOUD: &str = include_str!("../../../examples/two-site-cloud.yaml");

/// What another writer does.
type Meddling = fn(&mut FakeKernel);

/// The host, shared by everybody who looks at it or plays somebody else on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    pub(crate) kernel: Arc<Mutex<FakeKernel>>,
    /// What happens after every call of `apply`; plays another writer.
    pub(crate) after: Arc<Mutex<Option<Meddling>>>,
    /// How often it was looked at.
    pub(crate) looks: Arc<Mutex<usize>>,
}

impl Kernel for Host {
    fn observe(&mut self, query: &Query) -> Result<Observed, KernelError> {
        *lock(&self.looks) += 1;
        lock(&self.kernel).observe(query)
    }

    fn apply(&mut self, steps: &[Step]) -> Result<(), StepError> {
        let mut kernel = lock(&self.kernel);
        let result = kernel.apply(steps);
        if let Some(after) = *lock(&self.after) {
            after(&mut kernel);
        }
        result
    }
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Told(pub(crate) BTreeMap<IfName, BTreeMap<MobileAddress, bool>>);

impl Captures for Told {
    fn update(&mut self, wanted: &BTreeMap<IfName, BTreeMap<MobileAddress, bool>>) {
        self.0.clone_from(wanted);
    }

    fn conflicts(&self) -> BTreeMap<MobileAddress, ArpConflict> {
        BTreeMap::new()
    }
}

/// A node that survives its daemons.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) host: Host,
    pub(crate) told: Arc<Mutex<Told>>,
}

/// A daemon of a node.
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) view: Arc<View>,
    pub(crate) shelf: Arc<Shelf>,
}

thread_local! {
    /// How far the clock of this test's parts goes ahead of the host's, in milliseconds.
    static AHEAD: Cell<u64> = const { Cell::new(0) };
}

/// The time that parts go by in tests.
pub(crate) fn clock() -> Timestamp {
    timestamp().plus_millis(AHEAD.get())
}

/// Lets time pass for parts.
pub(crate) fn pass_time(millis: u64) {
    AHEAD.set(AHEAD.get() + millis);
}

impl Bench {
    /// The on-prem router of the example, with a LAN and an uplink.
    pub(crate) fn onprem() -> Self {
        let mut kernel = FakeKernel::new();
        link(&mut kernel, "ens21", "10.77.60.2/24");
        link(&mut kernel, "ens18", "203.0.113.2/24");
        default_route(&mut kernel, "ens18", "203.0.113.1");
        Self::with(kernel)
    }

    /// The cloud router of the example, with one NIC.
    pub(crate) fn cloud() -> Self {
        let mut kernel = FakeKernel::new();
        link(&mut kernel, "eth0", "10.77.60.4/24");
        default_route(&mut kernel, "eth0", "10.77.60.1");
        Self::with(kernel)
    }

    fn with(kernel: FakeKernel) -> Self {
        let host = Host::default();
        *lock(&host.kernel) = kernel;
        Self {
            folder: tempfile::tempdir().expect("temporary directory"),
            host,
            told: Arc::default(),
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("routerd.db")
    }

    /// A daemon that has not booted yet.
    pub(crate) fn start(&self) -> Daemon {
        let host = self.host.clone();
        let open = move || Ok(Box::new(host.clone()) as Box<dyn Kernel + Send>);
        let told = Arc::clone(&self.told) as Arc<Mutex<dyn Captures>>;
        let view = View::new(
            Box::new(open),
            Arc::clone(&told),
            self.folder.path().join("router.yaml"),
            self.database(),
        );
        let view = Arc::new(view);
        let store = Store::open(&self.database()).expect("store");
        let kernel = Box::new(self.host.clone());
        let patience = Duration::from_millis(50);
        let parts = PartStore::open(&self.database()).expect("store");
        let shelf = Shelf::with_clock(parts, clock).expect("shelf");
        let shelf = Arc::new(shelf);
        let engine = Engine::new(
            kernel,
            told,
            store,
            Arc::clone(&shelf),
            Arc::clone(&view),
            patience,
        );
        Daemon {
            engine: engine.expect("engine"),
            view,
            shelf,
        }
    }

    /// The actions of a daemon on this node. Its plugins are started by the program that is given.
    pub(crate) fn actions(&self, program: &std::path::Path) -> Arc<Actions> {
        let hidden = vec![self.folder.path().join("router.yaml")];
        let plugins = Plugins::open(program.to_owned(), &self.database(), hidden);
        let journal = Journal::open(&self.database()).expect("journal");
        let actions = Actions::open(journal, Arc::new(plugins.expect("plugins")));
        Arc::new(actions.expect("actions"))
    }

    /// A daemon that has booted.
    pub(crate) fn boot(&self) -> Daemon {
        let mut daemon = self.start();
        let file = self.folder.path().join("router.yaml");
        daemon.engine.boot(&file).expect("boot");
        daemon
    }

    /// The machine restarts: what the kernel had is gone, key files stay.
    pub(crate) fn reboot(&self, fresh: &FakeKernel) {
        let mut kernel = lock(&self.host.kernel);
        let keys = std::mem::take(&mut kernel.keys);
        *kernel = fresh.clone();
        kernel.keys = keys;
    }

    /// Plays somebody else on the host.
    pub(crate) fn meddle<T>(&self, change: impl FnOnce(&mut FakeKernel) -> T) -> T {
        change(&mut lock(&self.host.kernel))
    }

    /// All that is on the host; routes in order of their keys.
    pub(crate) fn seen(&self) -> Observed {
        let mut seen = self.meddle(|kernel| kernel.host.clone());
        seen.routes.sort();
        seen
    }
}

impl Daemon {
    pub(crate) fn apply(&mut self, config: &Config) -> Result<ApplyReport, ApplyError> {
        let candidate = Candidate::compile(config.clone()).expect("valid");
        self.engine.apply(candidate)
    }

    pub(crate) fn repair(&mut self) -> Outcome {
        self.engine.repair("test")
    }

    pub(crate) fn generation(&self) -> Option<u64> {
        self.view.status().expect("status").generation
    }

    /// What a client would see as still to do.
    pub(crate) fn pending(&self) -> usize {
        let report = self.view.plan(None, |_| Vec::new()).expect("plan");
        report.plan.steps.len()
    }
}

pub(crate) fn onprem() -> Config {
    config(ONPREM)
}

pub(crate) fn cloud() -> Config {
    config(CLOUD)
}

/// The on-prem example with another tunnel address, MTU and a route more.
pub(crate) fn onprem_changed() -> Config {
    let mut text = ONPREM.replace("10.255.60.2/32", "10.255.60.3/32");
    text = text.replace("listenPort: 51820", "listenPort: 51821\n        mtu: 1380");
    text.push_str(
        "
    - apiVersion: net.routerd.net/v1alpha1
      kind: IPv4Route
      metadata:
        name: lab
      spec:
        destination: 10.90.0.0/16
        device: ens21
        gateway: 10.77.60.200
",
    );
    config(&text)
}

fn config(text: &str) -> Config {
    let file = SourceFile {
        name: "router.yaml".to_owned(),
        text: text.to_owned(),
    };
    Config { files: vec![file] }
}

pub(crate) fn ifname(name: &str) -> IfName {
    name.parse().expect("interface name")
}

fn link(kernel: &mut FakeKernel, name: &str, address: &str) {
    kernel.add_link(name, "", true);
    let net = address.parse().expect("address");
    let added = kernel.add_address(&ifname(name), net, false);
    added.expect("address");
}

fn default_route(kernel: &mut FakeKernel, device: &str, gateway: &str) {
    let route = Route {
        key: RouteKey {
            table: 254,
            destination: "0.0.0.0/0".parse().expect("prefix"),
            metric: 100,
        },
        target: RouteTarget::Unicast {
            device: Some(ifname(device)),
            gateway: Some(gateway.parse().expect("gateway")),
        },
        preferred_source: None,
        protocol: 16,
    };
    kernel.add_route(&route).expect("default route");
}
