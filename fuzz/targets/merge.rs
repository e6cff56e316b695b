//! Any resources and directives as dynamic parts: the merge ends, gives a valid configuration, and whatever it is, the part
//! of somebody else beside it counts.

use std::sync::{Arc, OnceLock};

use api::control::{Config, SourceFile};
use api::plugin::{Directive, ResourceDocument};
use api::time::Timestamp;
use routerd_core::Effective;
use routerd_core::config::load;
use routerd_core::dynamic::{Part, PartState, merge};
use serde::Deserialize;

const STARTUP: &str = include_str!("../../examples/two-site-cloud.yaml");
const GOOD: &str = r#"{"apiVersion": "hybrid.routerd.net/v1alpha1", "kind": "RemoteAddressClaim",
    "metadata": {"name": "good"}, "spec": {"address": "10.77.60.201", "capture": {"type": "provider-secondary-ip"}}}"#;

#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    resources: Vec<ResourceDocument>,
    #[serde(default)]
    directives: Vec<Directive>,
}

fn startup() -> &'static (Config, Effective) {
    static STATE: OnceLock<(Config, Effective)> = OnceLock::new();
    STATE.get_or_init(|| {
        let file = SourceFile {
            name: "router.yaml".to_owned(),
            text: STARTUP.to_owned(),
        };
        let config = Config { files: vec![file] };
        let effective = load(&config).effective.expect("sound");
        (config, effective)
    })
}

pub fn run(data: &[u8]) {
    let Ok(words) = serde_json::from_slice::<Vec<Word>>(data) else {
        return;
    };
    let (config, base) = startup();
    let now = Timestamp::from_millis(1_780_191_055_000);
    let good = Part {
        source: "good".to_owned(),
        generation: 1,
        resources: vec![serde_json::from_str(GOOD).expect("a claim")],
        ..Part::default()
    };
    let mut parts = vec![Arc::new(good)];
    for (n, word) in words.into_iter().take(4).enumerate() {
        parts.push(Arc::new(Part {
            source: format!("fuzz-{n}"),
            generation: 1,
            // The earlier word holds an identity: that of the good one.
            observed_at: now,
            resources: word.resources,
            directives: word.directives,
            ..Part::default()
        }));
    }
    let merged = merge(config, base, &parts, now);
    assert_eq!(merged.merge.parts.len(), parts.len());
    let good = merged.merge.parts.iter().find(|judged| judged.part.source == "good");
    assert_eq!(good.expect("it is there").state, PartState::Active);
    for (id, index) in &merged.merge.added {
        assert!(merged.effective.resources.contains_key(id), "{id} of part {index}");
    }
    let plugins = |effective: &Effective| effective.plugins.len() + effective.policies.len();
    assert_eq!(plugins(&merged.effective), plugins(base), "no authority came in");
}
