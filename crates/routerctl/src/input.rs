//! Configuration files as the user names them: files, directories, `-` for standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use api::control::{Config, SourceFile};

use crate::failure::Failure;

/// More than any configuration; a device or a log named by mistake is not read to its end.
const LIMIT: u64 = 64 << 20;

/// Reads everything that was named, in the order given; a directory gives its `*.yaml` and `*.yml` by name.
pub(crate) fn read(paths: &[PathBuf], input: &mut dyn Read) -> Result<Config, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(SourceFile {
                name: "<stdin>".to_owned(),
                text: text(input).map_err(failed(path))?,
            });
        } else if path.is_dir() {
            for path in folder(path)? {
                files.push(file(&path)?);
            }
        } else {
            files.push(file(path)?);
        }
    }
    Ok(Config { files })
}

fn file(path: &Path) -> Result<SourceFile, Failure> {
    let mut opened = fs::File::open(path).map_err(failed(path))?;
    Ok(SourceFile {
        name: path.display().to_string(),
        text: text(&mut opened).map_err(failed(path))?,
    })
}

fn text(from: &mut dyn Read) -> io::Result<String> {
    let mut text = String::new();
    let read = from.take(LIMIT + 1).read_to_string(&mut text)?;
    if read as u64 > LIMIT {
        return Err(io::Error::other("larger than 64 MiB"));
    }
    Ok(text)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(path).map_err(failed(path))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(path))?.path();
        let is_yaml = entry
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !entry.is_dir() {
            paths.push(entry);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let none = io::Error::other("no *.yaml file in this directory");
        return Err(failed(path)(none));
    }
    Ok(paths)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::Read { path, source }
}
