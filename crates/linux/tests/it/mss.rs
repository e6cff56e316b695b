//! The table of the MSS clamp, beside other people's tables.

use std::collections::BTreeMap;

use api::IfName;
use routerd_core::observed::MssClamp;
use routerd_core::plan::Action;

use crate::host::{apply, host, name, observe};
use crate::namespace::{fresh, run};

fn clamps() -> BTreeMap<IfName, MssClamp> {
    BTreeMap::from([
        (
            name("wg0"),
            MssClamp {
                v4: 1380,
                v6: 1360,
                force_fragment: true,
            },
        ),
        (
            name("a.b-c"),
            MssClamp {
                v4: 536,
                v6: 1220,
                force_fragment: false,
            },
        ),
    ])
}

#[test]
fn the_mss_table_round_trips() {
    fresh(|| {
        run("nft add table ip theirs; nft add table inet routerd_filter");
        let mut host = host();
        let before = observe(&mut host).tables;
        assert_eq!(before.len(), 2);
        apply(&mut host, [Action::SetMssTable { clamps: clamps() }]);
        let with = observe(&mut host);
        assert_eq!(with.mss, Some(clamps()));
        let table = with
            .tables
            .iter()
            .find(|t| t.name == "routerd_mss")
            .expect("table");
        assert_eq!(table.family, "inet");
        assert_eq!(table.comment.as_deref(), Some("managed by routerd"));
        apply(
            &mut host,
            [Action::RemoveTable {
                family: "inet".to_owned(),
                name: "routerd_mss".to_owned(),
            }],
        );
        let after = observe(&mut host);
        assert_eq!((after.mss, after.tables), (None, before));
    });
}

#[test]
fn an_altered_mss_table_is_not_ours() {
    fresh(|| {
        let mut host = host();
        let alterations = [
            "nft delete table inet routerd_mss",
            "nft flush chain inet routerd_mss forward",
            "nft add rule inet routerd_mss forward counter",
            "nft add chain inet routerd_mss extra",
            "nft insert rule inet routerd_mss forward iifname wg9 meta nfproto ipv4 \
             'tcp flags & (syn|rst) == syn' tcp option maxseg size set 1000",
            "nft 'chain inet routerd_mss forward { policy drop; }'",
            "handle=$(nft -a list chain inet routerd_mss forward | sed -n '/iifname \"a.b-c\"/s/.*handle //p' | head -n 1); \
             nft replace rule inet routerd_mss forward handle $handle iifname a.b-c meta nfproto ipv4 \
             'tcp flags & (syn|rst) == syn' tcp option maxseg size set 1459",
            "nft -f - <<E\ndelete table inet routerd_mss\n\
             table inet routerd_mss { chain forward { type filter hook forward priority -150; }\n}\nE",
        ];
        for alteration in alterations {
            apply(&mut host, [Action::SetMssTable { clamps: clamps() }]);
            assert_eq!(observe(&mut host).mss, Some(clamps()));
            run(alteration);
            assert_ne!(observe(&mut host).mss, Some(clamps()), "{alteration}");
        }
    });
}
