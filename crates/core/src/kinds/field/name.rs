//! Names: of resources, interfaces, files and cloud objects.

use std::fmt;

use api::{IfName, ResourceId};

use super::{Complaint, TextField};

impl TextField for IfName {
    const FORMAT: &'static str = "interface-name";
    const WHAT: &'static str =
        "an interface name (1 to 15 characters, no slash, colon or white space)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|_| {
            let complaint = Complaint::not::<Self>("bad-interface-name", text);
            match text.len() {
                length if length > Self::MAX_LEN => {
                    complaint.hint(format!("it is {length} bytes long, Linux stores 15"))
                }
                _ => complaint,
            }
        })
    }
}

/// The name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceName(pub(crate) String);

impl TextField for ResourceName {
    const FORMAT: &'static str = "resource-name";
    const WHAT: &'static str =
        "a resource name (letters, digits, `-`, `_` and `.`, beginning with a letter or digit)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Complaint::not::<Self>("bad-name", text))
        }
    }
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 253
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(legal)
}

/// `Kind/name`, or a bare name where the field says which kinds fit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    /// The kind, if it is written.
    pub(crate) kind: Option<String>,
    /// The name.
    pub(crate) name: String,
}

impl Reference {
    /// Whether this names a resource.
    pub(crate) fn names(&self, id: &ResourceId) -> bool {
        self.name == id.name && self.kind.as_ref().is_none_or(|kind| *kind == id.kind)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl TextField for Reference {
    const FORMAT: &'static str = "reference";
    const WHAT: &'static str = "a reference (`Kind/name`, or a name)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text),
        };
        let kind_ok = kind
            .is_none_or(|kind| !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric()));
        // A bare name may also be one of the kernel's, which allows more characters.
        let name_ok = is_name(name) || (kind.is_none() && name.parse::<IfName>().is_ok());
        if kind_ok && name_ok {
            Ok(Self {
                kind: kind.map(str::to_owned),
                name: name.to_owned(),
            })
        } else {
            Err(Complaint::not::<Self>("bad-reference", text))
        }
    }
}

/// An absolute path of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AbsolutePath(pub(crate) String);

impl TextField for AbsolutePath {
    const FORMAT: &'static str = "absolute-path";
    const WHAT: &'static str = "an absolute path of a file";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = || Complaint::not::<Self>("bad-path", text);
        if !text.starts_with('/') {
            return Err(complaint().hint("it begins with `/`"));
        }
        let up = text.split('/').any(|part| part == "..");
        if text.ends_with('/') || up || text.contains('\0') {
            return Err(complaint().hint("it names a file and does not lead upward"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A region, resource group, compartment or project, in the letters that the clouds allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloudName(pub(crate) String);

impl TextField for CloudName {
    const FORMAT: &'static str = "cloud-name";
    const WHAT: &'static str = "the name of a cloud object (no white space, no slash)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let legal = |c: char| c.is_alphanumeric() || "-_.():".contains(c);
        if text.is_empty() || text.len() > 255 || !text.chars().all(legal) {
            return Err(Complaint::not::<Self>("bad-cloud-name", text));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The id of an Azure subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubscriptionId(pub(crate) String);

impl TextField for SubscriptionId {
    const FORMAT: &'static str = "uuid";
    const WHAT: &'static str = "a subscription id (8-4-4-4-12 hexadecimal digits)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let lengths = text.split('-').map(str::len);
        let hexadecimal = text.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
        if hexadecimal && lengths.eq([8, 4, 4, 4, 12]) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Complaint::not::<Self>("bad-subscription-id", text))
        }
    }
}
