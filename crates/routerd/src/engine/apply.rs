//! From one generation to the next: all of it verified, or all of it taken back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use api::Diagnostic;
use api::control::{ApplyReport, Config, SourceFile};
use routerd_core::dynamic::Merged;
use routerd_core::{Effective, Ledger, config};

use super::parts::Startup;
use super::{Engine, Pass, Trouble, summary};
use crate::store::{EventKind, Generation, State, StoreError, digest};

/// A configuration that is valid.
#[derive(Debug)]
pub(crate) struct Candidate {
    config: Config,
    digest: String,
    effective: Effective,
    warnings: Vec<Diagnostic>,
}

impl Candidate {
    /// Reads and compiles a configuration; hands back what is wrong with it.
    pub(crate) fn compile(config: Config) -> Result<Self, Vec<Diagnostic>> {
        let loaded = config::load(&config);
        let Some(effective) = loaded.effective else {
            return Err(loaded.diagnostics);
        };
        Ok(Self {
            digest: digest(&config),
            config,
            effective,
            warnings: loaded.diagnostics,
        })
    }
}

/// Why a configuration did not come into force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Nothing was done, since it could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was begun and taken back.
    #[error("{0}")]
    Reverted(Trouble),
    /// It was begun and could not be taken back at once; the daemon goes on trying.
    #[error("{cause}; going back failed too: {then}")]
    Stuck {
        /// Why it failed.
        cause: Trouble,
        /// What stands in the way of what was before.
        then: Box<Trouble>,
    },
    /// It is in force already, and the host cannot be brought to it; the daemon goes on trying.
    #[error("generation {id} is in force already, but {cause}")]
    Unreached {
        /// Which.
        id: u64,
        /// What stands in the way.
        cause: Trouble,
    },
    /// A teardown left something; the daemon goes on trying.
    #[error("not everything could be removed: {0}")]
    Left(Trouble),
}

impl Engine {
    /// Takes up where the last daemon on this host ended.
    pub(crate) fn boot(&mut self, config_file: &Path) -> Result<(), StoreError> {
        let interrupted = self.store.settle_interrupted()?;
        for id in &interrupted {
            tracing::warn!(
                "generation {id} was being applied when the daemon ended: taking it back"
            );
        }
        match self.store.last_verified()? {
            Some(generation) => self.boot_generation(generation),
            None => {
                self.boot_nothing(!interrupted.is_empty());
                self.boot_file(config_file);
            }
        }
        self.publish();
        Ok(())
    }

    fn boot_generation(&mut self, generation: Generation) {
        let (id, began) = (generation.id, Instant::now());
        self.state.generation = Some(id);
        let Some(effective) = compile(&generation.config) else {
            // Another version wrote it and this one cannot read it: what forwards is worth more than that.
            let error = format!("generation {id} is not valid for this version of routerd");
            tracing::error!("{error}; the host is left as it is");
            self.state.last_error = Some(error);
            return;
        };
        let startup = Startup {
            config: Arc::new(generation.config.clone()),
            base: Arc::new(effective),
        };
        let merged = self.merge(&startup);
        self.enter(generation, startup, merged);
        let (pass, trouble) = self.attempt_merged();
        let ms = began.elapsed().as_millis();
        let what = summary(&pass.done);
        tracing::info!(
            generation = id,
            ms,
            changed = pass.done.len(),
            "booted {what}"
        );
        self.note(EventKind::Started, &format!("generation {id} {what}"));
        if let Some(trouble) = trouble {
            tracing::warn!("not all of generation {id} is in place: {trouble}");
            self.state.last_error = Some(trouble.to_string());
        }
    }

    /// Without a generation only what is left of a first apply that died half-way is taken back.
    fn boot_nothing(&mut self, interrupted: bool) {
        if !interrupted && *self.state.ledger == Ledger::default() {
            return;
        }
        self.keeps = true;
        let (_, trouble) = self.attempt(&Effective::default());
        self.state.last_error = trouble.map(|trouble| trouble.to_string());
    }

