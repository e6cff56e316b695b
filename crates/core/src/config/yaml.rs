//! From YAML 1.2 text to located trees, in bounded time and memory whatever the text is.
//!
//! Duplicate keys are an error (YAML 1.2.2, section 3.2.1.3), aliases are copied and paid for from a budget,
//! and nesting is limited, so that everything after this module may recurse.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use api::Diagnostic;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::sink::Sink;
use super::tree::{Entry, Mark, Node, Value};

/// The deepest nesting that is read; a resource needs eight levels.
const MAX_DEPTH: usize = 48;
/// The longest file that is read, in bytes: about 150,000 claims.
const MAX_BYTES: usize = 64 << 20;
/// How many nodes all anchors and aliases of a file may copy.
const ALIAS_BUDGET: usize = 100_000;

/// Reads all documents of a file; empty ones are left out. A document with a syntax error ends the file,
/// what stands before it is still returned.
pub(crate) fn read(file: usize, text: &str, sink: &mut Sink<'_>) -> Vec<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = Mark {
        file,
        line: 1,
        column: 1,
    };
    if text.len() > MAX_BYTES {
        let message = format!("the file is longer than {} MiB", MAX_BYTES >> 20);
        sink.push(start, Diagnostic::error("file-too-large", message));
        return Vec::new();
    }
    if let Some(mark) = unprintable(file, text) {
        let found = Diagnostic::error("control-character", "a control character stands here")
            .hint("remove it; was the file written by a broken editor, or is it no text at all?");
        sink.push(mark, found);
        return Vec::new();
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        file,
        lines: text.split('\n').count(),
        anchors: BTreeMap::new(),
        copies_left: ALIAS_BUDGET,
        sink,
    };
    let mut documents = Vec::new();
    // What stopped it was reported; what was read until then counts.
    let _ = reader.stream(&mut documents);
    documents
}

/// Reading cannot go on; the reason was reported.
struct Stopped;

struct Reader<'t, 's, 'f> {
    parser: Parser<'t, StrInput<'t>>,
    file: usize,
    lines: usize,
    /// Anchored nodes of the document with the number of nodes in each and its height.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    copies_left: usize,
    sink: &'s mut Sink<'f>,
}

impl<'t> Reader<'t, '_, '_> {
    fn stream(&mut self, documents: &mut Vec<Node>) -> Result<(), Stopped> {
        loop {
            match self.next()?.0 {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    self.anchors.clear();
                    let (event, span) = self.next()?;
                    let node = self.node(event, span, 0)?;
                    if !matches!(node.value, Value::Null) {
                        documents.push(node);
                    }
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stopped> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.stop_at(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stopped> {
        let mark = self.mark(span.start);
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(self.stop(mark, Diagnostic::error("nested-too-deep", message)));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, mark, depth),
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(text, style, tag.as_deref(), mark))
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", mark);
                (anchor, self.list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", mark);
                (anchor, self.map(depth)?)
            }
            _ => (0, Value::Null),
        };
        let node = Node { mark, value };
        if anchor > 0 {
            let (size, height) = measure(&node);
            self.pay(size, mark)?;
            self.anchors.insert(anchor, (node.clone(), size, height));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stopped> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd | Event::StreamEnd => return Ok(Value::List(items)),
                event => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stopped> {
        let mut entries = Vec::<Entry>::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                self.refuse_duplicates(&mut entries);
                return Ok(Value::Map(entries));
            }
            let key_mark = self.mark(span.start);
            let key = match event {
                Event::Scalar(text, ..) => Some(text.into_owned()),
                other => {
                    self.node(other, span, depth + 1)?;
                    None
                }
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            match key {
                Some(key) => entries.push(Entry {
                    key,
                    key_mark,
                    node,
                }),
                None => {
                    let found = Diagnostic::error("yaml-key", "a key must be plain text");
                    self.sink.push(key_mark, found);
                }
            }
        }
    }

    /// Reports keys that are there already and removes them.
    fn refuse_duplicates(&mut self, entries: &mut Vec<Entry>) {
        let mut order: Vec<&Entry> = entries.iter().collect();
        // Stable: the first of equal keys stays first.
        order.sort_by_key(|entry| &entry.key);
        let mut again = BTreeSet::new();
        for same in order.chunk_by(|a, b| a.key == b.key) {
            for entry in &same[1..] {
                let message = format!("`{}` is written twice in one mapping", entry.key);
                let first = self.sink.refer(same[0].key_mark);
                let found = Diagnostic::error("duplicate-key", message)
                    .hint(format!("it is first written at {first}; keep one"));
                self.sink.push(entry.key_mark, found);
                again.insert(entry.key_mark);
            }
        }
        if !again.is_empty() {
            entries.retain(|entry| !again.contains(&entry.key_mark));
        }
    }

    fn alias(&mut self, anchor: usize, mark: Mark, depth: usize) -> Result<Node, Stopped> {
        let Some((node, size, height)) = self.anchors.get(&anchor).cloned() else {
            // The anchor is still open: the node would contain itself.
            let found = Diagnostic::error("alias-loop", "an alias stands inside its own anchor");
            return Err(self.stop(mark, found));
        };
        if depth + height > MAX_DEPTH {
            let message = format!("aliases nest deeper than {MAX_DEPTH} levels");
            return Err(self.stop(mark, Diagnostic::error("nested-too-deep", message)));
        }
        self.pay(size, mark)?;
        Ok(node)
    }

    fn pay(&mut self, nodes: usize, mark: Mark) -> Result<(), Stopped> {
        match self.copies_left.checked_sub(nodes) {
            Some(left) => {
                self.copies_left = left;
                Ok(())
            }
            None => {
                let message = format!("aliases stand for more than {ALIAS_BUDGET} nodes");
                let found = Diagnostic::error("too-many-aliases", message)
                    .hint("write the values out, or split them over several resources");
                Err(self.stop(mark, found))
            }
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        mark: Mark,
    ) -> Value {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                return Value::Text(text.into_owned());
            }
            Some(tag) if tag.is_yaml_core_schema() => (),
            Some(_) => self.refuse_tag(tag, "str", mark),
            None => (),
        }
        if style == ScalarStyle::Plain {
            plain(text)
        } else {
            Value::Text(text.into_owned())
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, expected: &str, mark: Mark) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            let found =
                Diagnostic::error("yaml-tag", format!("the tag `{tag}` has no meaning here"))
                    .hint("remove the tag");
            self.sink.push(mark, found);
        }
    }

