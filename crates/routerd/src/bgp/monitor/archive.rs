//! MRT files (RFC 6396) in a directory: `updates.DATE.TIME.mrt` with what peers said, begun anew every so often, and
//! `rib.DATE.TIME.mrt` with whole tables. The oldest go when there are too many.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::time::Timestamp;
use bytes::Bytes;
use routerd_core::effective::MrtArchive;

use super::queue::{Queue, Taken};

/// How long records wait in memory at most.
const FLUSH: Duration = Duration::from_secs(1);
/// Octets that are taken from the queue at once.
const TAKEN: usize = 1 << 20;

/// Something for the files.
#[derive(Debug)]
pub(super) enum Item {
    /// Records of what happened.
    Records(Bytes),
    /// A whole table, as it stood then.
    Table(Duration, Vec<u8>),
}

/// Starts the thread; it ends with its queue.
pub(super) fn start(settings: MrtArchive) -> io::Result<Arc<Queue<Item>>> {
    let queue = Arc::new(Queue::new());
    let ours = Arc::clone(&queue);
    let archive = Archive {
        settings,
        file: None,
    };
    std::thread::Builder::new()
        .name("mrt".to_owned())
        .spawn(move || archive.run(&ours))?;
    Ok(queue)
}

struct Archive {
    settings: MrtArchive,
    /// The file at hand with the number of its period.
    file: Option<(u64, BufWriter<File>)>,
}

impl Archive {
    fn run(mut self, queue: &Queue<Item>) {
        loop {
            let result = match queue.take(TAKEN, FLUSH) {
                Taken::Items(items, _) => items.into_iter().try_for_each(|item| {
                    let octets = self.write(item)?;
                    queue.wrote(octets);
                    Ok(())
                }),
                Taken::Nothing => self.flush(),
                // What was not kept is counted. The speaker, who knows it first, opens the queue anew at once.
                Taken::Overrun => {
                    std::thread::yield_now();
                    continue;
                }
                Taken::End => {
                    // There is nobody left to be told.
                    let _ = self.flush();
                    return;
                }
            };
            if let Err(error) = &result {
                // The file may be gone, or its disk full: the next record tries again.
                self.file = None;
                tracing::debug!(%error, "MRT");
            }
            queue.note(result.err().map(|error| error.to_string()));
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some((_, file)) => file.flush(),
            None => Ok(()),
        }
    }

    /// Writes an item, and says how many octets that were.
    fn write(&mut self, item: Item) -> io::Result<usize> {
        match item {
            Item::Records(records) => {
                self.current()?.write_all(&records)?;
                Ok(records.len())
            }
            Item::Table(at, table) => {
                let file = self.path("rib", at);
                let new = file.with_extension("new");
                create(&self.settings.directory)?;
                fs::write(&new, &table)?;
                fs::rename(&new, &file)?;
                self.clean("rib")?;
                Ok(table.len())
            }
        }
    }

    /// The file of the period that it is now.
    fn current(&mut self) -> io::Result<&mut BufWriter<File>> {
        let rotate = self.settings.rotate.as_secs().max(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let period = now.unwrap_or_default().as_secs() / rotate;
        if self.file.as_ref().is_none_or(|(at, _)| *at != period) {
            self.flush()?;
            let path = self.path("updates", Duration::from_secs(period * rotate));
            create(&self.settings.directory)?;
            let file = File::options().create(true).append(true).open(path)?;
            self.file = Some((period, BufWriter::new(file)));
            self.clean("updates")?;
        }
        match &mut self.file {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn path(&self, sort: &str, at: Duration) -> PathBuf {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        // 2026-11-21T19:00:00Z
        let text = Timestamp::from_millis(millis).to_string();
        let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
        let (date, time) = digits.split_at(8.min(digits.len()));
        self.settings
            .directory
            .join(format!("{sort}.{date}.{time}.mrt"))
    }

    /// Removes the oldest files of a sort beyond those that are kept. Names begin with their time.
    fn clean(&self, sort: &str) -> io::Result<()> {
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&self.settings.directory)? {
            let path = entry?.path();
            let ours = |name: &str| name.starts_with(&format!("{sort}.")) && name.ends_with(".mrt");
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(ours) {
                files.push(path);
            }
        }
        files.sort();
        let excess = files.len().saturating_sub(self.settings.keep_files);
        files.drain(..excess).try_for_each(fs::remove_file)
    }
}

/// The directory with what is above it.
fn create(directory: &Path) -> io::Result<()> {
    let named = |error: io::Error| {
        let message = format!("create {}: {error}", directory.display());
        io::Error::new(error.kind(), message)
    };
    fs::create_dir_all(directory).map_err(named)
}
