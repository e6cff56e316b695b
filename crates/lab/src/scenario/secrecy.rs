//! Credentials are in the executor alone: not in the daemon's memory, not in what it writes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memchr::memmem::Finder;

use super::trial::Trial;
use crate::router;
use crate::topology::Site;

/// What the daemon certainly knows: whoever searches must be able to find.
const KNOWN: &str = "azure-provider-executor";
/// Memory is read in pieces of so many bytes.
const PIECE: usize = 1 << 20;

/// Searches the cloud router's daemon for every token that the metadata service has issued.
pub(super) fn run(trial: &mut Trial<'_>) {
    trial.check("no-credential-in-the-daemon", |trial| {
        let tokens = trial.cloud()?.with(|azure| azure.tokens());
        if tokens.is_empty() {
            bail!("no token was issued: there is nothing to search for");
        }
        // The last part alone would do to use it.
        let secrets: Vec<&str> = tokens.iter().filter_map(|t| t.rsplit('.').next()).collect();
        let node = trial.router(Site::Cloud)?;
        let pid = router::status(node)?["pid"].as_u64().context("no pid")?;
        let known = memory(pid, &[KNOWN])?;
        let mut found = memory(pid, &secrets)?;
        let mut files = files_below(&node.outside("/var/lib/routerd"));
        files.push(router::log_file(node));
        for file in &files {
            let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
            found += count(&bytes, &secrets);
        }
        let detail = format!(
            "{} tokens: found {found} times in memory and {} files; a known word {known} times",
            tokens.len(),
            files.len()
        );
        Ok((found == 0 && known > 0 && files.len() > 1, detail))
    });
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

/// How often any of the words is in what a process can write to.
fn memory(pid: u64, words: &[&str]) -> Result<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("read the daemon's maps")?;
    let memory = File::open(format!("/proc/{pid}/mem")).context("open the daemon's memory")?;
    let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
    let mut found = 0;
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|m| m.starts_with("rw")))
    {
        let range = line
            .split([' ', '-'])
            .take(2)
            .map(|hex| u64::from_str_radix(hex, 16));
        let [Ok(mut at), Ok(end)] = range.collect::<Vec<_>>()[..] else {
            bail!("unexpected line in maps: {line}");
        };
        while at < end {
            let size = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let mut bytes = vec![0; size];
            // A range may have been given back meanwhile.
            let Ok(read) = memory.read_at(&mut bytes, at) else {
                break;
            };
            if read == 0 {
                break;
            }
            found += count(&bytes[..read], words);
            // A word may lie across the end of a piece.
            let step = if read > longest { read - longest } else { read };
            at += u64::try_from(if at + read as u64 >= end { read } else { step })?;
        }
    }
    Ok(found)
}

fn count(bytes: &[u8], words: &[&str]) -> usize {
    let of = |word: &&str| Finder::new(*word).find_iter(bytes).count();
    words.iter().map(of).sum()
}
