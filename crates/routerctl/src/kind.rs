//! What people type for a kind.

use crate::failure::Failure;

/// The kind that `typed` means: the kind itself in any case, singular or plural, its initials
/// (`rac` for `RemoteAddressClaim`), or a part of it that no other kind shares (`claims`).
pub(crate) fn find<'a>(typed: &str, kinds: &[&'a str]) -> Result<&'a str, Failure> {
    let typed_low = typed.to_lowercase();
    let singular = typed_low.strip_suffix('s').unwrap_or(&typed_low);
    let is_exact = |kind: &&&str| {
        let low = kind.to_lowercase();
        let initials: String = kind.chars().filter(char::is_ascii_uppercase).collect();
        [typed_low.as_str(), singular].contains(&low.as_str())
            || initials.to_lowercase() == typed_low
    };
    let exact: Vec<&&str> = kinds.iter().filter(is_exact).collect();
    if let [kind] = exact.as_slice() {
        return Ok(kind);
    }
    let has_part = |kind: &&&str| kind.to_lowercase().contains(singular);
    let parts: Vec<&str> = kinds.iter().filter(has_part).copied().collect();
    match parts.as_slice() {
        [kind] if !singular.is_empty() => Ok(kind),
        [] => Err(Failure::Argument(
            format!(
                "there is no kind `{typed}`; the kinds are {}",
                kinds.join(", ")
            ),
            "`routerctl get` lists all resources",
        )),
        several => Err(Failure::Argument(
            format!("`{typed}` may mean {}", several.join(", ")),
            "write more of the kind",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 6] = [
        "HybridRoute",
        "IPv4Route",
        "Interface",
        "RemoteAddressClaim",
        "WireGuardInterface",
        "WireGuardPeer",
    ];

    fn found(typed: &str) -> Option<&'static str> {
        find(typed, &KINDS).ok()
    }

    #[test]
    fn kinds_are_found_by_what_people_type() {
        for (typed, kind) in [
            ("wireguardinterface", "WireGuardInterface"),
            ("WireGuardInterfaces", "WireGuardInterface"),
            ("interface", "Interface"),
            ("interfaces", "Interface"),
            ("rac", "RemoteAddressClaim"),
            ("claims", "RemoteAddressClaim"),
            ("wgp", "WireGuardPeer"),
            ("peer", "WireGuardPeer"),
        ] {
            assert_eq!(found(typed), Some(kind), "{typed}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_unknown_is_refused() {
        let ambiguous = find("routes", &KINDS).expect_err("two kinds of route");
        assert_eq!(
            ambiguous.to_string(),
            "`routes` may mean HybridRoute, IPv4Route"
        );
        assert!(found("tunnel").is_none());
        assert!(found("").is_none());
        assert!(found("s").is_none());
    }
}
