//! `routerd serve`: puts the parts together and ends them in order.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use linux::Host;
use linux::path_mtu::PathMtu;
use linux::wireguard::Drivers;
use routerd_core::Kernel;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::actions::Actions;
use crate::bgp::{Bgp, Places};
use crate::cli::Serve;
use crate::control::{self, Control};
use crate::dynamic::{Shelf, Worker};
use crate::engine::{self, Captures, Engine, Message, Outbox};
use crate::federation::{self, Shared};
use crate::instance::Instance;
use crate::observer;
use crate::plugins::Plugins;
use crate::store::{Journal, PartStore, Store};
use crate::systemd;
use crate::view::{OpenKernel, View};

/// What is logged if [`LOG_VARIABLE`] does not say otherwise. The tunnel library warns of every handshake that
/// an absent peer does not answer, without saying which; status and doctor do.
const LOG: &str = "info,boringtun=off";
/// The variable with a filter of what to log, as `tracing_subscriber::EnvFilter` reads it.
const LOG_VARIABLE: &str = "ROUTERD_LOG";
/// Threads that may look at the host for clients at the same time.
const READERS: usize = 4;

/// Runs until a signal asks for the end.
pub(crate) fn serve(options: &Serve) -> Result<()> {
    log_to_stderr();
    let _instance = Instance::claim(&options.runtime_dir)?;
    let (outbox, inbox) = engine::channel();
    let wake = outbox.clone();
    let drivers = drivers()?;
    linux::watch::watch(drivers.clone(), move |why| wake.kernel(why))
        .context("watch the kernel")?;
    let captures: Arc<Mutex<dyn Captures>> = Arc::new(Mutex::new(linux::arp::Responder::default()));
    let paths = measure_paths(&outbox);
    let host = Host::open(drivers.clone())?;
    let kernel: Box<dyn Kernel + Send> = match paths.clone() {
        Some(paths) => Box::new(host.measuring(paths)),
        None => Box::new(host),
    };
    let open = open_host(drivers, paths);
    let config = options.config.clone();
    let state_file = options.state.state_file.clone();
    let store = Store::open(&state_file)?;
    let shared = Shared::open(&state_file, Arc::default())?;
    shared.store.recover_runs(federation::now())?;
    let view = View::new(open, Arc::clone(&captures), config.clone(), state_file);
    let speaker = open_speaker(options, &outbox)?;
    let view = view.with_speaker(Arc::clone(&speaker));
    let view = Arc::new(view.with_federation(Arc::clone(&shared)));
    let events = Arc::clone(&shared.store);
    let federation = federation::start(shared, view.follow())?;
    let shelf = Arc::new(Shelf::open(PartStore::open(&options.state.state_file)?)?);
    let engine = Engine::new(
        kernel,
        captures,
        store,
        Arc::clone(&shelf),
        Arc::clone(&view),
        Engine::PATIENCE,
    )?
    .with_speaker(Arc::clone(&speaker));
    let actions = open_actions(options, &view)?;
    let dynamic = Worker::new(
        shelf,
        Arc::clone(&events),
        Arc::clone(&actions),
        Arc::clone(&view),
        outbox.clone(),
    );
    let watching = observer::start(&view, events).context("start the observer")?;
    let crew = Crew::start(Arc::clone(&actions), dynamic, federation, watching, &view)?;
    let socket = options.socket();
    let listener = control::bind(&socket)?;
    tracing::info!(
        "routerd {} pid {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    let mut looping = start_loop(engine, inbox, config)?;
    let control = Control::new(view, outbox.clone(), actions).with_speaker(speaker);
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .context("start the control API")?
        .block_on(answer_until_signal(
            listener,
            control,
            &outbox,
            &mut looping,
        ));
    tracing::info!("stopping; what is in place goes on forwarding");
    // First no new clients, then the change that is under way, then the end.
    let _ = std::fs::remove_file(&socket);
    let crew = crew.stop();
    let _ = outbox.request(Message::Stop);
    let looped = looping.thread.join();
    crew?;
    looped.map_err(|_| anyhow!("the reconcile loop panicked"))??;
    served
}

/// Those who work beside the reconcile loop.
struct Crew {
    actions: (Arc<Actions>, JoinHandle<()>),
    dynamic: (Arc<Worker>, JoinHandle<()>),
    federation: federation::Running,
    observer: observer::Running,
}

impl Crew {
    fn start(
        actions: Arc<Actions>,
        dynamic: Arc<Worker>,
        federation: federation::Running,
        observer: observer::Running,
        view: &View,
    ) -> Result<Self> {
        let told = Arc::clone(&dynamic);
        view.listen(move |_, _| told.wake());
        let carrying = actions.start().context("start the actions")?;
        let making = dynamic.start().context("start the dynamic sources")?;
        Ok(Self {
            actions: (actions, carrying),
            dynamic: (dynamic, making),
            federation,
            observer,
        })
    }

    /// All are told before anybody is waited for.
    fn stop(self) -> Result<()> {
        self.dynamic.0.stop();
        self.actions.0.stop();
        self.observer.stop();
        self.federation.stop();
        let (making, carrying) = (self.dynamic.1.join(), self.actions.1.join());
        making.map_err(|_| anyhow!("the dynamic sources panicked"))?;
        carrying.map_err(|_| anyhow!("the actions panicked"))
    }
}

/// Actions, which hear what comes into force.
fn open_actions(options: &Serve, view: &View) -> Result<Arc<Actions>> {
    let plugins = Arc::new(open_plugins(options)?);
    let journal = Journal::open(&options.state.state_file)?;
    let actions = Arc::new(Actions::open(journal, plugins)?);
    let told = Arc::clone(&actions);
    view.listen(move |generation, effective| told.commit(generation, effective));
    Ok(actions)
}

/// Plugins, kept away from our configuration, our socket and our state.
fn open_plugins(options: &Serve) -> Result<Plugins> {
    let program = std::env::current_exe().context("find this program")?;
    let hidden = vec![options.config.clone(), options.runtime_dir.clone()];
    Ok(Plugins::open(program, &options.state.state_file, hidden)?)
}

/// The speaker, which begins with the first configuration that has one.
fn open_speaker(options: &Serve, outbox: &Outbox) -> Result<Arc<Bgp>> {
    let outbox = outbox.clone();
    let places = Places {
        memory: options.runtime_dir.join("bgp-sessions"),
        watch: options.runtime_dir.join("bfd.sock"),
        program: std::env::current_exe().context("find this program")?,
    };
    Ok(Arc::new(Bgp::new(places, move || outbox.wake("bgp"))))
}

/// Journald adds the time of its own; colours are for terminals.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.with_ansi(false).without_time().init();
    }
}

