//! Compares a tree with a shape and reports every difference at its place.

use std::fmt;

use api::Diagnostic;

use super::shape::{Body, Shape};
use super::sink::Sink;
use super::tree::{Entry, Mark, Node, Value};
use crate::kinds::field::Complaint;

/// Somewhere a resource names another one.
#[derive(Debug)]
pub(crate) struct Mention {
    /// Who names.
    pub(crate) from: String,
    /// Where.
    pub(crate) mark: Mark,
    /// What is written.
    pub(crate) text: String,
    /// The kinds that may be named there.
    pub(crate) kinds: Vec<String>,
    /// Whether a kernel interface may be named instead.
    pub(crate) or_interface: bool,
}

/// A walk over one resource.
pub(crate) struct Check<'c, 's> {
    /// What is checked, for messages.
    pub(crate) subject: &'c str,
    /// Where findings go.
    pub(crate) sink: &'c mut Sink<'s>,
    /// Where references go.
    pub(crate) mentions: &'c mut Vec<Mention>,
    /// Whether anything was wrong.
    pub(crate) failed: bool,
}

/// The way from the top of a resource to a value.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    Top(&'p str),
    Field(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top(name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Check<'_, '_> {
    /// Checks one value. `owner` is the place of the key or list item that holds it: what is missing inside
    /// is reported there.
    pub(crate) fn value(&mut self, path: Path<'_>, node: &Node, owner: Mark, shape: &Shape) {
        match (&shape.body, &node.value) {
            (Body::Any, _) | (Body::Boolean, Value::Bool(_)) => {}
            (Body::Object { .. }, Value::Map(entries)) => {
                self.object(path, entries, owner, shape);
            }
            (Body::Dictionary(item), Value::Map(entries)) => {
                for entry in entries {
                    let path = Path::Field(&path, &entry.key);
                    self.value(path, &entry.node, entry.key_mark, item);
                }
            }
            (Body::List { item, min }, Value::List(items)) => {
                if (items.len() as u64) < *min {
                    let message = format!("`{path}` needs at least {min} item");
                    self.error(owner, "too-few-items", message, None);
                }
                for (index, node) in items.iter().enumerate() {
                    self.value(Path::Item(&path, index), node, node.mark, item);
                }
            }
            (Body::Text(format), Value::Text(text)) => {
                if let Some(Err(complaint)) = format.map(|format| (format.check)(text)) {
                    self.complain(path, node.mark, complaint);
                } else {
                    self.mention(node.mark, text, shape);
                }
            }
            (Body::Choice { .. }, Value::Text(text)) => self.choice(path, node.mark, text, shape),
            (Body::Integer { min, max }, Value::Integer(value)) => {
                if !(min..=max).contains(&value) {
                    let message = format!("`{path}` cannot be {value}");
                    let hint = Some(format!("between {min} and {max}"));
                    self.error(node.mark, "out-of-range", message, hint);
                }
            }
            (Body::Either(shapes), value) => match shapes.iter().find(|s| accepts(s, value)) {
                Some(shape) => self.value(path, node, owner, shape),
                None => self.wrong_type(path, node, shape),
            },
            _ => self.wrong_type(path, node, shape),
        }
    }

    fn object(&mut self, path: Path<'_>, entries: &[Entry], owner: Mark, shape: &Shape) {
        let Body::Object {
            fields,
            required,
            planned,
        } = &shape.body
        else {
            return;
        };
        for entry in entries {
            let here = Path::Field(&path, &entry.key);
            let needed = required.contains(&entry.key);
            match fields.get(&entry.key) {
                Some(field) if matches!(entry.node.value, Value::Null) => {
                    let needed = needed.then(|| expectation(&entry.key, field));
                    self.empty(here, entry.key_mark, needed);
                }
                Some(field) => self.value(here, &entry.node, entry.key_mark, field),
                None => self.unknown_field(here, entry, fields.keys(), planned),
            }
        }
        for name in required {
            if !entries.iter().any(|entry| entry.key == *name) {
                let message = format!("`{}` is missing", Path::Field(&path, name));
                let hint = fields.get(name).map(|field| expectation(name, field));
                self.error(owner, "missing-field", message, hint);
            }
        }
    }

    fn unknown_field<'b>(
        &mut self,
        path: Path<'_>,
        entry: &Entry,
        fields: impl Iterator<Item = &'b String>,
        planned: &std::collections::BTreeMap<String, String>,
    ) {
        if let Some(reason) = planned.get(&entry.key) {
            let message = format!("`{path}` is not available in this version of routerd");
            self.error(
                entry.key_mark,
                "not-available",
                message,
                Some(reason.clone()),
            );
            return;
        }
        let names: Vec<&str> = fields.map(String::as_str).collect();
        let hint = match self.sink.suggest(&entry.key, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if entry.key == "<<" => {
                "merge keys are not part of YAML 1.2: write the values out".to_owned()
            }
            None => format!("fields here: {}", names.join(", ")),
        };
        let message = format!("`{path}` is not a field");
        self.error(entry.key_mark, "unknown-field", message, Some(hint));
    }

    /// A key without a value; `needed` says what should stand there if something must.
    fn empty(&mut self, path: Path<'_>, mark: Mark, needed: Option<String>) {
        if needed.is_some() {
            let message = format!("`{path}` has no value");
            self.error(mark, "missing-field", message, needed);
        } else {
            let found = Diagnostic::warning("empty-value", format!("`{path}` has no value"))
                .about(self.subject)
                .hint("it counts as absent; remove the line or write the value");
            self.sink.push(mark, found);
        }
    }

    fn choice(&mut self, path: Path<'_>, mark: Mark, text: &str, shape: &Shape) {
        let Body::Choice {
            values,
            planned,
            refused,
        } = &shape.body
        else {
            return;
        };
        if values.contains_key(text) {
            return;
        }
        if let Some(reason) = planned.get(text) {
            let message = format!("`{path}: {text}` is not available in this version of routerd");
            self.error(mark, "not-available", message, Some(reason.clone()));
            return;
        }
        if let Some(reason) = refused.get(text) {
            let message = format!("`{path}: {text}` is refused");
            self.error(mark, "refused-value", message, Some(reason.clone()));
            return;
        }
        let near = self.sink.suggest(text, values.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`? {}", shape.noun()),
            None => shape.noun(),
        };
        let message = format!("`{path}` cannot be `{text}`");
        self.error(mark, "bad-value", message, Some(hint));
    }

    fn wrong_type(&mut self, path: Path<'_>, node: &Node, shape: &Shape) {
        let message = format!("`{path}` must be {}, not {}", shape.noun(), node.noun());
        let hint = match (&shape.body, &node.value) {
            (
                Body::Text(_) | Body::Choice { .. },
                Value::Bool(_) | Value::Integer(_) | Value::Number(_),
            ) => Some("put it in quotes".to_owned()),
            (Body::Boolean, Value::Text(text))
                if ["yes", "on", "no", "off"].contains(&text.to_lowercase().as_str()) =>
            {
                Some("YAML 1.2 knows only `true` and `false`".to_owned())
            }
            (Body::Integer { .. }, Value::Text(text)) if text.parse::<i64>().is_ok() => {
                Some("remove the quotes".to_owned())
            }
            (Body::List { .. }, Value::Text(_)) => {
                Some("write the item on a line of its own behind a dash".to_owned())
            }
            _ => None,
        };
        self.error(node.mark, "wrong-type", message, hint);
    }

    fn mention(&mut self, mark: Mark, text: &str, shape: &Shape) {
        if shape.reference.is_empty() {
            return;
        }
        let (interface, kinds): (Vec<String>, _) = shape
            .reference
            .iter()
            .cloned()
            .partition(|kind| kind == crate::kinds::field::KERNEL_INTERFACE);
        self.mentions.push(Mention {
            from: self.subject.to_owned(),
            mark,
            text: text.to_owned(),
            kinds,
            or_interface: !interface.is_empty(),
        });
    }

    fn complain(&mut self, path: Path<'_>, mark: Mark, complaint: Complaint) {
        let message = format!("`{path}`: {}", complaint.message);
        self.error(mark, complaint.id, message, complaint.hint);
    }

    fn error(&mut self, mark: Mark, id: &str, message: String, hint: Option<String>) {
        self.failed = true;
        let mut found = Diagnostic::error(id, message).about(self.subject);
        found.hint = hint;
        self.sink.push(mark, found);
    }
}

/// Whether a value has the structure that a shape wants.
fn accepts(shape: &Shape, value: &Value) -> bool {
    matches!(
        (&shape.body, value),
        (Body::Object { .. } | Body::Dictionary(_), Value::Map(_))
            | (Body::List { .. }, Value::List(_))
            | (Body::Text(_) | Body::Choice { .. }, Value::Text(_))
            | (Body::Integer { .. }, Value::Integer(_))
            | (Body::Boolean, Value::Bool(_))
    )
}

/// What a missing field should hold: the first sentence about it.
fn expectation(name: &str, shape: &Shape) -> String {
    let sentence = shape.doc.split_inclusive(". ").next().unwrap_or_default();
    let sentence = sentence.trim_end().trim_end_matches('.');
    let mut letters = sentence.chars();
    let meaning: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_lowercase)
        .chain(letters)
        .collect();
    match &shape.body {
        Body::Choice { .. } => format!("`{name}` is {meaning}: {}", shape.noun()),
        _ if meaning.is_empty() => format!("`{name}` is {}", shape.noun()),
        _ => format!("`{name}` is {meaning}"),
    }
}
