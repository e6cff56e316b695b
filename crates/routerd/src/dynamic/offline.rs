//! `routerd dynamic`: what `routerctl dynamic` shows when it is given files instead of a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use api::control::{Config, SourceFile};
use routerd_core::dynamic::{self, Merged};
use routerd_core::{Effective, config};

use crate::cli::{Dynamic, DynamicWhat};
use crate::store::{Store, timestamp};

/// Prints parts or the effective configuration as JSON.
pub(crate) fn show(options: &Dynamic) -> Result<()> {
    let merged = merged(options.config.as_deref(), &options.state.state_file)?;
    let json = match options.what {
        DynamicWhat::Parts => serde_json::to_string(&dynamic::parts(&merged.merge)),
        DynamicWhat::Effective => {
            let view = dynamic::effective(&merged.effective, &merged.merge, merged.diagnostics);
            serde_json::to_string(&view)
        }
    };
    println!("{}", json?);
    Ok(())
}

/// The configuration of a file, else of the last verified generation, merged with the parts of a database: the way
/// of the daemon.
fn merged(config_file: Option<&Path>, state_file: &Path) -> Result<Merged> {
    let store = match state_file.exists() {
        true => Some(Store::open_to_read(state_file)?),
        false if config_file.is_some() => None,
        false => bail!("{} does not exist", state_file.display()),
    };
    let startup = match (config_file, &store) {
        (Some(path), _) => read(path)?,
        (None, Some(store)) => {
            let generation = store.last_verified()?;
            generation.map(|g| g.config).unwrap_or_default()
        }
        (None, None) => Config::default(),
    };
    let parts = store.map(|store| store.parts()).transpose()?;
    let base = base(&startup)?;
    Ok(dynamic::merge(
        &startup,
        &base,
        &parts.unwrap_or_default(),
        timestamp(),
    ))
}

fn base(startup: &Config) -> Result<Arc<Effective>> {
    if startup.files.is_empty() {
        return Ok(Arc::default());
    }
    let loaded = config::load(startup);
    if let Some(effective) = loaded.effective {
        return Ok(Arc::new(effective));
    }
    for found in &loaded.diagnostics {
        eprintln!("{found}\n");
    }
    bail!("the configuration is not valid")
}

fn read(path: &Path) -> Result<Config> {
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let entries: Result<Vec<PathBuf>, _> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect();
        paths = entries?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        paths.sort();
    }
    let file = |path: PathBuf| -> Result<SourceFile> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        Ok(SourceFile { name, text })
    };
    let files = paths.into_iter().map(file).collect::<Result<_>>()?;
    Ok(Config { files })
}
