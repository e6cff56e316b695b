//! Every crate we link is under a licence that the project accepts.

use anyhow::Result;
use serde_json::Value;

/// SPDX identifiers that are accepted. `Unicode-3.0` and `Zlib` cover data tables and small C-style parts.
const ACCEPTED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
];

/// Crates whose licence expression is not accepted.
pub fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let refused = packages.filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("(none)");
        (!accepts(licence)).then(|| {
            format!(
                "{} {}: licence {licence}",
                package["name"], package["version"]
            )
        })
    });
    Ok(refused.collect())
}

/// Whether an SPDX expression of `OR`, `AND`, `WITH`, `/` and parentheses can be satisfied by [`ACCEPTED`].
fn accepts(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // `AND` binds tighter than `OR`; the few nested expressions in use stay right when read flat, since a
    // stricter reading only ever refuses more.
    let nested = expression.contains('(');
    let any = |text: &str| {
        text.split(" OR ")
            .any(|all| all.split(" AND ").all(|one| ACCEPTED.contains(&base(one))))
    };
    if nested {
        flat.split(" AND ").all(any)
    } else {
        any(&flat)
    }
}

fn base(term: &str) -> &str {
    term.split(" WITH ").next().unwrap_or(term).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for yes in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "GPL-3.0",
            "MIT AND GPL-2.0",
            "(none)",
            "(MIT OR Apache-2.0) AND GPL-3.0",
        ] {
            assert!(!accepts(no), "{no}");
        }
    }
}
