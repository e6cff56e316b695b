//! What `routerctl get` and `describe` show of event federation.

use std::collections::BTreeMap;

use api::ResourceId;
use serde_json::{Value, json};

use super::Shared;
use crate::store::StoreError;

/// Facts by name, and what keeps the resource from working.
pub(crate) type Facts = (BTreeMap<String, Value>, Option<String>);

impl Shared {
    /// What is known of each resource of the federation.
    pub(crate) fn facts(&self) -> Result<BTreeMap<ResourceId, Facts>, StoreError> {
        let intent = self.intent();
        let mut troubles = self.troubles();
        let mut all = BTreeMap::new();
        for (name, group) in &intent.groups {
            let mut facts = BTreeMap::from([
                ("events".to_owned(), json!(self.store.count(name)?)),
                ("nodeName".to_owned(), json!(group.node)),
            ]);
            if let Some(key) = self.node_key.public() {
                facts.insert("publicKey".to_owned(), json!(key.to_string()));
            }
            let trouble = troubles.remove(&group.owner.to_string());
            all.insert(group.owner.clone(), (facts, trouble));
        }
        for outbox in self.store.outboxes()? {
            let Some(peer) = intent.peers.get(&outbox.peer) else {
                continue;
            };
            let facts = BTreeMap::from([
                ("pending".to_owned(), json!(outbox.pending)),
                ("delivered".to_owned(), json!(outbox.delivered)),
                ("dead".to_owned(), json!(outbox.dead)),
                ("lastSuccess".to_owned(), json!(outbox.succeeded_at)),
            ]);
            let trouble = outbox.error.filter(|_| outbox.failures > 0);
            all.insert(peer.owner.clone(), (facts, trouble));
        }
        for (name, subscription) in &intent.subscriptions {
            let (pending, failed) = self.store.backlog(name)?;
            let facts = BTreeMap::from([
                ("pending".to_owned(), json!(pending)),
                ("failed".to_owned(), json!(failed)),
            ]);
            all.insert(subscription.owner.clone(), (facts, None));
        }
        Ok(all)
    }
}
