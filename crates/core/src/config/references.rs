//! Whether what resources name exists.

use std::collections::{BTreeMap, BTreeSet};

use api::{Diagnostic, IfName, ResourceId};

use super::check::Mention;
use super::document::Written;
use super::sink::Sink;
use crate::kinds::field::{Reference, TextField};

/// The names of all resources by kind, refused ones included.
pub(crate) struct Names<'w> {
    by_kind: BTreeMap<&'w str, BTreeSet<&'w str>>,
    /// Names that interfaces have in the kernel, as far as they are written, and the kinds that declare them.
    ifnames: BTreeMap<&'w str, &'w str>,
    /// Whether a file could not be read to its end: then a name that is missing may stand there.
    pub(crate) incomplete: bool,
}

impl<'w> Names<'w> {
    pub(crate) fn of(resources: &'w [Written], incomplete: bool) -> Self {
        let mut by_kind = BTreeMap::<&str, BTreeSet<&str>>::new();
        for resource in resources {
            let names = by_kind.entry(&resource.id.kind).or_default();
            names.insert(&resource.id.name);
        }
        let ifnames = resources
            .iter()
            .filter_map(|resource| {
                Some((
                    resource.spec.get("ifname")?.text()?,
                    resource.id.kind.as_str(),
                ))
            })
            .collect();
        Self {
            by_kind,
            ifnames,
            incomplete,
        }
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.by_kind
            .get(kind)
            .is_some_and(|names| names.contains(name))
    }

    /// Whether a resource of one of these kinds declares an interface of this name.
    fn declares(&self, kinds: &[String], ifname: &str) -> bool {
        let kind = self.ifnames.get(ifname);
        kind.is_some_and(|kind| kinds.iter().any(|fits| fits == kind))
    }

    fn of_kinds<'n>(&'n self, kinds: &'n [String]) -> impl Iterator<Item = &'w str> + 'n {
        kinds
            .iter()
            .filter_map(|kind| self.by_kind.get(kind.as_str()))
            .flatten()
            .copied()
    }
}

/// Checks every reference; returns the resources that are named somewhere.
pub(crate) fn resolve(
    mentions: &[Mention],
    names: &Names<'_>,
    sink: &mut Sink<'_>,
) -> BTreeSet<ResourceId> {
    let mut used = BTreeSet::new();
    for mention in mentions {
        let Ok(reference) = Reference::parse(&mention.text) else {
            continue;
        };
        match &reference.kind {
            Some(kind) => qualified(mention, kind, &reference.name, names, sink),
            None => bare(mention, &reference.name, names, sink),
        }
        let kinds = mention
            .kinds
            .iter()
            .filter(|kind| names.has(kind, &reference.name));
        used.extend(kinds.map(|kind| ResourceId::new(kind, &reference.name)));
    }
    used
}

fn qualified(mention: &Mention, kind: &str, name: &str, names: &Names<'_>, sink: &mut Sink<'_>) {
    if !mention.kinds.iter().any(|fits| fits == kind) {
        let message = format!("`{}` names a {kind}, which does not fit here", mention.text);
        let hint = format!("name {}", one_of(&mention.kinds));
        error(mention, "wrong-kind", message, hint, sink);
    } else if !names.has(kind, name) && !names.incomplete {
        unknown(mention, &[kind.to_owned()], name, names, sink);
    }
}

fn bare(mention: &Mention, name: &str, names: &Names<'_>, sink: &mut Sink<'_>) {
    let fitting: Vec<_> = mention
        .kinds
        .iter()
        .filter(|kind| names.has(kind, name))
        .collect();
    match fitting[..] {
        [] if mention.or_interface => kernel_interface(mention, name, names, sink),
        [] if names.incomplete => {}
        [] if names.declares(&mention.kinds, name) => {}
        [] => unknown(mention, &mention.kinds, name, names, sink),
        [_] => {}
        [first, second, ..] => {
            let message = format!("`{name}` is {} and {}", article(first), article(second));
            let hint = format!("write `{first}/{name}` or `{second}/{name}`");
            error(mention, "ambiguous-reference", message, hint, sink);
        }
    }
}

/// A name that no resource has: the kernel's, unless it looks like a slip.
fn kernel_interface(mention: &Mention, name: &str, names: &Names<'_>, sink: &mut Sink<'_>) {
    if names.ifnames.contains_key(name) || names.incomplete {
        return;
    }
    if name.parse::<IfName>().is_err() {
        unknown(mention, &mention.kinds, name, names, sink);
        return;
    }
    let declared = names
        .of_kinds(&mention.kinds)
        .chain(names.ifnames.keys().copied());
    if let Some(near) = sink
        .suggest(name, declared)
        .filter(|near| !only_numbers_differ(near, name))
    {
        let message =
            format!("no resource is named `{name}`: it is taken for an interface of the kernel");
        let found = Diagnostic::warning("interface-not-declared", message)
            .about(&mention.from)
            .hint(format!("did you mean `{near}`?"));
        sink.push(mention.mark, found);
    }
}

/// `eth0` beside `eth1` is no slip.
fn only_numbers_differ(a: &str, b: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    a.trim_end_matches(digits) == b.trim_end_matches(digits)
}

fn unknown(
    mention: &Mention,
    kinds: &[String],
    name: &str,
    names: &Names<'_>,
    sink: &mut Sink<'_>,
) {
    let hint = match sink.suggest(name, names.of_kinds(kinds)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let some: Vec<&str> = names.of_kinds(kinds).take(8).collect();
            if some.is_empty() {
                format!("this configuration has no {}", kinds.join(" and no "))
            } else {
                format!("there is {}", some.join(", "))
            }
        }
    };
    let message = format!("there is no {} `{name}`", kinds.join(" or "));
    error(mention, "unknown-reference", message, hint, sink);
}

fn one_of(kinds: &[String]) -> String {
    kinds
        .iter()
        .map(|kind| article(kind))
        .collect::<Vec<_>>()
        .join(" or ")
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

fn error(mention: &Mention, id: &str, message: String, hint: String, sink: &mut Sink<'_>) {
    let found = Diagnostic::error(id, message)
        .about(&mention.from)
        .hint(hint);
    sink.push(mention.mark, found);
}
