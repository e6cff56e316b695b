//! Any text as a configuration: loading ends, does not panic, and every finding stands inside its file.

use api::control::{Config, SourceFile};
use routerd_core::config::load;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let file = SourceFile {
        name: "fuzz.yaml".to_owned(),
        text: text.to_owned(),
    };
    let loaded = load(&Config { files: vec![file] });
    let refused = loaded.diagnostics.iter().any(|found| found.is_error());
    assert_eq!(loaded.effective.is_none(), refused);
    let lines: Vec<&str> = text.split('\n').collect();
    for found in &loaded.diagnostics {
        assert_ne!(found.id, "bad-spec", "{found}");
        let place = found.place.as_ref().expect("a place");
        let line = lines
            .get(place.line.wrapping_sub(1))
            .expect("a line of the file");
        let columns = 1..=line.chars().count() + 1;
        assert!(columns.contains(&place.column), "{found}");
    }
}
