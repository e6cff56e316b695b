//! What the cloud provider thinks: NIC flag, secondary address, route entry.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = hybrid("provider", check);

fn check(_: &Scene<'_>, findings: &mut Findings) {
    let detail = "provider state not observable yet: no executor";
    findings.skip("provider", detail);
}
