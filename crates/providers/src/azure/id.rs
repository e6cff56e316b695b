//! Resource identifiers: `/subscriptions/S/resourceGroups/G/providers/N/TYPE/NAME/…`, compared without case.

use std::fmt;

use api::action::ErrorClass;

use crate::fault::Fault;

/// A resource's identifier, without a trailing slash.
#[derive(Debug, Clone)]
pub(super) struct ArmId(String);

impl ArmId {
    /// Reads the identifier of a resource of type `kind` (`networkInterfaces`, `routeTables` …).
    ///
    /// # Errors
    /// When it is not one.
    pub(super) fn parse(text: &str, kind: &str) -> Result<Self, Fault> {
        let id = Self(text.trim_end_matches('/').to_owned());
        let parts: Vec<&str> = id.0.split('/').collect();
        let well_formed = parts.len() >= 9
            && parts.len() % 2 == 1
            && parts[0].is_empty()
            && parts[1..].iter().all(|part| is_segment(part))
            && parts[1].eq_ignore_ascii_case("subscriptions")
            && parts[3].eq_ignore_ascii_case("resourceGroups")
            && parts[5].eq_ignore_ascii_case("providers")
            && parts[parts.len() - 2].eq_ignore_ascii_case(kind);
        if well_formed {
            return Ok(id);
        }
        Err(Fault::new(
            ErrorClass::Invalid,
            format!("`{text}` is not the resource id of one of {kind}"),
        )
        .hint(format!(
            "it looks like /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/{kind}/NAME"
        )))
    }

    /// The identifier of a child resource.
    pub(super) fn child(&self, kind: &str, name: &str) -> Self {
        Self(format!("{}/{kind}/{name}", self.0))
    }

    /// The last name.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The resource that this is a child of: two segments fewer.
    pub(super) fn parent(&self) -> Self {
        let cut = |text: &str| text.rfind('/').map_or(0, |at| at);
        let end = cut(&self.0[..cut(&self.0)]);
        Self(self.0[..end].to_owned())
    }

    /// `/subscriptions/S/resourceGroups/G`.
    pub(super) fn group(&self) -> String {
        self.0.split('/').take(5).collect::<Vec<_>>().join("/")
    }

    /// Whether both name the same resource.
    pub(super) fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other.trim_end_matches('/'))
    }

    /// The identifier as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What may stand between two slashes: nothing that would change the meaning of the URL it is put into.
fn is_segment(part: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.()".contains(c);
    !part.is_empty() && part != "." && part != ".." && part.chars().all(fits)
}

impl PartialEq for ArmId {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl fmt::Display for ArmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: &str =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n";

    #[test]
    fn identifiers_are_checked_and_taken_apart() {
        let nic = ArmId::parse(NIC, "networkInterfaces").expect("a NIC");
        assert_eq!(
            (nic.name(), nic.group().as_str()),
            ("n", "/subscriptions/s/resourceGroups/g")
        );
        assert!(nic.is(&NIC.to_uppercase()));
        assert_eq!(nic.child("ipConfigurations", "c").parent(), nic);
        for wrong in [
            "n",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/routeTables/n",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n?x=1",
            "/subscriptions/s/resourceGroups/../providers/Microsoft.Network/networkInterfaces/n",
        ] {
            assert!(ArmId::parse(wrong, "networkInterfaces").is_err(), "{wrong}");
        }
    }
}
