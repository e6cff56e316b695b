//! Whatever the text, loading ends, does not panic, and every finding stands inside its file.

use std::fs;
use std::path::{Path, PathBuf};

use api::control::{Config, SourceFile};
use proptest::prelude::*;
use routerd_core::config::{Loaded, load};

fn load_text(text: &str) -> Loaded {
    let file = SourceFile {
        name: "f.yaml".to_owned(),
        text: text.to_owned(),
    };
    load(&Config { files: vec![file] })
}

/// What holds for every text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let loaded = load_text(text);
    let refused = loaded.diagnostics.iter().any(|found| found.is_error());
    prop_assert_eq!(loaded.effective.is_none(), refused);
    let lines: Vec<&str> = text.split('\n').collect();
    for found in &loaded.diagnostics {
        // The form check is complete: serde never has anything to add.
        prop_assert_ne!(&found.id, "bad-spec", "{}", found);
        let place = found.place.as_ref();
        let place = place.ok_or_else(|| TestCaseError::fail(format!("no place: {found}")))?;
        let line = lines.get(place.line.wrapping_sub(1));
        let line = line.ok_or_else(|| TestCaseError::fail(format!("behind the end: {found}")))?;
        // The end of a line is a place too.
        let columns = 1..=line.chars().count() + 1;
        prop_assert!(columns.contains(&place.column), "{}\n{:?}", found, line);
        let rendered = found.to_string();
        prop_assert!(!rendered.contains(|c: char| c.is_control() && c != '\n'));
    }
    prop_assert_eq!(&load_text(text).diagnostics, &loaded.diagnostics);
    Ok(())
}

/// All texts of the golden cases and examples.
fn corpus() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("../../examples")];
    for set in ["accepted", "diagnostics"] {
        let cases = fs::read_dir(root.join("tests").join(set)).expect("cases");
        folders.extend(cases.map(|case| case.expect("case").path()));
    }
    folders.sort();
    let files = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).expect("folder");
        entries.map(|entry| entry.expect("entry").path())
    });
    let mut files: Vec<PathBuf> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| fs::read_to_string(path).expect("text"))
        .collect()
}

/// Something to put where a value was.
fn junk() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("1e309".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("255.255.255.255/32".to_owned()),
        Just("10.77.60.9".to_owned()),
        Just("::/0".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("[[[]]]".to_owned()),
        Just("wg-hybrid".to_owned()),
        Just("WireGuardInterface/wg-hybrid".to_owned()),
        Just("*a".to_owned()),
        Just("&a [x]".to_owned()),
        Just("!!int x".to_owned()),
        Just("|\n  block".to_owned()),
        Just("\u{1b}[31mred".to_owned()),
        "\\PC{0,12}",
    ]
}

/// Replaces the value of one line, or removes, doubles or indents the line.
fn mutate(text: &str, edits: &[(usize, u8, String)]) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for (at, how, junk) in edits {
        let index = at % lines.len();
        match how % 6 {
            0 => {
                lines.remove(index);
            }
            1 => lines.insert(index, lines[index].clone()),
            2 => lines[index].insert_str(0, "  "),
            3 => lines[index] = junk.clone(),
            _ => {
                let key = lines[index]
                    .split_inclusive(": ")
                    .next()
                    .unwrap_or_default();
                lines[index] = format!("{key}{junk}");
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_configurations(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<usize>(), any::<u8>(), junk()), 1..6),
    ) {
        let corpus = corpus();
        let text: &String = which.get(&corpus);
        check(&mutate(text, &edits))?;
    }

    #[test]
    fn arbitrary_text(text in "(\\PC|\n|\t|[-:#&*!|>'\"{}\\[\\], ]){0,200}") {
        check(&text)?;
    }

    #[test]
    fn cut_anywhere(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        let corpus = corpus();
        let text: &String = which.get(&corpus);
        let mut end = at.index(text.len() + 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        check(&text[..end])?;
    }
}
