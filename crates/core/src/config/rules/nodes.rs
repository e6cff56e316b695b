//! Every OverlayPeer says who this node is: they have to agree.

use api::Diagnostic;

use super::Context;
use crate::config::draft::{Draft, Path};
use crate::config::sink::Sink;

pub(super) fn check(draft: &mut Draft, _: &Context<'_>, sink: &mut Sink<'_>) {
    let mut paths: Vec<&Path> = draft.paths.values().collect();
    paths.sort_by_key(|path| path.mark);
    agree(
        &paths,
        "role",
        |path| path.role.map(|role| role.to_string()),
        sink,
    );
    agree(&paths, "nodeID", |path| path.node.clone(), sink);
}

fn agree(
    paths: &[&Path],
    field: &str,
    value: impl Fn(&Path) -> Option<String>,
    sink: &mut Sink<'_>,
) {
    let mut said = paths.iter().filter_map(|path| Some((path, value(path)?)));
    let Some((first, expected)) = said.next() else {
        return;
    };
    for (path, other) in said.filter(|(_, value)| *value != expected) {
        let message = format!(
            "`{field}` is `{other}` here and `{expected}` in {}",
            first.id
        );
        let found = Diagnostic::warning("node-described-twice", message)
            .about(&path.id)
            .hint("`role` and `nodeID` describe this node, `remote` the other one");
        sink.push(path.mark, found);
    }
}
