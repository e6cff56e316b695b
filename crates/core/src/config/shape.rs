//! The form of a value, compiled from the JSON Schema that `schemars` derives from a Rust type.
//!
//! The Rust types stay the only source: what the walker in [`super::check`] accepts, what an editor is told
//! and what the reference documents all come from here. Beyond standard keywords the schemas carry
//! - `x-reference`: the kinds that a text may name,
//! - `x-planned`: fields or values of the published format that this version does not offer, and what to do
//!   instead,
//! - `x-refused`: values that are known and never will be offered, and why,
//! - `x-secret`: a value that is never printed.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value as Json};

use crate::kinds::field::{self, Format};

/// The form of a value.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What the value means; its first sentence stands alone.
    pub(crate) doc: String,
    /// The value that absence stands for.
    pub(crate) default: Option<Json>,
    /// The kinds it may name, if it is a reference.
    pub(crate) reference: Vec<String>,
    /// Never to be printed.
    pub(crate) secret: bool,
    /// The form itself.
    pub(crate) body: Body,
}

/// The alternatives of a form.
#[derive(Debug)]
pub(crate) enum Body {
    Object {
        fields: BTreeMap<String, Shape>,
        required: Vec<String>,
        planned: BTreeMap<String, String>,
    },
    /// Any key, values of one form.
    Dictionary(Box<Shape>),
    List {
        item: Box<Shape>,
        min: u64,
    },
    Text(Option<&'static Format>),
    /// One of these words, each with its meaning.
    Choice {
        values: BTreeMap<String, String>,
        planned: BTreeMap<String, String>,
        refused: BTreeMap<String, String>,
    },
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    /// Told apart by the structure of the value.
    Either(Vec<Shape>),
    /// Whatever is written.
    Any,
}

impl Shape {
    /// The form of a Rust type.
    pub(crate) fn of<T: JsonSchema>() -> Self {
        Self::compile(schema_of::<T>().as_value())
    }

    fn compile(schema: &Json) -> Self {
        let empty = Map::new();
        let object = schema.as_object().unwrap_or(&empty);
        let (object, inner) = unwrap_nullable(object);
        let text = |key: &str| object.get(key).and_then(Json::as_str).unwrap_or_default();
        Self {
            doc: unwrap_lines(text("description")),
            default: object.get("default").filter(|d| !d.is_null()).cloned(),
            reference: strings(object.get("x-reference")),
            secret: object.get("x-secret").is_some(),
            body: inner.map_or_else(|| Body::compile(object), Body::compile),
        }
    }

    /// What a person calls this form: `an IPv4 prefix`, `a list`.
    pub(crate) fn noun(&self) -> String {
        match &self.body {
            Body::Object { .. } | Body::Dictionary(_) => "a mapping".to_owned(),
            Body::List { .. } => "a list".to_owned(),
            Body::Text(Some(format)) => format.what.to_owned(),
            Body::Text(None) => "text".to_owned(),
            Body::Choice { values, .. } => {
                let words: Vec<_> = values.keys().map(|v| format!("`{v}`")).collect();
                format!("one of {}", words.join(", "))
            }
            Body::Integer { .. } => "a whole number".to_owned(),
            Body::Boolean => "true or false".to_owned(),
            Body::Either(shapes) => {
                let nouns: Vec<_> = shapes.iter().map(Self::noun).collect();
                nouns.join(" or ")
            }
            Body::Any => "a value".to_owned(),
        }
    }
}

impl Body {
    fn compile(schema: &Map<String, Json>) -> Self {
        let variants = ["oneOf", "anyOf"]
            .iter()
            .find_map(|key| schema.get(*key)?.as_array());
        if let Some(variants) = variants {
            return Self::variants(schema, variants);
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            let values = values.iter().filter_map(Json::as_str);
            return Self::Choice {
                values: values.map(|v| (v.to_owned(), String::new())).collect(),
                planned: dictionary(schema.get("x-planned")),
                refused: dictionary(schema.get("x-refused")),
            };
        }
        match schema.get("type") {
            Some(Json::Array(types)) => {
                let types = types.iter().filter(|t| t.as_str() != Some("null"));
                let mut bodies: Vec<_> = types.map(|t| Self::typed(schema, t)).collect();
                if bodies.len() == 1 {
                    return bodies.remove(0);
                }
                Self::Either(bodies.into_iter().map(Shape::bare).collect())
            }
            Some(one) => Self::typed(schema, one),
            None => Self::Any,
        }
    }

