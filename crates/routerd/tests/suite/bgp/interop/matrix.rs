//! What is tried with each speaker, what was seen, and the pages that say so.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bgp::speakers::{Kind, Role};

/// A row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A session in a role; whether it connects, or we do.
    Session(Role, bool),
    Withdraw,
    RefreshByUs,
    RefreshByThem,
    LargeCommunities,
    Md5,
    AddPath,
    OurRestart,
    TheirRestart,
    PathFailure,
}

impl Feature {
    pub fn all() -> Vec<Self> {
        let sessions = Role::ALL.map(|role| [true, false].map(|wait| Self::Session(role, wait)));
        let mut all = sessions.concat();
        all.extend([
            Self::Withdraw,
            Self::RefreshByUs,
            Self::RefreshByThem,
            Self::LargeCommunities,
            Self::Md5,
            Self::AddPath,
            Self::OurRestart,
            Self::TheirRestart,
            Self::PathFailure,
        ]);
        all
    }

    fn words(self) -> String {
        let words = match self {
            Self::Session(role, true) => return format!("{}, it connects", role.word()),
            Self::Session(role, false) => return format!("{}, we connect", role.word()),
            Self::Withdraw => "`/32` withdrawn and announced again, both ways",
            Self::RefreshByUs => "route refresh, asked by us",
            Self::RefreshByThem => "route refresh, asked by it",
            Self::LargeCommunities => "large communities, both ways",
            Self::Md5 => "TCP MD5",
            Self::AddPath => "ADD-PATH, both ways",
            Self::OurRestart => "our restart (`kill -9`): no packet lost",
            Self::TheirRestart => "its restart (`kill -9`): no packet lost",
            Self::PathFailure => "BFD up, the path fails",
        };
        words.to_owned()
    }
}

/// What was tried with a speaker, and with what result; all of it succeeded, or the test failed.
pub struct Log {
    kind: Kind,
    seen: Vec<(Feature, String)>,
}

impl Log {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            seen: Vec::new(),
        }
    }

    pub fn note(&mut self, feature: Feature, seen: impl Into<String>) {
        let seen = seen.into();
        println!("  {} / {}: {seen}", self.kind.name(), feature.words());
        self.seen.push((feature, seen));
    }

    /// Every feature was tried, or cannot be.
    pub fn check(&self) {
        for feature in Feature::all() {
            let tried = self.seen.iter().any(|(seen, _)| *seen == feature);
            let excused = self.kind.cannot(feature).is_some();
            assert!(tried != excused, "{feature:?}: {tried} {excused}");
        }
    }

    /// For the process that puts the matrix together.
    pub fn store(&self, folder: &Path) {
        let rows = self.seen.iter().map(|(f, seen)| json!([f.words(), seen]));
        let rows: Value = rows.collect();
        std::fs::write(folder.join(self.kind.name()), rows.to_string()).expect("write");
    }
}

/// Where the pages are.
fn pages() -> PathBuf {
    let here = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/bgp-interop"
    );
    here.into()
}

const WRITTEN_BY: &str =
    "<!-- Written by `UPDATE_GOLDEN=1 cargo test -p routerd --test suite bgp::interop`. -->";

/// The overview must say what was run; with `UPDATE_GOLDEN` it is written, and the page of each speaker.
pub fn publish(folder: &Path, versions: &[(Kind, String)]) {
    let file = pages().join("README.md");
    let text = overview();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(pages()).expect("folder");
        std::fs::write(&file, &text).expect("write");
        for (kind, version) in versions {
            page(*kind, version, folder);
        }
    }
    let said = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(said, text, "{} is not what was run", file.display());
}

fn overview() -> String {
    let mut text = format!(
        "# BGP: speakers that were tried\n\n{WRITTEN_BY}\n\n\
         Each in namespaces, from its Debian package, with what the page of its name says was seen. `make test` runs all of it: a \
         row that fails fails the build.\n\n|   |"
    );
    for kind in Kind::ALL {
        let _ = write!(text, " [{}]({}.md) |", kind.name(), kind.page());
    }
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(Kind::ALL.len()));
    let mut reasons: Vec<&str> = Vec::new();
    for feature in Feature::all() {
        let _ = write!(text, "| {} |", feature.words());
        for kind in Kind::ALL {
            let Some(reason) = kind.cannot(feature) else {
                text += " passed |";
                continue;
            };
            let known = reasons.iter().position(|r| *r == reason);
            let number = known.unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            let _ = write!(text, " – ({}) |", number + 1);
        }
        text += "\n";
    }
    text += "\n";
    for (number, reason) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}. {reason}.", number + 1);
    }
    text
}

fn page(kind: Kind, version: &str, folder: &Path) {
    let rows = std::fs::read_to_string(folder.join(kind.name())).expect("what was seen");
    let rows: Vec<(String, String)> = serde_json::from_str(&rows).expect("JSON");
    let mut text = format!(
        "# {} {version}\n\n{WRITTEN_BY}\n\n| tried | seen |\n|---|---|\n",
        kind.name()
    );
    for (what, seen) in rows {
        let _ = writeln!(text, "| {what} | {seen} |");
    }
    let excused = Feature::all().into_iter();
    let excused = excused.filter_map(|f| Some((f, kind.cannot(f)?)));
    for (feature, reason) in excused {
        let _ = writeln!(text, "| {} | not tried: {reason} |", feature.words());
    }
    let file = pages().join(format!("{}.md", kind.page()));
    std::fs::write(file, text).expect("write");
}
