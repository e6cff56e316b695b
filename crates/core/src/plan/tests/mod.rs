//! Plans against the host in memory.

mod cases;
mod plain;
mod ports;
mod properties;
pub(crate) mod random;
mod stripes;
mod tunnels;

use crate::plan::Plan;

fn texts(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn waits(plan: &Plan) -> Vec<String> {
    plan.waiting.iter().map(ToString::to_string).collect()
}