    fn typed(schema: &Map<String, Json>, type_name: &Json) -> Self {
        match type_name.as_str().unwrap_or_default() {
            "object" => Self::object(schema),
            "array" => Self::List {
                item: Box::new(Shape::compile(schema.get("items").unwrap_or(&Json::Null))),
                min: schema.get("minItems").and_then(Json::as_u64).unwrap_or(0),
            },
            "string" => {
                let format = schema.get("format").and_then(Json::as_str);
                Self::Text(format.and_then(field::format))
            }
            "integer" => Self::Integer {
                min: bound(schema, "minimum").unwrap_or(i64::MIN),
                max: bound(schema, "maximum").unwrap_or(i64::MAX),
            },
            "boolean" => Self::Boolean,
            _ => Self::Any,
        }
    }

    fn object(schema: &Map<String, Json>) -> Self {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        if let (None, Some(value @ Json::Object(_))) =
            (properties, schema.get("additionalProperties"))
        {
            return Self::Dictionary(Box::new(Shape::compile(value)));
        }
        let properties = properties.unwrap_or(&none).iter();
        Self::Object {
            fields: properties
                .map(|(name, schema)| (name.clone(), Shape::compile(schema)))
                .collect(),
            required: strings(schema.get("required")),
            planned: dictionary(schema.get("x-planned")),
        }
    }

    fn variants(schema: &Map<String, Json>, variants: &[Json]) -> Self {
        let constant = |variant: &Json| -> Option<(String, String)> {
            let doc = variant.get("description").and_then(Json::as_str);
            let name = variant.get("const")?.as_str()?;
            Some((name.to_owned(), unwrap_lines(doc.unwrap_or_default())))
        };
        match variants.iter().map(constant).collect() {
            Some(values) => Self::Choice {
                values,
                planned: dictionary(schema.get("x-planned")),
                refused: dictionary(schema.get("x-refused")),
            },
            None => Self::Either(variants.iter().map(Shape::compile).collect()),
        }
    }
}

impl Shape {
    fn bare(body: Body) -> Self {
        Self {
            doc: String::new(),
            default: None,
            reference: Vec::new(),
            secret: false,
            body,
        }
    }
}

/// The JSON Schema (draft 2020-12) of a Rust type, without references.
pub(crate) fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12()
        .for_deserialize()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// `anyOf: [X, null]` is what an optional value of form X looks like; the annotations stay outside.
fn unwrap_nullable(object: &Map<String, Json>) -> (&Map<String, Json>, Option<&Map<String, Json>>) {
    let is_null = |schema: &&Json| schema.get("type").and_then(Json::as_str) == Some("null");
    let inner = object
        .get("anyOf")
        .and_then(Json::as_array)
        .filter(|variants| variants.len() == 2 && variants.iter().any(|v| is_null(&v)))
        .and_then(|variants| variants.iter().find(|v| !is_null(v))?.as_object());
    (object, inner)
}

fn strings(value: Option<&Json>) -> Vec<String> {
    let items = value.and_then(Json::as_array).into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn dictionary(value: Option<&Json>) -> BTreeMap<String, String> {
    let entries = value.and_then(Json::as_object).into_iter().flatten();
    entries
        .filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())))
        .collect()
}

fn bound(schema: &Map<String, Json>, key: &str) -> Option<i64> {
    schema.get(key)?.as_i64()
}

/// Doc comments are wrapped for the source; a paragraph is one line here.
fn unwrap_lines(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .map(|p| p.lines().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// What stands in place of a secret.
const REDACTED: &str = "(redacted)";

impl Shape {
    /// A value of this form without its secrets.
    pub(crate) fn redact(&self, value: &Json) -> Json {
        if self.secret {
            return Json::String(REDACTED.to_owned());
        }
        match (&self.body, value) {
            (Body::Object { fields, .. }, Json::Object(entries)) => {
                let entries = entries.iter().map(|(key, value)| {
                    let value = fields
                        .get(key)
                        .map_or(Json::Null, |field| field.redact(value));
                    (key.clone(), value)
                });
                Json::Object(entries.collect())
            }
            (Body::Dictionary(item), Json::Object(entries)) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| (key.clone(), item.redact(value)));
                Json::Object(entries.collect())
            }
            (Body::List { item, .. }, Json::Array(items)) => {
                Json::Array(items.iter().map(|value| item.redact(value)).collect())
            }
            _ => value.clone(),
        }
    }
}
