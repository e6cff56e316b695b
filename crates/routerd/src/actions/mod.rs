//! Provider actions in the daemon: the journal, what is in force, and the executors that run.
//!
//! ```text
//! generation in force ──► worker ── follow ──► journal ◄── import, approve ── control API
//!                            │                    ▲                              │
//!                            └── drive ── executor runs, a thread each ── drive ─┘
//! ```
//!
//! Which action goes on, and how far, is `routerd_core::action`'s to say. Here a row is on the disk before an
//! executor is started and again when it has ended. A daemon that dies takes its executors along (their
//! supervisor is told by the kernel); what they did is unknown then, and the next daemon writes that down before
//! anything else. Nothing here runs on the thread of the reconcile loop, and nothing waits for it.

mod desk;
mod drive;
mod look;
mod settings;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use api::action::control::{
    ActionDetail, ActionView, ApproveRequest, Import, ImportRequest, JournalReport, JournalRequest,
    PreflightReport, Proposal, Tampered,
};
use api::action::journal::{Actor, Event, Head, JournalRow};
use api::action::plan::ActionPlan;
use routerd_core::Effective;
use routerd_core::action::{self, Asker, Chain, FoldError};

use self::desk::Desk;
use self::settings::Settings;
use crate::plugins::{Plugins, Start};
use crate::store::{Journal, StoreError};
use crate::view::lock;

pub(crate) use drive::Asked;

/// All provider actions of this daemon.
pub(crate) struct Actions {
    desk: Mutex<Desk>,
    /// A row was written, a configuration came into force, or the end was asked for.
    changed: Condvar,
    plugins: Arc<Plugins>,
    looks: look::Looks,
}

/// A request about actions that was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Somebody else wrote to the journal.
    #[error("row {} of the action journal is not as it was written: {}; nothing is executed", .0.seq, .0.reason)]
    Tampered(Tampered),
    /// There is nothing to act for.
    #[error("no configuration is in force")]
    Idle,
    /// There is no such action.
    #[error("there is no action {0}")]
    NoAction(u64),
    /// There is neither such a cloud nor such a profile.
    #[error("no CloudProviderProfile is called {0} or is of that provider")]
    NoProvider(String),
    /// The state of an action does not allow it.
    #[error("action {}: {}", .0.action, .0.reason)]
    State(FoldError),
    /// The journal could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread could not be started.
    #[error("start a thread: {0}")]
    Thread(std::io::Error),
}

impl Actions {
    /// Reads the journal. Actions whose executor ran when the last daemon ended are noted as such.
    pub(crate) fn open(journal: Journal, plugins: Arc<Plugins>) -> Result<Self, StoreError> {
        let mut desk = Desk::open(journal)?;
        if let Some(tampered) = desk.tampered() {
            let (seq, reason) = (tampered.seq, &tampered.reason);
            tracing::error!("action journal, row {seq}: {reason}; no action is executed");
        } else {
            let interrupted = action::interrupted(desk.book());
            for (id, _) in &interrupted {
                tracing::warn!("action {id}: its executor was running when the daemon ended");
            }
            desk.append(interrupted).map_err(Trouble::into_store)?;
        }
        Ok(Self {
            desk: Mutex::new(desk),
            changed: Condvar::new(),
            plugins,
            looks: look::Looks::default(),
        })
    }

    /// Takes note of what is in force; returns at once.
    pub(crate) fn commit(&self, generation: u64, effective: &Arc<Effective>) {
        self.desk().commit(generation, effective);
        self.changed.notify_all();
    }

    /// Takes in plans.
    pub(crate) fn import(
        &self,
        request: &ImportRequest,
        by: &Actor,
    ) -> Result<Vec<Import>, Trouble> {
        let mut desk = self.current();
        let mut reports = Vec::new();
        if request.again {
            let settings = desk.settings()?;
            let effective = &settings.effective;
            let (again, plans) = Settings::of(settings.generation, effective, desk.book(), true);
            desk.enter(again);
            reports.extend(desk.import(&plans, &Actor::daemon())?);
        }
        reports.extend(desk.import(&request.plans, by)?);
        drop(desk);
        self.changed.notify_all();
        Ok(reports)
    }

    /// All actions in order of their numbers.
    pub(crate) fn list(&self) -> Vec<ActionView> {
        let desk = self.current();
        let actions = desk.book().actions();
        actions
            .map(|action| action::view(action, desk.held(action)))
            .collect()
    }

    /// An action with its rows.
    pub(crate) fn show(&self, id: u64) -> Result<ActionDetail, Trouble> {
        let desk = self.current();
        let action = desk.book().get(id).ok_or(Trouble::NoAction(id))?;
        let view = action::view(action, desk.held(action));
        let mut rows = desk.rows(0)?.0;
        rows.retain(|row| row.action == id);
        Ok(ActionDetail { action: view, rows })
    }

