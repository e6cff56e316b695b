//! From files to [`Effective`], with everything that is wrong with them.
//!
//! ```text
//! text ── yaml ──► tree ── document ──► resources ── check (shape) ──► sound specifications
//!      ── references ──► names that exist ── kinds ──► draft ── rules ──► Effective
//! ```
//!
//! No stage stops at its first error, and a resource that was refused still exists for those that name it: one
//! mistake is one diagnostic, and all mistakes come at once.

pub(crate) mod check;
pub(crate) mod document;
pub(crate) mod draft;
mod reference;
mod references;
mod rules;
mod schema;
pub(crate) mod shape;
pub(crate) mod sink;
mod suggest;
pub(crate) mod tree;
mod yaml;

pub use reference::reference;
pub use schema::schema;

use std::collections::{BTreeMap, BTreeSet};

use api::control::{Config, SourceFile};
use api::{Diagnostic, ResourceId};

use self::check::{Check, Mention, Path};
use self::document::{Finder, Written};
use self::draft::{Draft, Resource};
use self::references::Names;
use self::shape::Shape;
use self::sink::Sink;
use self::tree::Mark;
use crate::Effective;
use crate::effective::Declared;
use crate::kinds::KINDS;

/// What reading a configuration gave.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The result; absent if any diagnostic is an error.
    pub effective: Option<Effective>,
    /// Everything found, in order of place.
    pub diagnostics: Vec<Diagnostic>,
    /// How many resources were read.
    pub resources: usize,
}

/// The names of all kinds, in order.
pub fn kinds() -> Vec<&'static str> {
    let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names
}

/// Parses, checks and compiles a whole configuration.
pub fn load(config: &Config) -> Loaded {
    load_files(&config.files, config.files.len(), &BTreeSet::new())
}

/// The same with resources of the startup configuration suppressed and other files put beside it.
pub fn load_merged(
    startup: &Config,
    others: impl IntoIterator<Item = SourceFile>,
    masked: &BTreeSet<ResourceId>,
) -> Loaded {
    let mut files = startup.files.clone();
    files.extend(others);
    load_files(&files, startup.files.len(), masked)
}

/// A mask is for the first `maskable` files.
fn load_files(files: &[SourceFile], maskable: usize, masked: &BTreeSet<ResourceId>) -> Loaded {
    let mut sink = Sink::new(files);
    let mut documents = Vec::new();
    for (file, source) in files.iter().enumerate() {
        documents.extend(yaml::read(file, &source.text, &mut sink));
    }
    let incomplete = sink.errors() > 0;
    let mut finder = Finder::new(&mut sink);
    documents.into_iter().for_each(|node| finder.document(node));
    let (router, mut written) = finder.finish();
    written.retain(|resource| resource.mark.file >= maskable || !masked.contains(&resource.id));
    refuse_duplicates(&mut written, &mut sink);

    let shapes: Vec<Shape> = KINDS.iter().map(|kind| (kind.shape)()).collect();
    let mut mentions = Vec::new();
    for resource in &mut written {
        check_form(resource, &shapes, &mut mentions, &mut sink);
    }
    let names = Names::of(&written, incomplete);
    let used = references::resolve(&mentions, &names, &mut sink);

    let mut draft = compile(&written, &shapes, &mut sink);
    draft.effective.node = router;
    if written.is_empty() && sink.errors() == 0 {
        warn_of_nothing(&mut sink);
    }
    rules::apply(&mut draft, &rules::Context { used: &used }, &mut sink);
    Loaded {
        resources: written.len(),
        effective: (sink.errors() == 0).then_some(draft.effective),
        diagnostics: sink.finish(),
    }
}

/// Nothing is a configuration too: it takes back all that routerd ever made.
fn warn_of_nothing(sink: &mut Sink<'_>) {
    let start = Mark {
        file: 0,
        line: 1,
        column: 1,
    };
    let found = Diagnostic::warning("empty-configuration", "there is no resource in it")
        .hint("applying it removes everything that routerd made on this host");
    sink.push(start, found);
}

fn refuse_duplicates(written: &mut [Written], sink: &mut Sink<'_>) {
    let mut first = BTreeMap::<ResourceId, Mark>::new();
    for resource in written {
        if let Some(mark) = first.get(&resource.id) {
            let found = Diagnostic::error("duplicate-resource", "it is declared twice")
                .about(&resource.id)
                .hint(format!("the first one stands at {}", sink.refer(*mark)));
            sink.push(resource.mark, found);
            resource.sound = false;
        } else {
            first.insert(resource.id.clone(), resource.mark);
        }
    }
}

fn check_form(
    resource: &mut Written,
    shapes: &[Shape],
    mentions: &mut Vec<Mention>,
    sink: &mut Sink<'_>,
) {
    let Some(kind) = resource.kind else { return };
    let subject = resource.id.to_string();
    let mut check = Check {
        subject: &subject,
        sink,
        mentions,
        failed: false,
    };
    check.value(
        Path::Top("spec"),
        &resource.spec,
        resource.spec_mark,
        &shapes[kind],
    );
    resource.sound &= !check.failed;
}

/// Compiles all sound resources, kind by kind.
fn compile(written: &[Written], shapes: &[Shape], sink: &mut Sink<'_>) -> Draft {
    let mut draft = Draft::default();
    let broken = written.iter().filter(|resource| !resource.sound);
    draft
        .broken
        .extend(broken.map(|resource| resource.id.clone()));
    let mut by_kind: Vec<Vec<&Written>> = KINDS.iter().map(|_| Vec::new()).collect();
    for resource in written.iter().filter(|resource| resource.sound) {
        if let Some(kind) = resource.kind {
            by_kind[kind].push(resource);
        }
    }
    for ((kind, shape), resources) in KINDS.iter().zip(shapes).zip(by_kind) {
        for written in resources {
            let json = written.spec.to_json();
            let declared = Declared {
                api_version: format!("{}/{}", kind.group, crate::kinds::VERSION),
                labels: written.labels.clone(),
                annotations: written.annotations.clone(),
                spec: shape.redact(&json),
                place: Some(sink.place(written.mark)),
            };
            draft
                .effective
                .resources
                .insert(written.id.clone(), declared);
            let resource = Resource {
                id: written.id.clone(),
                mark: written.mark,
                spec: &written.spec,
            };
            if let Err(error) = (kind.compile)(json, &resource, &mut draft, sink) {
                let found = Diagnostic::error("bad-spec", error.to_string());
                resource.report(sink, "", found);
            }
        }
    }
    draft
}
