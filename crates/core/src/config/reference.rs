//! The reference of all kinds as Markdown, written from their types: `docs/reference/resources.md`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde_json::Value as Json;

use super::shape::{Body, Shape};
use crate::kinds::field::KERNEL_INTERFACE;
use crate::kinds::{Entry, KINDS, PUBLISHED, VERSION};

const INTRODUCTION: &str = "\
# Resources

<!-- Written by `UPDATE_GOLDEN=1 cargo test -p routerd-core --test config`; the text is in `crates/core/src/kinds`. -->

A configuration describes one router. It is one document of `kind: Router` with all resources below
`spec.resources`, or a file of several YAML documents with one resource each, or both, in one file or in several.
YAML is version 1.2: only `true` and `false` are booleans, a key stands once in a mapping.

```yaml
apiVersion: routerd.net/v1alpha1
kind: Router
metadata:
  name: my-router
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata:
        name: lan
      spec:
        ifname: eth0
```

Every resource has `apiVersion`, `kind`, `metadata` (`name`; `labels` and `annotations` of your own) and `spec`.
Fields that are not listed here are refused. A resource names another one as `Kind/name`, or by its bare name where
that is clear. Where an interface is meant, the name of an Interface, WireGuardInterface or TunnelInterface comes
first, then the kernel's name of an interface that no resource declares.
";

/// The reference document.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    // Writing to a String does not fail.
    let _ = write_kinds(&mut text);
    text
}

fn write_kinds(out: &mut String) -> fmt::Result {
    let mut groups = BTreeMap::<&str, Vec<&Entry>>::new();
    for kind in KINDS {
        groups.entry(kind.group).or_default().push(kind);
    }
    for (group, mut kinds) in groups {
        kinds.sort_by_key(|kind| kind.name);
        writeln!(out, "\n## {group}/{VERSION}")?;
        for kind in kinds {
            write_kind(out, kind)?;
        }
    }
    writeln!(out, "\n## Not available in this version\n")?;
    let missing = |name: &&&str| KINDS.iter().all(|kind| kind.name != **name);
    let planned = PUBLISHED.iter().filter(missing);
    let planned: Vec<String> = planned.map(|kind| format!("`{kind}`")).collect();
    writeln!(
        out,
        "These kinds are known and refused: {}.",
        planned.join(", ")
    )
}

fn write_kind(out: &mut String, kind: &Entry) -> fmt::Result {
    let shape = (kind.shape)();
    writeln!(out, "\n### {}\n\n{}\n", kind.name, shape.doc)?;
    writeln!(out, "```yaml")?;
    writeln!(out, "apiVersion: {}/{VERSION}", kind.group)?;
    writeln!(
        out,
        "kind: {}\nmetadata:\n  name: example\nspec:",
        kind.name
    )?;
    for line in kind.example.lines() {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "```\n\n| field | value | meaning |\n|---|---|---|")?;
    let mut rows = Vec::new();
    collect(&mut rows, "", &shape);
    for row in &rows {
        writeln!(out, "| `{}` | {} | {} |", row.path, row.value, row.meaning)?;
    }
    let mut notes = Vec::new();
    collect_notes(&mut notes, "", &shape);
    if !notes.is_empty() {
        writeln!(out, "\nKnown and refused:\n")?;
        for note in notes {
            writeln!(out, "- {note}")?;
        }
    }
    Ok(())
}

struct Row {
    path: String,
    value: String,
    meaning: String,
}

/// The rows of an object's fields, those that are required first.
fn collect(rows: &mut Vec<Row>, prefix: &str, shape: &Shape) {
    let Body::Object {
        fields, required, ..
    } = &shape.body
    else {
        return;
    };
    let (needed, optional): (Vec<_>, Vec<_>) =
        fields.iter().partition(|(name, _)| required.contains(name));
    for (name, field) in needed.into_iter().chain(optional) {
        let path = format!("{prefix}{name}");
        let mut meaning = field.doc.replace("\n\n", " ");
        if required.contains(name) {
            meaning.push_str(" Required.");
        } else if let Some(default) = default(field) {
            let _ = write!(meaning, " Default: {default}.");
        }
        rows.push(Row {
            path: path.clone(),
            value: value(field),
            meaning: meaning.trim().replace('|', "\\|"),
        });
        collect(rows, &format!("{path}."), field);
        if let Body::Either(shapes) = &field.body {
            shapes
                .iter()
                .for_each(|shape| collect(rows, &format!("{path}."), shape));
        }
    }
}

fn default(field: &Shape) -> Option<String> {
    match field.default.as_ref()? {
        Json::Array(items) if items.is_empty() => Some("none".to_owned()),
        Json::Object(_) => None,
        Json::String(text) => Some(format!("`{text}`")),
        other => Some(format!("`{other}`")),
    }
}

/// What may stand there.
fn value(field: &Shape) -> String {
    if !field.reference.is_empty() {
        let kinds = field.reference.iter().map(|kind| match kind.as_str() {
            KERNEL_INTERFACE => "an interface of the kernel".to_owned(),
            kind => format!("[{kind}](#{})", kind.to_lowercase()),
        });
        return kinds.collect::<Vec<_>>().join(" or ");
    }
    match &field.body {
        Body::Choice { values, .. } => {
            let values = values.iter().map(|(value, doc)| match doc.as_str() {
                "" => format!("`{value}`"),
                doc => format!("`{value}`: {doc}"),
            });
            values.collect::<Vec<_>>().join("<br>")
        }
        Body::List { item, .. } => format!("list of: {}", value(item)),
        Body::Integer { min, max } if *min > i64::MIN && *max < i64::MAX => {
            format!("a whole number from {min} to {max}")
        }
        _ => field.noun(),
    }
}

/// What is known and refused.
fn collect_notes(notes: &mut Vec<String>, path: &str, shape: &Shape) {
    match &shape.body {
        Body::Object {
            fields, planned, ..
        } => {
            let here = |name: &str| match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            for (name, reason) in planned {
                notes.push(format!(
                    "`{}` is not available in this version: {reason}",
                    here(name)
                ));
            }
            for (name, field) in fields {
                collect_notes(notes, &here(name), field);
            }
        }
        Body::Choice {
            planned, refused, ..
        } => {
            for (value, reason) in planned {
                notes.push(format!(
                    "`{path}: {value}` is not available in this version: {reason}"
                ));
            }
            for (value, reason) in refused {
                notes.push(format!("`{path}: {value}`: {reason}"));
            }
        }
        Body::List { item, .. } => collect_notes(notes, path, item),
        _ => {}
    }
}
