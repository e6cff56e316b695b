//! `routerd doctor`: the checks of `routerctl doctor` without the daemon.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use api::doctor::CheckStatus;

use crate::cli::{Doctor, Output};
use crate::engine::{self, Captures};
use crate::serve::{drivers, open_host};
use crate::store::{Store, timestamp};
use crate::view::{Snapshot, View};

/// Checks this host against the last verified generation and prints what was found.
pub(crate) fn doctor(options: &Doctor) -> Result<ExitCode> {
    let path = &options.state.state_file;
    let captures: Arc<Mutex<dyn Captures>> = Arc::new(Mutex::new(linux::arp::Responder::default()));
    let view = View::new(
        open_host(drivers()?, None),
        captures,
        Default::default(),
        path.clone(),
    );
    if path.exists() {
        view.publish(stored(&Store::open_to_read(path)?)?);
    }
    let daemon = UnixStream::connect(&options.socket).is_ok();
    let report = view.doctor(options.area.as_deref(), daemon, None, &|_| BTreeMap::new())?;
    match options.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Output::Table => print!("{report}"),
    }
    Ok(match report.summary.overall {
        CheckStatus::Fail => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// What the daemon would have in force.
fn stored(store: &Store) -> Result<Snapshot> {
    let ledger = Arc::new(store.ledger()?);
    let Some(generation) = store.last_verified()? else {
        return Ok(Snapshot {
            ledger,
            ..Snapshot::default()
        });
    };
    let effective = engine::compile(&generation.config)
        .with_context(|| format!("generation {} is not valid for this routerd", generation.id))?;
    let stock = store.parts()?;
    let merged = engine::merged(&generation.config, &effective, &stock, timestamp());
    Ok(Snapshot {
        generation: Some(generation.id),
        digest: generation.digest,
        since: generation.at,
        effective: Arc::new(merged.effective),
        merge: Arc::new(merged.merge),
        doubts: Arc::new(merged.diagnostics),
        stock: Arc::new(stock),
        ledger,
        removals: store.removals()?,
        ..Snapshot::default()
    })
}
