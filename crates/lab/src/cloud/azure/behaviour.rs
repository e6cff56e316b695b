//! How a subscription behaves: what `PUT /lab/behaviour` takes.

use std::time::Duration;

use serde::Deserialize;

use super::Site;

/// What is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Behaviour {
    operation_millis: Option<u64>,
    token_seconds: Option<u64>,
    page_size: Option<usize>,
    atomic_move: Option<bool>,
}

impl Behaviour {
    pub(super) fn apply(&self, site: &mut Site) {
        if let Some(millis) = self.operation_millis {
            site.operation_time = Duration::from_millis(millis);
        }
        if let Some(seconds) = self.token_seconds {
            site.token_lifetime = Duration::from_secs(seconds);
        }
        if let Some(size) = self.page_size {
            site.page_size = size.max(1);
        }
        if let Some(on) = self.atomic_move {
            site.atomic_move = on;
        }
    }
}
