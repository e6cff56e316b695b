//! Configurations and what is said about them, as golden cases.
//!
//! `UPDATE_GOLDEN=1 cargo test -p routerd-core --test config` writes the expectations anew.

use std::fs;
use std::path::{Path, PathBuf};

use api::control::{Config, SourceFile};
use routerd_core::config::{Loaded, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load_files(paths: &[PathBuf]) -> Loaded {
    let files = paths.iter().map(|path| SourceFile {
        name: path
            .file_name()
            .expect("file")
            .to_string_lossy()
            .into_owned(),
        text: fs::read_to_string(path).expect("readable"),
    });
    load(&Config {
        files: files.collect(),
    })
}

fn render(loaded: &Loaded) -> String {
    let lines: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n\n")
}

#[test]
fn examples_load_without_a_word() {
    for name in ["two-site-cloud.yaml", "two-site-onprem.yaml"] {
        let loaded = load_files(&[root().join("examples").join(name)]);
        assert_eq!(render(&loaded), "", "{name}");
        assert!(loaded.effective.is_some(), "{name}");
    }
}
