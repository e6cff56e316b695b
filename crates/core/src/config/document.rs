//! From documents to resources: the two forms of a file, and the frame around each specification.

use std::collections::BTreeMap;

use api::{Diagnostic, ResourceId};
use schemars::JsonSchema;

use super::check::{Check, Path};
use super::shape::Shape;
use super::sink::Sink;
use super::tree::{Entry, Mark, Node, Value};
use crate::kinds::field::{ResourceName, Text};
use crate::kinds::{KINDS, PUBLISHED, VERSION};

/// The kind of a document that holds other resources.
pub(crate) const ROUTER: &str = "Router";
/// Its group.
pub(crate) const ROUTER_GROUP: &str = "routerd.net";

/// What every resource carries beside its specification.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Metadata {
    /// The name, unique among resources of one kind.
    name: Text<ResourceName>,
    /// Words of your own, to select by.
    labels: Option<BTreeMap<String, String>>,
    /// Notes of your own.
    annotations: Option<BTreeMap<String, String>>,
}

/// A resource as it stands in a file.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) id: ResourceId,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Index in [`KINDS`]; absent if the kind is no such kind, and only the name serves, for references.
    pub(crate) kind: Option<usize>,
    /// Where the resource begins.
    pub(crate) mark: Mark,
    /// The key of the specification.
    pub(crate) spec_mark: Mark,
    pub(crate) spec: Node,
    /// Whether nothing was wrong with the frame.
    pub(crate) sound: bool,
}

/// Finds the resources of documents.
pub(crate) struct Finder<'c, 's> {
    sink: &'c mut Sink<'s>,
    metadata: Shape,
    router: Option<(String, Mark)>,
    found: Vec<Written>,
}

/// The parts of a document.
#[derive(Default)]
struct Frame {
    name: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    spec: Option<Entry>,
}

impl<'c, 's> Finder<'c, 's> {
    pub(crate) fn new(sink: &'c mut Sink<'s>) -> Self {
        Self {
            sink,
            metadata: Shape::of::<Metadata>(),
            router: None,
            found: Vec::new(),
        }
    }

    /// Takes one YAML document: a Router with its resources, or a resource.
    pub(crate) fn document(&mut self, node: Node) {
        if node.get("kind").and_then(Node::text) == Some(ROUTER) {
            self.router(node);
        } else {
            self.resource(node);
        }
    }

    /// The router's name, if there is a Router, and all resources in the order of the files.
    pub(crate) fn finish(self) -> (Option<String>, Vec<Written>) {
        (self.router.map(|(name, _)| name), self.found)
    }

    fn router(&mut self, node: Node) {
        let mark = node.mark;
        let frame = self.frame(node, ROUTER, ROUTER_GROUP);
        if let Some(name) = frame.name {
            match &self.router {
                Some((first, place)) if *first != name => {
                    let hint = format!("Router/{first} stands at {}", self.sink.refer(*place));
                    let found =
                        Diagnostic::error("several-routers", "a configuration is of one router")
                            .about(format!("{ROUTER}/{name}"))
                            .hint(hint);
                    self.sink.push(mark, found);
                }
                _ => self.router = Some((name, mark)),
            }
        }
        let Some(spec) = frame.spec else { return };
        let Value::Map(fields) = spec.node.value else {
            let message = format!("`spec` must be a mapping, not {}", spec.node.noun());
            self.error(
                spec.key_mark,
                ROUTER,
                "wrong-type",
                message,
                "write `resources:` below it",
            );
            return;
        };
        for field in fields {
            self.router_field(field);
        }
    }

    fn router_field(&mut self, field: Entry) {
        if field.key != "resources" {
            let message = format!("`spec.{}` is not a field", field.key);
            self.error(
                field.key_mark,
                ROUTER,
                "unknown-field",
                message,
                "fields here: resources",
            );
            return;
        }
        match field.node.value {
            Value::List(items) => items.into_iter().for_each(|item| self.resource(item)),
            Value::Null => {}
            _ => {
                let message = format!("`spec.resources` must be a list, not {}", field.node.noun());
                let hint = "each resource begins with a dash";
                self.error(field.key_mark, ROUTER, "wrong-type", message, hint);
            }
        }
    }

    fn resource(&mut self, node: Node) {
        let mark = node.mark;
        if node.entries().is_none() {
            let message = format!("expected a resource, found {}", node.noun());
            let found = Diagnostic::error("not-a-resource", message)
                .hint("a resource has `apiVersion`, `kind`, `metadata` and `spec`");
            self.sink.push(mark, found);
            return;
        }
        let before = self.sink.errors();
        let Some((kind, known)) = self.kind(&node) else {
            return;
        };
        let frame = match known {
            Some(index) => self.frame(node, kind, KINDS[index].group),
            // Whatever else is wrong may come from the kind.
            None => Frame {
                name: node
                    .get("metadata")
                    .and_then(|m| m.get("name")?.text())
                    .map(str::to_owned),
                ..Frame::default()
            },
        };
        let Some(name) = frame.name else { return };
        let kind_known = known.filter(|_| frame.spec.is_some());
        let (spec_mark, spec) = match frame.spec {
            Some(entry) => (entry.key_mark, entry.node),
            None => (
                mark,
                Node {
                    mark,
                    value: Value::Null,
                },
            ),
        };
        self.found.push(Written {
            id: ResourceId::new(kind, name),
            labels: frame.labels,
            annotations: frame.annotations,
            kind: kind_known,
            mark,
            spec_mark,
            spec,
            sound: self.sink.errors() == before,
        });
    }

