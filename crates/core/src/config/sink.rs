//! Where findings are collected while a configuration is read.

use std::collections::BTreeSet;

use api::control::SourceFile;
use api::{Diagnostic, Place};

use super::tree::Mark;

/// How many names are compared for "did you mean" in one run: a configuration that is wrong throughout must
/// not cost quadratic time.
const SUGGESTION_BUDGET: usize = 200_000;

/// Collects diagnostics and turns marks into places.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    files: &'a [SourceFile],
    found: Vec<(Mark, Diagnostic)>,
    errors: usize,
    suggestions_left: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(files: &'a [SourceFile]) -> Self {
        Self {
            files,
            found: Vec::new(),
            errors: 0,
            suggestions_left: SUGGESTION_BUDGET,
        }
    }

    /// Takes a finding. Whatever of the configuration it quotes cannot play tricks on a terminal.
    pub(crate) fn push(&mut self, mark: Mark, mut diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.is_error());
        let texts = [
            Some(&mut diagnostic.message),
            diagnostic.subject.as_mut(),
            diagnostic.hint.as_mut(),
        ];
        texts.into_iter().flatten().for_each(printable);
        let place = self.place(mark);
        self.found.push((mark, diagnostic.at(place)));
    }

    /// A mark as the user knows it.
    pub(crate) fn place(&self, mark: Mark) -> Place {
        Place {
            file: self
                .files
                .get(mark.file)
                .map(|file| file.name.clone())
                .unwrap_or_default(),
            line: mark.line,
            column: mark.column,
        }
    }

    /// A mark in words for the inside of a message: the file is named only where there are several.
    pub(crate) fn refer(&self, mark: Mark) -> String {
        if self.files.len() > 1 {
            self.place(mark).to_string()
        } else {
            format!("line {}", mark.line)
        }
    }

    /// The candidate that was probably meant.
    pub(crate) fn suggest<'b>(
        &mut self,
        written: &str,
        candidates: impl IntoIterator<Item = &'b str>,
    ) -> Option<&'b str> {
        super::suggest::nearest(written, candidates, &mut self.suggestions_left)
    }

    /// How many findings so far refuse the configuration.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// All findings in order of place, each once.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(mark, _)| *mark);
        let mut seen = BTreeSet::new();
        self.found
            .into_iter()
            .filter(|(mark, found)| seen.insert((*mark, found.id.clone(), found.message.clone())))
            .map(|(_, found)| found)
            .collect()
    }
}

/// Removes control characters and cuts what no one would read.
fn printable(text: &mut String) {
    const LONGEST: usize = 600;
    if text.contains(|c: char| c.is_control()) {
        text.retain(|c| !c.is_control());
    }
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
}
