//! `lab run`.

use std::fs::{self, File};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::ValueEnum as _;
use clap::builder::PossibleValue;

use super::RunArgs;
use crate::control::client;
use crate::task::Task;
use crate::{sandbox, scenario};

/// One scenario.
pub(super) fn one(id: &str, args: &RunArgs, narrate: bool) -> Result<ExitCode> {
    scenario::find(id)?;
    let archive = args.evidence.as_ref().or(args.evidence_if_failed.as_ref());
    let evidence = archive
        .map(|path| File::create(path).with_context(|| format!("create {}", path.display())))
        .transpose()?;
    let name = match client::bind(id) {
        Ok(bound) => Ok(bound),
        // The same scenario may well run several times at once.
        Err(_) => client::bind(&format!("{id}-{}", std::process::id())),
    };
    let (listener, path) = name?;
    let task = Task::Run {
        scenario: id.to_owned(),
        json: args.json,
        keep: args.keep,
        narrate,
        only_failure: args.evidence_if_failed.is_some(),
        conditions: args.conditions(),
    };
    let code = sandbox::launch(&task, listener, evidence, args.keep);
    if !args.keep {
        // Nobody listens any more.
        drop(fs::remove_file(path));
    }
    if let Some(path) = &args.evidence_if_failed
        && fs::metadata(path).is_ok_and(|file| file.len() == 0)
    {
        fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    code
}

/// Several, every one in a process of its own.
pub(super) fn each<'a>(ids: impl Iterator<Item = &'a str>, args: &RunArgs) -> Result<ExitCode> {
    if args.keep || args.evidence.is_some() || args.evidence_if_failed.is_some() {
        bail!("--keep and --evidence… are for one scenario");
    }
    let ids: Vec<&str> = ids.collect();
    for id in &ids {
        scenario::find(id)?;
    }
    let options = options(args);
    let mut failed = Vec::new();
    for id in &ids {
        let run = Command::new("/proc/self/exe")
            .args(["run", id])
            .args(&options)
            .status()?;
        if !run.success() {
            failed.push(*id);
        }
    }
    let passed = ids.len() - failed.len();
    eprintln!("{passed} of {} scenarios passed", ids.len());
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
    }
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

/// What every single run is told.
fn options(args: &RunArgs) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(args.json.then(|| "--json".to_owned()));
    let mut say = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("--{name}={value}")));
    };
    let word = |value: Option<PossibleValue>| value.map(|value| value.get_name().to_owned());
    say("impair", args.impair.map(|quality| quality.to_string()));
    say(
        "impair-by",
        word(args.impair_by.and_then(|by| by.to_possible_value())),
    );
    say(
        "driver",
        word(args.driver.and_then(|driver| driver.to_possible_value())),
    );
    say("copy", args.copy.map(|mib| mib.to_string()));
    say("limit", args.limit.map(|seconds| seconds.to_string()));
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Verb};
    use super::*;

    fn read(words: &[&str]) -> RunArgs {
        let words = ["routerd-lab", "run", "all"].iter().chain(words);
        match Cli::try_parse_from(words).expect("read").verb {
            Verb::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_single_run_is_told_what_all_were_told() {
        let all = [
            "--json",
            "--impair=delay=50ms,jitter=20ms,loss=1%,reorder=0%",
            "--impair-by=netem",
            "--driver=user-space",
            "--copy=3",
            "--limit=90",
        ];
        assert_eq!(options(&read(&all)), all);
        assert_eq!(options(&read(&[])), Vec::<String>::new());
    }
}