/// Tunnel processes are made from this very program.
pub(crate) fn drivers() -> Result<Drivers> {
    let program = std::env::current_exe().context("find this program")?;
    Ok(Drivers::new(program))
}

/// Asks peers how large packets may be; without, the MTUs are what the kernel knows of the underlay.
fn measure_paths(outbox: &Outbox) -> Option<PathMtu> {
    let wake = outbox.clone();
    let started = PathMtu::start(move || wake.wake("path-mtu"));
    started
        .inspect_err(|error| tracing::warn!(%error, "paths are not measured"))
        .ok()
}

/// Opens the kernel of this namespace, as often as asked; `paths` tells what was measured.
pub(crate) fn open_host(drivers: Drivers, paths: Option<PathMtu>) -> Box<OpenKernel> {
    Box::new(move || {
        let host = Host::open(drivers.clone())?;
        Ok(match paths.clone() {
            Some(paths) => Box::new(host.reading(paths)) as Box<dyn Kernel + Send>,
            None => Box::new(host),
        })
    })
}

/// The reconcile loop on a thread of its own.
struct Looping {
    thread: JoinHandle<Result<()>>,
    /// Hears when it has booted.
    booted: oneshot::Receiver<()>,
    /// Hears when it ends, however it ends.
    ended: oneshot::Receiver<()>,
}

fn start_loop(mut engine: Engine, inbox: engine::Inbox, config: PathBuf) -> Result<Looping> {
    let (up, booted) = oneshot::channel();
    let (alive, ended) = oneshot::channel();
    let body = move || {
        let _alive = alive;
        engine.boot(&config).context("boot")?;
        if let Err(error) = systemd::ready() {
            tracing::warn!("tell systemd: {error}");
        }
        // Nobody hears it only if the end was asked for meanwhile.
        let _ = up.send(());
        engine::run(engine, &inbox);
        Ok(())
    };
    let thread = thread::Builder::new().name("reconcile".to_owned());
    let thread = thread.spawn(body).context("start the reconcile loop")?;
    Ok(Looping {
        thread,
        booted,
        ended,
    })
}

/// Answers clients from the moment the host was booted, and returns when the end is asked for.
async fn answer_until_signal(
    listener: std::os::unix::net::UnixListener,
    control: Control,
    outbox: &Outbox,
    looping: &mut Looping,
) -> Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener).context("listen")?;
    let listen = |kind| -> Result<Signal> { signal(kind).context("listen for signals") };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let ended = &mut looping.ended;
    let stop = async {
        loop {
            tokio::select! {
                _ = &mut *ended => bail!("the reconcile loop ended"),
                _ = hangup.recv() => outbox.wake("hangup"),
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    };
    tokio::pin!(stop);
    tokio::select! {
        biased;
        Ok(()) = &mut looping.booted => {}
        why = &mut stop => return why,
    }
    control::serve(listener, control.router(), stop).await
}
