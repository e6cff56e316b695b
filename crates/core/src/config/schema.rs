//! The whole format as one JSON Schema, for editors.

use serde_json::{Map, Value as Json, json};

use super::document::{Metadata, ROUTER, ROUTER_GROUP};
use super::shape::schema_of;
use crate::kinds::{Entry, KINDS, VERSION};

/// The JSON Schema (draft 2020-12) of one YAML document: a `Router` with its resources, or one resource.
pub fn schema() -> Json {
    let mut definitions = Map::new();
    definitions.insert("metadata".to_owned(), schema_of::<Metadata>().to_value());
    for kind in KINDS {
        definitions.insert(kind.name.to_owned(), resource(kind));
    }
    definitions.insert("resource".to_owned(), any_resource());
    definitions.insert(ROUTER.to_owned(), router());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routerd configuration",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "if": { "properties": { "kind": { "const": ROUTER } } },
        "then": { "$ref": format!("#/$defs/{ROUTER}") },
        "else": { "$ref": "#/$defs/resource" },
        "$defs": definitions,
    })
}

fn router() -> Json {
    json!({
        "description": "One router: all its resources in one document.",
        "type": "object",
        "properties": {
            "apiVersion": { "const": format!("{ROUTER_GROUP}/{VERSION}") },
            "kind": { "const": ROUTER },
            "metadata": { "$ref": "#/$defs/metadata" },
            "spec": {
                "type": "object",
                "properties": {
                    "resources": { "type": "array", "items": { "$ref": "#/$defs/resource" } },
                },
                "additionalProperties": false,
            },
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    })
}

/// Chosen by `kind`, so that an editor shows the errors of one kind and not of all.
fn any_resource() -> Json {
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let choices: Vec<Json> = names
        .iter()
        .map(|name| {
            json!({
                "if": { "properties": { "kind": { "const": name } } },
                "then": { "$ref": format!("#/$defs/{name}") },
            })
        })
        .collect();
    json!({
        "type": "object",
        "properties": { "kind": { "enum": names } },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "allOf": choices,
    })
}

fn resource(kind: &Entry) -> Json {
    let spec = (kind.schema)().to_value();
    json!({
        "description": spec.get("description"),
        "type": "object",
        "properties": {
            "apiVersion": { "const": format!("{}/{VERSION}", kind.group) },
            "kind": { "const": kind.name },
            "metadata": { "$ref": "#/$defs/metadata" },
            "spec": spec,
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    })
}