    /// The kind of a resource and its index; for a slip of the keyboard the kind that was meant, without one.
    fn kind(&mut self, node: &Node) -> Option<(&'static str, Option<usize>)> {
        let Some(entry) = node.entry("kind") else {
            let found = Diagnostic::error("missing-field", "`kind` is missing")
                .hint("a resource has `apiVersion`, `kind`, `metadata` and `spec`");
            self.sink.push(node.mark, found);
            return None;
        };
        let Some(written) = entry.node.text() else {
            let message = format!("`kind` must be text, not {}", entry.node.noun());
            self.sink
                .push(entry.key_mark, Diagnostic::error("wrong-type", message));
            return None;
        };
        if let Some(index) = KINDS.iter().position(|kind| kind.name == written) {
            return Some((KINDS[index].name, Some(index)));
        }
        let mark = entry.node.mark;
        if written == ROUTER {
            let found = Diagnostic::error("nested-router", "a Router stands inside another one")
                .hint("list its resources directly");
            self.sink.push(mark, found);
            return None;
        }
        if let Some(kind) = PUBLISHED.iter().find(|kind| **kind == written) {
            let message = format!("kind `{written}` is not available in this version of routerd");
            let found = Diagnostic::error("kind-not-available", message)
                .hint(format!("available: {}", available()));
            self.sink.push(mark, found);
            return Some((kind, None));
        }
        let near = self.sink.suggest(written, PUBLISHED.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("available: {}", available()),
        };
        let found = Diagnostic::error("unknown-kind", format!("there is no kind `{written}`"));
        self.sink.push(mark, found.hint(hint));
        near.map(|near| (near, None))
    }

    /// Checks everything of a document but its specification.
    fn frame(&mut self, node: Node, kind: &'static str, group: &str) -> Frame {
        let mut frame = Frame::default();
        let mut missing = vec!["apiVersion", "metadata", "spec"];
        let Value::Map(entries) = node.value else {
            return frame;
        };
        let named = entries.iter().find(|entry| entry.key == "metadata");
        let named = named.and_then(|entry| entry.node.get("name")?.text());
        let subject = named.map_or_else(|| kind.to_owned(), |name| format!("{kind}/{name}"));
        for entry in entries {
            missing.retain(|field| *field != entry.key);
            match entry.key.as_str() {
                "kind" => {}
                "apiVersion" => self.api_version(&entry, &subject, group),
                "metadata" => {
                    frame.name = self.metadata(&entry, &subject);
                    frame.labels = words(&entry, "labels");
                    frame.annotations = words(&entry, "annotations");
                }
                "spec" => frame.spec = Some(entry),
                "status" => {
                    let message = "`status` is written by routerd, never by a person".to_owned();
                    self.error(
                        entry.key_mark,
                        &subject,
                        "status-written",
                        message,
                        "remove it",
                    );
                }
                other => {
                    let message = format!("`{other}` is not a field");
                    let hint = "fields here: apiVersion, kind, metadata, spec";
                    self.error(entry.key_mark, &subject, "unknown-field", message, hint);
                }
            }
        }
        for field in missing {
            let hint = match field {
                "apiVersion" => format!("write `apiVersion: {group}/{VERSION}`"),
                "metadata" => "write `metadata:` with a `name:` below it".to_owned(),
                _ => "the fields of the kind stand below `spec:`".to_owned(),
            };
            let message = format!("`{field}` is missing");
            self.error(node.mark, &subject, "missing-field", message, &hint);
        }
        frame
    }

    fn api_version(&mut self, entry: &Entry, subject: &str, group: &str) {
        let expected = format!("{group}/{VERSION}");
        if entry.node.text() != Some(expected.as_str()) {
            let written = entry
                .node
                .text()
                .map_or_else(|| entry.node.noun().to_owned(), |text| format!("`{text}`"));
            let message = format!("`apiVersion` must be `{expected}`, not {written}");
            let hint = format!("write `apiVersion: {expected}`");
            self.error(
                entry.node.mark,
                subject,
                "wrong-api-version",
                message,
                &hint,
            );
        }
    }

    /// The name, if the metadata is sound.
    fn metadata(&mut self, entry: &Entry, subject: &str) -> Option<String> {
        let mut check = Check {
            subject,
            sink: self.sink,
            mentions: &mut Vec::new(),
            failed: false,
        };
        check.value(
            Path::Top("metadata"),
            &entry.node,
            entry.key_mark,
            &self.metadata,
        );
        let sound = !check.failed;
        let name = entry.node.get("name")?.text()?;
        sound.then(|| name.to_owned())
    }

    fn error(&mut self, mark: Mark, subject: &str, id: &str, message: String, hint: &str) {
        let found = Diagnostic::error(id, message).about(subject).hint(hint);
        self.sink.push(mark, found);
    }
}

/// The texts below a field of the metadata. What has another form was reported already.
fn words(metadata: &Entry, field: &str) -> BTreeMap<String, String> {
    let entries = metadata.node.get(field).and_then(Node::entries);
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(|entry| Some((entry.key.clone(), entry.node.text()?.to_owned())))
        .collect()
}

fn available() -> String {
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.join(", ")
}
