//! What a resource is called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of a resource: its kind and name. Kinds are unique across API groups, so the group
/// is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    /// For example `RemoteAddressClaim`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
}

impl ResourceId {
    /// Names a resource.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}