    /// Allows the execution of actions, or their rollback: all or none.
    pub(crate) fn approve(
        &self,
        request: &ApproveRequest,
        by: &Actor,
    ) -> Result<Vec<ActionView>, Trouble> {
        let mut desk = self.current();
        let ids: BTreeSet<u64> = request.ids.iter().copied().collect();
        desk.know(&ids)?;
        let approval = |id: &u64| {
            let by = by.clone();
            let rollback = request.rollback;
            (*id, Event::Approved { by, rollback })
        };
        desk.append(ids.iter().map(approval).collect())?;
        let actions = ids.iter().filter_map(|id| desk.book().get(*id));
        let views = actions
            .map(|action| action::view(action, desk.held(action)))
            .collect();
        drop(desk);
        self.changed.notify_all();
        Ok(views)
    }

    /// Rows of the journal as they are on the disk, checked from the first to the last.
    pub(crate) fn journal(&self, request: &JournalRequest) -> Result<JournalReport, Trouble> {
        let mut desk = self.current();
        let noted = request.head.iter().cloned().collect::<Vec<_>>();
        let (mut rows, checked) = desk.rows(0)?;
        let head = rows
            .last()
            .map_or_else(|| Chain::default().head().clone(), head_of);
        let tampered = match checked {
            Some(tampered) => Some(tampered),
            None if request.verify => desk.verify(&noted)?,
            None => None,
        };
        if let Some(tampered) = &tampered {
            desk.distrust(tampered);
        }
        rows.retain(|row| {
            row.seq > request.after && request.action.is_none_or(|id| row.action == id)
        });
        Ok(JournalReport {
            rows,
            head,
            tampered,
        })
    }

    /// Asks the executors of a cloud, or of one profile, whether they could do what is going to be asked. This
    /// changes nothing, so no policy has to let it pass.
    pub(crate) fn preflight(&self, provider: &str) -> Result<Vec<PreflightReport>, Trouble> {
        let (settings, asked) = {
            let desk = self.current();
            let settings = desk.settings()?;
            let proposed = Settings::of(0, &settings.effective, desk.book(), false).1;
            let profiles = settings.profiles.iter();
            let asked: Vec<(String, Vec<ActionPlan>)> = profiles
                .filter(|(name, profile)| {
                    *name == provider || profile.provider.as_str() == provider
                })
                .map(|(name, _)| {
                    let plans = action::outstanding(desk.book(), &proposed, name);
                    (name.clone(), plans)
                })
                .collect();
            (settings, asked)
        };
        if asked.is_empty() {
            return Err(Trouble::NoProvider(provider.to_owned()));
        }
        let report = |(name, plans): &(String, Vec<ActionPlan>)| {
            let (status, failure) = match self.ask_preflight(&settings, name, plans) {
                Ok(status) => (Some(status), None),
                Err(failure) => (None, Some(failure)),
            };
            PreflightReport {
                provider_ref: name.clone(),
                status,
                failure,
            }
        };
        Ok(asked.iter().map(report).collect())
    }

    fn ask_preflight(
        &self,
        settings: &Settings,
        name: &str,
        plans: &[ActionPlan],
    ) -> Result<api::action::protocol::PreflightStatus, String> {
        let profile = settings.profiles.get(name).ok_or("it is gone")?;
        let executor = profile.provider.executor();
        let plugin = settings
            .executor(&profile.provider)
            .ok_or_else(|| format!("there is no Plugin/{executor} with execute.providerAction"))?;
        let asker = Asker {
            node: &settings.node,
            profile,
            timeout: plugin.timeout,
        };
        let start = Start {
            name: &executor,
            plugin,
            effective: &settings.effective,
            reason: format!("preflight {name}"),
        };
        let request = asker.preflight(name, plans);
        let (_, answer) = self.plugins.ask(&start, &request, |ran| {
            let answer = action::preflight_answer(ran);
            let problem = answer.as_ref().err().cloned();
            (answer, problem)
        });
        answer
    }

    /// What a configuration asks of clouds, and what holds it back.
    pub(crate) fn proposals(&self, effective: &Arc<Effective>) -> Vec<Proposal> {
        self.desk().proposals(effective)
    }

    /// Why nothing is executed, if the journal is not as it was written.
    pub(crate) fn distrust(&self) -> Option<String> {
        let tampered = self.desk().tampered().cloned();
        tampered.map(|tampered| Trouble::Tampered(tampered).to_string())
    }

    /// The plugins of this daemon.
    pub(crate) fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    /// The desk with what just came into force taken up, whether the worker has seen it or not: whoever has applied
    /// a configuration finds its actions.
    fn current(&self) -> MutexGuard<'_, Desk> {
        let mut desk = self.desk();
        if desk.is_fresh() {
            if let Err(error) = desk.follow() {
                tracing::warn!("follow the configuration: {error}");
            }
            self.changed.notify_all();
        }
        desk
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

fn head_of(row: &JournalRow) -> Head {
    Head {
        seq: row.seq,
        hash: row.hash.clone(),
    }
}

impl Trouble {
    /// At the start nothing but the store can go wrong.
    fn into_store(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            other => StoreError::Journal(other.to_string()),
        }
    }
}