    fn stop_at(&mut self, error: &ScanError) -> Stopped {
        let found = Diagnostic::error("yaml-syntax", format!("not valid YAML: {}", error.info()));
        let found = if error.info().contains("tab") {
            found.hint("YAML is indented with spaces, never with tabs")
        } else {
            found.hint("nothing after this place of the file was read")
        };
        self.stop(self.mark(*error.marker()), found)
    }

    fn stop(&mut self, mark: Mark, found: Diagnostic) -> Stopped {
        self.sink.push(mark, found);
        Stopped
    }

    /// The parser may stand behind the last line at the end of the text.
    fn mark(&self, marker: Marker) -> Mark {
        let inside = (1..=self.lines).contains(&marker.line());
        Mark {
            file: self.file,
            line: marker.line().clamp(1, self.lines),
            column: if inside { marker.col() + 1 } else { 1 },
        }
    }
}

/// The first character that YAML does not allow (YAML 1.2.2, section 5.1), or a carriage return that ends no line: a
/// parser takes it for the end of one, no editor shows it so.
fn unprintable(file: usize, text: &str) -> Option<Mark> {
    let illegal = |c: char| c.is_control() && !matches!(c, '\t' | '\u{85}');
    text.split('\n').enumerate().find_map(|(index, line)| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let column = line.chars().position(illegal)?;
        Some(Mark {
            file,
            line: index + 1,
            column: column + 1,
        })
    })
}

/// Resolves a plain scalar by the core schema (YAML 1.2.2, section 10.3.2).
fn plain(text: Cow<'_, str>) -> Value {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let integer = if let Some(digits) = text.strip_prefix("0x") {
        i64::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = text.strip_prefix("0o") {
        i64::from_str_radix(digits, 8).ok()
    } else {
        text.parse().ok()
    };
    if let Some(value) = integer {
        return Value::Integer(value);
    }
    if is_number(&text) {
        return Value::Number(text.into_owned());
    }
    Value::Text(text.into_owned())
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, `.inf` or `.nan`.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

/// How many nodes a tree has and how high it is.
fn measure(node: &Node) -> (usize, usize) {
    let fold = |(size, height): (usize, usize), child: &Node| {
        let (more, high) = measure(child);
        (size + more, height.max(high + 1))
    };
    match &node.value {
        Value::List(items) => items.iter().fold((1, 0), fold),
        Value::Map(entries) => entries.iter().map(|e| &e.node).fold((1, 0), fold),
        _ => (1, 0),
    }
}

#[cfg(test)]
mod tests;
