//! JSON values as YAML.

use std::borrow::Cow;

use saphyr::{Mapping, Scalar, Yaml, YamlEmitter};
use serde_json::{Number, Value};

use crate::failure::Failure;

/// The value as a YAML document, without the line of dashes.
pub(crate) fn yaml(value: &Value) -> Result<String, Failure> {
    let mut text = String::new();
    YamlEmitter::new(&mut text)
        .dump(&node(value))
        .map_err(|error| Failure::Print(error.to_string()))?;
    let body = text.strip_prefix("---\n").unwrap_or(&text);
    Ok(format!("{body}\n"))
}

fn node(value: &Value) -> Yaml<'_> {
    match value {
        Value::Null => Yaml::Value(Scalar::Null),
        Value::Bool(value) => Yaml::Value(Scalar::Boolean(*value)),
        Value::Number(number) => scalar(number),
        Value::String(text) => Yaml::Value(Scalar::String(Cow::Borrowed(text))),
        Value::Array(items) => Yaml::Sequence(items.iter().map(node).collect()),
        Value::Object(fields) => {
            let mut mapping = Mapping::new();
            for (name, value) in fields {
                let name = Yaml::Value(Scalar::String(Cow::Borrowed(name)));
                mapping.insert(name, node(value));
            }
            Yaml::Mapping(mapping)
        }
    }
}

fn scalar(number: &Number) -> Yaml<'static> {
    match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => Yaml::Value(Scalar::Integer(integer)),
        (None, Some(float)) => Yaml::Value(Scalar::FloatingPoint(float.into())),
        (None, None) => Yaml::Value(Scalar::String(Cow::Owned(number.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_something_else_is_quoted() {
        let value = json!({
            "address": "10.77.60.9/32",
            "count": 3,
            "empty": [],
            "list": [{"a": "yes", "b": true}, "12"],
            "none": null,
        });
        let text = yaml(&value).expect("yaml");
        let expected = "address: 10.77.60.9/32\ncount: 3\nempty: []\nlist:\n  - a: \"yes\"\n    b: true\n  - \"12\"\nnone: ~\n";
        assert_eq!(text, expected);
    }
}