    fn boot_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                tracing::info!(
                    "no generation yet and {name}: {error}; waiting for `routerctl apply`"
                );
                return;
            }
        };
        let config = Config {
            files: vec![SourceFile { name, text }],
        };
        let error = match Candidate::compile(config) {
            Ok(candidate) => self.apply(candidate).err().map(|e| e.to_string()),
            Err(diagnostics) => {
                diagnostics.iter().for_each(|d| tracing::error!("{d}"));
                Some("the configuration is not valid".to_owned())
            }
        };
        if let Some(error) = error {
            let error = format!("{}: {error}", path.display());
            tracing::error!("{error}");
            self.state.last_error = Some(error);
        }
    }

    /// Puts a configuration into force: checkpoint, plan, record, apply, verify, commit; back on failure.
    pub(crate) fn apply(&mut self, candidate: Candidate) -> Result<ApplyReport, ApplyError> {
        let mut warnings = candidate.warnings.clone();
        let pass = match self.state.generation {
            Some(id) if self.keeps && candidate.digest == self.state.digest => {
                self.apply_again(id, candidate)?
            }
            _ => self.apply_new(candidate)?,
        };
        let known: BTreeSet<String> = warnings.iter().map(ToString::to_string).collect();
        let doubts = self.state.doubts.iter();
        warnings.extend(doubts.filter(|d| !known.contains(&d.to_string())).cloned());
        Ok(self.report_of(warnings, pass))
    }

    fn apply_new(&mut self, candidate: Candidate) -> Result<Pass, ApplyError> {
        let began = Instant::now();
        let id = self.store.begin(&candidate.config, &candidate.effective)?;
        let startup = Startup {
            config: Arc::new(candidate.config),
            base: Arc::new(candidate.effective),
        };
        let (merged, pass, trouble) = self.prove_merged(&startup);
        let committed = match trouble {
            None => self.commit(id).map_err(Trouble::Store),
            Some(trouble) => Err(trouble),
        };
        if let Err(trouble) = committed {
            return Err(self.revert(id, trouble));
        }
        let generation = Generation::verified_now(id, candidate.digest);
        self.enter(generation, startup, merged);
        self.publish();
        let ms = began.elapsed().as_millis();
        let changed = pass.done.len();
        tracing::info!(generation = id, ms, changed, "applied");
        self.note(
            EventKind::Applied,
            &format!("generation {id}: {changed} changes"),
        );
        Ok(pass)
    }

    /// The same configuration once more makes no generation and has nothing to go back to.
    fn apply_again(&mut self, id: u64, candidate: Candidate) -> Result<Pass, ApplyError> {
        let startup = Startup {
            config: Arc::new(candidate.config),
            base: Arc::new(candidate.effective),
        };
        let (merged, pass, trouble) = self.prove_merged(&startup);
        self.startup = startup;
        self.take(merged);
        self.state.last_error = trouble.as_ref().map(ToString::to_string);
        self.publish();
        match trouble {
            None => Ok(pass),
            Some(cause) => Err(ApplyError::Unreached { id, cause }),
        }
    }

    fn commit(&mut self, id: u64) -> Result<(), StoreError> {
        self.store.settle(id, State::Verified, None)
    }

    /// Back to what was in force before, with whatever of it can be had.
    fn revert(&mut self, id: u64, cause: Trouble) -> ApplyError {
        tracing::warn!(generation = id, "taking back: {cause}");
        let previous = Arc::clone(&self.state.effective);
        self.keeps = true;
        let (_, trouble) = self.attempt(&previous);
        let state = match trouble {
            None => State::Reverted,
            Some(_) => State::Failed,
        };
        if let Err(error) = self.store.settle(id, state, Some(&cause.to_string())) {
            // Still pending then, which the next start reads as interrupted: the same as reverted.
            tracing::warn!("{error}");
        }
        self.note(EventKind::Reverted, &format!("generation {id}: {cause}"));
        match trouble {
            None => ApplyError::Reverted(cause),
            Some(then) => {
                self.state.last_error = Some(then.to_string());
                self.publish();
                ApplyError::Stuck {
                    cause,
                    then: Box::new(then),
                }
            }
        }
    }

    /// Gives the host back as it was. From the first moment on nothing brings the old generation back: after a
    /// crash in the middle the next start goes on with the teardown.
    pub(crate) fn teardown(&mut self) -> Result<ApplyReport, ApplyError> {
        let id = self.store.forget()?;
        let generation = Generation::verified_now(id, digest(&Config::default()));
        let startup = Startup::default();
        let merged = self.merge(&startup);
        self.enter(generation, startup, merged);
        let (pass, trouble) = self.attempt_merged();
        let left = trouble.or_else(|| match pass.settled {
            true => None,
            false => Some(Trouble::Unsettled {
                owner: None,
                rest: "somebody else writes too".to_owned(),
            }),
        });
        self.state.last_error = left.as_ref().map(ToString::to_string);
        self.publish();
        tracing::info!(generation = id, changed = pass.done.len(), "torn down");
        self.note(EventKind::TornDown, &format!("{} changes", pass.done.len()));
        match left {
            None => Ok(self.report_of(Vec::new(), pass)),
            Some(trouble) => Err(ApplyError::Left(trouble)),
        }
    }

    fn enter(&mut self, generation: Generation, startup: Startup, merged: Merged) {
        self.keeps = true;
        self.startup = startup;
        self.take(merged);
        self.state.generation = Some(generation.id);
        self.state.digest = generation.digest;
        self.state.since = generation.at;
        self.state.last_error = None;
    }

    fn report_of(&self, diagnostics: Vec<Diagnostic>, pass: Pass) -> ApplyReport {
        ApplyReport {
            generation: self.state.generation.unwrap_or_default(),
            diagnostics,
            plan: pass.into_view(),
        }
    }
}

/// What a stored configuration asks for. One without files is that of a host that was torn down.
pub(crate) fn compile(config: &Config) -> Option<Effective> {
    if config.files.is_empty() {
        return Some(Effective::default());
    }
    config::load(config).effective
}
