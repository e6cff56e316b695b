//! Announces and defends captured addresses by ARP, and hears who else answers for them.

use std::collections::BTreeMap;

use api::{IfName, MobileAddress};
use routerd_core::observed::ArpConflict;

/// One AF_PACKET listener per capture interface.
#[derive(Debug, Default)]
pub struct Responder {}

impl Responder {
    /// Answers for exactly these addresses from now on; the value says whether to announce an address that is
    /// new.
    pub fn update(&mut self, wanted: &BTreeMap<IfName, BTreeMap<MobileAddress, bool>>) {
        let _ = wanted;
    }

    /// Who else was heard answering, by address.
    pub fn conflicts(&self) -> BTreeMap<MobileAddress, ArpConflict> {
        BTreeMap::new()
    }
}
