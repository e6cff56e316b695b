//! Action plans in files, as YAML or JSON.

use std::io::Read;
use std::path::PathBuf;

use api::action::ActionPlan;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::input;

/// Reads all plans of all files, in order.
pub(super) fn read(files: &[PathBuf], input: &mut dyn Read) -> Result<Vec<ActionPlan>, Failure> {
    let config = input::read(files, input)?;
    let mut plans = Vec::new();
    for file in config.files {
        let wrong = |reason: String| {
            let message = format!("{}: {reason}", file.name);
            Failure::Argument(
                message,
                "write plans as YAML or JSON: one, a list, or `actionPlans: [...]`",
            )
        };
        let documents = Yaml::load_from_str(&file.text).map_err(|e| wrong(e.to_string()))?;
        for document in documents {
            let value = value(&document).map_err(wrong)?;
            for plan in within(value) {
                plans.push(serde_json::from_value(plan).map_err(|e| wrong(e.to_string()))?);
            }
        }
    }
    Ok(plans)
}

/// The plans in a document: itself, its items, or those of a plugin's result.
fn within(document: Value) -> Vec<Value> {
    match document {
        Value::Array(items) => items,
        Value::Object(mut fields) => {
            if let Some(Value::Object(status)) = fields.get_mut("status")
                && let Some(Value::Array(plans)) = status.remove("actionPlans")
            {
                return plans;
            }
            match fields.remove("actionPlans") {
                Some(Value::Array(plans)) => plans,
                _ => vec![Value::Object(fields)],
            }
        }
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

fn value(node: &Yaml<'_>) -> Result<Value, String> {
    Ok(match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(text)) => Value::String(text.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Mapping(fields) => {
            let mut map = Map::new();
            for (name, field) in fields {
                let Yaml::Value(Scalar::String(name)) = name else {
                    return Err("the name of a field is not a text".to_owned());
                };
                map.insert(name.to_string(), value(field)?);
            }
            Value::Object(map)
        }
        _ => return Err("aliases and tags mean nothing here".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "{name: f, provider: azure, providerRef: main, action: ensure-forwarding-enabled, \
                        target: {}, idempotencyKey: k}";

    fn count(text: &str) -> Result<usize, Failure> {
        read(&["-".into()], &mut text.as_bytes()).map(|plans| plans.len())
    }

    #[test]
    fn plans_come_alone_in_lists_and_in_results() {
        assert_eq!(count(PLAN).expect("one"), 1);
        assert_eq!(count(&format!("- {PLAN}\n- {PLAN}\n")).expect("two"), 2);
        assert_eq!(count(&format!("{PLAN}\n---\n{PLAN}\n")).expect("two"), 2);
        assert_eq!(count(&format!("actionPlans: [{PLAN}]")).expect("one"), 1);
        let result = format!("kind: PluginResult\nstatus: {{ttl: 5m, actionPlans: [{PLAN}]}}");
        assert_eq!(count(&result).expect("one"), 1);
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        assert!(count("{name: f}").is_err());
        assert!(count(&PLAN.replace("azure,", "azure, surprise: 1,")).is_err());
        assert!(count("a: [").is_err());
        assert!(count("just a text").is_err());
    }
}
