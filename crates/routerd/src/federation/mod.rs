//! Event federation of the daemon: one courier a peer, one listener a group, one thread for all of them.
//!
//! It owns sockets and the pace; what is signed, taken, refused, sent and when, `routerd_core::federation`
//! decides. Nothing here touches the host, and the reconcile loop never waits for it.

mod answer;
mod courier;
mod direct;
mod exchange;
mod facts;
mod key;
mod listener;
#[cfg(feature = "measure")]
pub mod measure;
mod metrics;
mod nats;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use api::time::Timestamp;
use routerd_core::Effective;
use routerd_core::federation::intent::{Auth, Federation, Transport};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::Metrics;
use crate::store::{EventStore, Reader, StoreError};

pub(crate) use answer::{answer, answer_offline};
pub(crate) use key::NodeKey;
pub(crate) use state::state_offline;

/// How often to look for events that another process stored.
const LOOK: Duration = Duration::from_millis(250);
/// How often to prune.
const PRUNE: Duration = Duration::from_secs(60);
/// Threads that may wait for the store at the same time.
const STORE_THREADS: usize = 16;

/// Tells the time; tests have one of their own.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all parts of the federation share.
pub(crate) struct Shared {
    pub(crate) store: Arc<EventStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node_key: NodeKey,
    pub(crate) clock: Clock,
    intent: RwLock<Arc<Federation>>,
    /// What keeps a resource from working, by its name as `Kind/name`.
    troubles: Mutex<BTreeMap<String, String>>,
    /// Changes when there may be new events.
    news: watch::Sender<u64>,
}

impl Shared {
    /// Opens the store beside a daemon's database.
    pub(crate) fn open(database: &Path, metrics: Arc<Metrics>) -> Result<Arc<Self>, StoreError> {
        Self::with_clock(database, metrics, Arc::new(now))
    }

    pub(crate) fn with_clock(
        database: &Path,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Arc<Self>, StoreError> {
        let store = Arc::new(EventStore::open(database)?);
        let (news, _) = watch::channel(0);
        let bell = news.clone();
        store.on_new(move || bell.send_modify(|count| *count += 1));
        Ok(Arc::new(Self {
            store,
            metrics,
            node_key: NodeKey::beside(database),
            clock,
            intent: RwLock::default(),
            troubles: Mutex::default(),
            news,
        }))
    }

    /// What the configuration in force asks for.
    pub(crate) fn intent(&self) -> Arc<Federation> {
        Arc::clone(&self.intent.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_intent(&self, intent: Federation) {
        let mut slot = self.intent.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(intent);
    }

    /// Notes what keeps a resource from working, or that nothing does.
    fn trouble(&self, resource: String, why: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let before = troubles.get(&resource);
        match why {
            Some(why) => {
                if before != Some(&why) {
                    tracing::warn!("{resource}: {why}");
                }
                troubles.insert(resource, why);
            }
            None => drop(troubles.remove(&resource)),
        }
    }

    /// What keeps resources from working.
    pub(crate) fn troubles(&self) -> BTreeMap<String, String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.clone()
    }

    /// Works with the store on a thread that may block.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        Ok(done.context("work with the store")??)
    }
}

/// The federation while it runs.
pub(crate) struct Running {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Ends it; what was under way is repeated by the next daemon.
    pub(crate) fn stop(self) {
        // Nobody hears it if the thread has ended.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the federation's thread panicked");
        }
    }
}

/// Starts the thread. It follows `effective` from then on.
pub(crate) fn start(
    shared: Arc<Shared>,
    effective: watch::Receiver<Arc<Effective>>,
) -> Result<Running> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(STORE_THREADS)
        .build()
        .context("start the federation")?;
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("federation".to_owned());
    let thread = thread
        .spawn(move || {
            runtime.block_on(follow(shared, effective, stopped));
            // A store call that is under way is short; a network call is given up.
            runtime.shutdown_timeout(Duration::from_secs(5));
        })
        .context("start the federation")?;
    Ok(Running { thread, stop })
}

async fn follow(
    shared: Arc<Shared>,
    mut effective: watch::Receiver<Arc<Effective>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    let mut prune = tokio::time::interval(PRUNE);
    let mut version = None;
    effective.mark_changed();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            changed = effective.changed() => {
                if changed.is_err() {
                    return;
                }
                let intent = effective.borrow_and_update().federation.clone();
                if *shared.intent() != intent {
                    shared.set_intent(intent);
                    tasks.shutdown().await;
                    begin(&shared, &mut tasks).await;
                }
            }
            _ = look.tick() => look_for_news(&shared, &mut version).await,
            _ = prune.tick() => report(prune_all(&shared).await),
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("a part of the federation panicked: {error}");
                }
            }
        }
    }
}

/// Starts everything that the intent asks for.
async fn begin(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    let intent = shared.intent();
    shared
        .troubles
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    report(forget_old(shared, &intent).await);
    if intent
        .groups
        .values()
        .any(|group| group.auth == Auth::NodeKey)
        && let Err(error) = shared.node_key.signer()
    {
        tracing::error!("{error}");
    }
    for (name, group) in &intent.groups {
        match &group.transport {
            Transport::Direct => {
                if let Some(address) = group.listen {
                    tasks.spawn(listener::listen(Arc::clone(shared), name.clone(), address));
                }
            }
            Transport::Nats(nats) => {
                tasks.spawn(nats::receive(
                    Arc::clone(shared),
                    name.clone(),
                    nats.clone(),
                ));
            }
        }
        for (peer, _) in intent.receivers(name) {
            tasks.spawn(courier::carry(Arc::clone(shared), peer.clone()));
        }
    }
}

async fn forget_old(shared: &Arc<Shared>, intent: &Federation) -> Result<()> {
    let peers: Vec<String> = intent
        .groups
        .keys()
        .flat_map(|group| intent.receivers(group).map(|(name, _)| name.clone()))
        .collect();
    let subscriptions: Vec<String> = intent.subscriptions.keys().cloned().collect();
    shared
        .blocking(move |shared| {
            let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
            shared.store.keep_readers(Reader::Peer, &peers)?;
            let subscriptions: Vec<&str> = subscriptions.iter().map(String::as_str).collect();
            shared
                .store
                .keep_readers(Reader::Subscription, &subscriptions)
        })
        .await
}

/// Another process may have stored events: `routerctl federation event emit --state-file`.
async fn look_for_news(shared: &Arc<Shared>, version: &mut Option<i64>) {
    match shared.blocking(|shared| shared.store.version()).await {
        Ok(now) if version.replace(now).is_some_and(|before| before != now) => {
            shared.store.announce();
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("{error:#}"),
    }
}

async fn prune_all(shared: &Arc<Shared>) -> Result<()> {
    let intent = shared.intent();
    for (name, group) in &intent.groups {
        let (group_name, retention) = (name.clone(), group.retention);
        let pruned = shared
            .blocking(move |shared| shared.store.prune((shared.clock)(), &group_name, retention))
            .await?;
        metrics::pruned(&shared.metrics, name, pruned);
    }
    Ok(())
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!("{error:#}");
    }
}

/// The time of day.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
