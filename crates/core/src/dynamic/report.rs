//! What `routerctl dynamic` shows.

use api::Diagnostic;
use api::dynamic::{EffectiveView, Masked, PartName, PartStatus, PartView, Rendered};
use api::plugin::{Metadata, ResourceDocument};

use super::{Digest, Judged, Merge, Part, PartState};
use crate::Effective;

/// All parts.
pub fn parts(merge: &Merge) -> Vec<PartView> {
    merge.parts.iter().map(part).collect()
}

/// The configuration that counts, and how it differs from the one that was written.
pub fn effective(
    effective: &Effective,
    merge: &Merge,
    diagnostics: Vec<Diagnostic>,
) -> EffectiveView {
    let rendered = effective.resources.iter().map(|(id, declared)| {
        let metadata = Metadata {
            name: id.name.clone(),
            labels: declared.labels.clone(),
            annotations: declared.annotations.clone(),
        };
        let part = merge
            .added
            .get(id)
            .and_then(|index| merge.parts.get(*index));
        Rendered {
            resource: ResourceDocument {
                api_version: declared.api_version.clone(),
                kind: id.kind.clone(),
                metadata,
                spec: declared.spec.clone(),
            },
            part: part.map(|judged| name(&judged.part)),
        }
    });
    let masked = merge.masked.iter().map(|(id, mask)| Masked {
        resource: id.clone(),
        part: PartName {
            source: mask.source.clone(),
            generation: mask.generation,
        },
        until: mask.until,
        reason: mask.reason.clone(),
    });
    EffectiveView {
        resources: rendered.collect(),
        masked: masked.collect(),
        diagnostics,
    }
}

fn name(part: &Part) -> PartName {
    PartName {
        source: part.source.clone(),
        generation: part.generation,
    }
}

fn part(judged: &Judged) -> PartView {
    let part = &judged.part;
    let (status, reasons) = match &judged.state {
        PartState::Active => (PartStatus::Active, Vec::new()),
        PartState::Held => (PartStatus::Held, Vec::new()),
        PartState::Expired => (PartStatus::Expired, Vec::new()),
        PartState::Superseded => (PartStatus::Superseded, Vec::new()),
        PartState::Quarantined(reasons) => (PartStatus::Quarantined, reasons.clone()),
    };
    PartView {
        source: part.source.clone(),
        generation: part.generation,
        status,
        reasons,
        plugin: part.plugin.clone(),
        event: part.origin.as_ref().map(|origin| origin.event.clone()),
        observed_at: part.observed_at,
        expires_at: part.expires_at,
        held_until: part.gone_at(),
        ended_at: part.ended_at,
        digest: Digest::of(part).to_string(),
        resources: part.resources.clone(),
        directives: part.directives.clone(),
        action_plans: part.action_plans.clone(),
    }
}
