//! What became of each resource.

use api::status::ResourceStatus;

use crate::{Effective, Observed, Plan};

/// The status of every resource, in order of kind and name.
pub fn status(effective: &Effective, observed: &Observed, plan: &Plan) -> Vec<ResourceStatus> {
    let _ = (effective, observed, plan);
    Vec::new()
}
