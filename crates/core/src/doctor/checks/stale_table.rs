//! Tables with routerd's prefix that nobody owns any more: of a dead instance, or of the system before this one.

use super::hybrid;
use crate::TABLE_PREFIX;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::firewall::judge;
use crate::doctor::scene::Scene;
use crate::host::is_our_table;
use crate::observed::{Hook, NftTable};

pub(super) const CHECK: Entry = hybrid("stale-table", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let tables = scene.host.observed.tables.iter();
    let stale = tables.filter(|table| table.name.starts_with(TABLE_PREFIX) && !is_our_table(table));
    let mut found = false;
    for table in stale {
        found = true;
        let NftTable { family, name, .. } = table;
        let subject = format!("table {family} {name}");
        let remedy = format!("nft delete table {family} {name}");
        if let Some(rule) = blocks(table, scene) {
            let detail =
                format!("belongs to no running routerd and drops what passes here: {rule}");
            findings.fail(subject, detail, remedy);
            findings.breaks(Thing::Table(family.clone(), name.clone()));
        } else {
            findings.warn(subject, "belongs to no running routerd", remedy);
        }
    }
    if !found {
        findings.pass(
            "tables",
            format!("no table {TABLE_PREFIX}* of a dead instance"),
        );
    }
}

/// The rule of this table that ends the way of forwarded packets.
fn blocks(table: &NftTable, scene: &Scene<'_>) -> Option<String> {
    let firewall = scene.host.observed.firewall.as_ref()?;
    let chains = firewall.chains.iter().filter(|chain| {
        chain.hook == Hook::Forward && (&chain.family, &chain.table) == (&table.family, &table.name)
    });
    let flows = scene.paths.iter().flat_map(|path| path.flows());
    let flows: Vec<_> = flows.map(|(_, flow)| flow).collect();
    let mut blocks =
        chains.flat_map(|chain| flows.iter().filter_map(move |flow| judge(chain, flow)));
    blocks.next().map(|block| block.words())
}
