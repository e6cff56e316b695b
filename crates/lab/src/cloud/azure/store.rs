//! Representations of resources, their entity tags, and what is going on with each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::Refusal;
use crate::cloud::Request;

/// Whether an operation on a resource is in progress, and how the last one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// As it should be.
    Settled,
    /// This operation writes it.
    Updating(String),
    /// This operation removes it.
    Deleting(String),
    /// The last operation ended without success.
    Failed,
}

#[derive(Debug, Clone)]
pub(super) struct Document {
    /// The resource's id as it was first written.
    pub(super) id: String,
    /// Everything but tags and provisioning states.
    pub(super) body: Value,
    pub(super) revision: u64,
    pub(super) progress: Progress,
}

impl Document {
    pub(super) fn etag(&self) -> String {
        format!("W/\"00000000-0000-0000-0000-{:012x}\"", self.revision)
    }

    fn state(&self) -> &'static str {
        match self.progress {
            Progress::Settled => "Succeeded",
            Progress::Updating(_) => "Updating",
            Progress::Deleting(_) => "Deleting",
            Progress::Failed => "Failed",
        }
    }
}

/// All resources, by id without regard to case.
#[derive(Debug, Default)]
pub(super) struct Store {
    documents: BTreeMap<String, Document>,
    revision: u64,
}

fn key(id: &str) -> String {
    id.trim_end_matches('/').to_ascii_lowercase()
}

impl Store {
    pub(super) fn get(&self, id: &str) -> Option<&Document> {
        self.documents.get(&key(id))
    }

    /// Writes a representation under a new tag.
    pub(super) fn put(&mut self, id: &str, body: Value, progress: Progress) {
        self.revision += 1;
        let document = Document {
            id: self
                .get(id)
                .map_or_else(|| id.to_owned(), |old| old.id.clone()),
            body,
            revision: self.revision,
            progress,
        };
        self.documents.insert(key(id), document);
        self.touch_parent(id);
    }

    /// What is going on with a resource; its representation stays, its tag does not.
    pub(super) fn set_progress(&mut self, id: &str, progress: Progress) {
        self.revision += 1;
        let revision = self.revision;
        if let Some(document) = self.documents.get_mut(&key(id)) {
            document.progress = progress;
            document.revision = revision;
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.documents.remove(&key(id));
        self.touch_parent(id);
    }

    /// A route table changes when one of its routes does.
    fn touch_parent(&mut self, id: &str) {
        if let Some((table, _)) = key(id).rsplit_once("/routes/") {
            let table = table.to_owned();
            self.revision += 1;
            let revision = self.revision;
            if let Some(document) = self.documents.get_mut(&table) {
                document.revision = revision;
            }
        }
    }

    /// The documents directly below `path` of one type: `…/networkInterfaces` or `…/routeTables/T/routes`.
    pub(super) fn children(&self, path: &str) -> impl Iterator<Item = &Document> {
        let prefix = format!("{}/", key(path));
        let from = prefix.clone();
        self.documents
            .range(from..)
            .take_while({
                let prefix = prefix.clone();
                move |(id, _)| id.starts_with(&prefix)
            })
            .filter(move |(id, _)| !id[prefix.len()..].contains('/'))
            .map(|(_, document)| document)
    }

    pub(super) fn of_type<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'s Document> {
        let kind = kind.to_ascii_lowercase();
        self.documents
            .iter()
            .filter(move |(id, _)| id.rsplit('/').nth(1) == Some(&kind))
            .map(|(_, document)| document)
    }

    /// A resource as a reader sees it: with tags, states and children.
    pub(super) fn render(&self, id: &str) -> Option<Value> {
        self.get(id).map(|document| self.render_document(document))
    }

    pub(super) fn render_document(&self, document: &Document) -> Value {
        let mut body = document.body.clone();
        let (etag, state) = (document.etag(), document.state());
        mark(&mut body, &etag, state);
        let configs = body.pointer_mut("/properties/ipConfigurations");
        for config in configs.and_then(Value::as_array_mut).into_iter().flatten() {
            if config.get("properties").is_some() {
                mark(config, &etag, state);
            }
        }
        for kind in ["routes", "subnets"] {
            let path = format!("{}/{kind}", document.id);
            let children: Vec<Value> = self
                .children(&path)
                .map(|child| self.render_document(child))
                .collect();
            let embeds = body.pointer(&format!("/properties/{kind}")).is_some();
            if embeds || !children.is_empty() {
                body["properties"][kind] = Value::Array(children);
            }
        }
        body
    }

    /// Refuses a change of a representation that is not the current one, or that another operation changes.
    pub(super) fn check_change(&self, id: &str, request: &Request) -> Result<(), Refusal> {
        let document = self.get(id);
        let current = document.map(Document::etag);
        match (request.header("if-match"), &current) {
            (Some(given), None) => return Err(Refusal::stale(given, "none")),
            (Some(given), Some(current)) if given != "*" && given != current => {
                return Err(Refusal::stale(given, current));
            }
            _ => {}
        }
        if let (Some("*"), Some(current)) = (request.header("if-none-match"), &current) {
            return Err(Refusal::stale("*", current));
        }
        match document.map(|document| &document.progress) {
            Some(Progress::Updating(operation) | Progress::Deleting(operation)) => {
                Err(Refusal::busy(operation))
            }
            _ => Ok(()),
        }
    }

    /// Another writer changes a member of a resource.
    pub(super) fn race(&mut self, id: &str, pointer: &str, value: Value) {
        self.revision += 1;
        let revision = self.revision;
        let Some(document) = self.documents.get_mut(&key(id)) else {
            return;
        };
        document.revision = revision;
        let mut place = &mut document.body;
        for part in pointer.split('/').skip(1) {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[part];
        }
        *place = value;
    }
}

fn mark(value: &mut Value, etag: &str, state: &str) {
    value["etag"] = json!(etag);
    if value.get("properties").is_none() {
        value["properties"] = json!({});
    }
    value["properties"]["provisioningState"] = json!(state);
}
