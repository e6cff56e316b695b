use api::control::SourceFile;

use super::*;

fn read_text(text: &str) -> (Vec<Node>, Vec<Diagnostic>) {
    let files = [SourceFile {
        name: "f.yaml".to_owned(),
        text: text.to_owned(),
    }];
    let mut sink = Sink::new(&files);
    let documents = read(0, text, &mut sink);
    (documents, sink.finish())
}

fn ids(text: &str) -> Vec<String> {
    read_text(text)
        .1
        .into_iter()
        .map(|found| found.id)
        .collect()
}

#[test]
fn scalars_follow_the_core_schema() {
    let (documents, found) = read_text(
        "[~, null, true, False, 12, -3, 0x1f, 0o17, 1.5, 1e3, .inf, yes, 10.0.0.1, '7', !!str 8, 08]",
    );
    assert!(found.is_empty());
    let Value::List(items) = &documents[0].value else {
        panic!("not a list");
    };
    let kinds: Vec<_> = items.iter().map(Node::noun).collect();
    let expected = "nothing nothing true-or-false true-or-false a-number a-number a-number a-number a-number a-number \
                    a-number text text text text a-number";
    let expected: Vec<_> = expected
        .split_whitespace()
        .map(|noun| noun.replace('-', " "))
        .collect();
    assert_eq!(kinds, expected);
    assert!(matches!(items[6].value, Value::Integer(31)));
    assert!(matches!(items[7].value, Value::Integer(15)));
}

#[test]
fn places_count_characters_from_one() {
    let (documents, _) = read_text("\u{feff}a: 1\n\"é\": {b: x}\n");
    let inner = documents[0]
        .get("é")
        .and_then(|node| node.get("b"))
        .expect("b");
    assert_eq!((inner.mark.line, inner.mark.column), (2, 10));
}

#[test]
fn duplicate_keys_are_refused() {
    assert_eq!(ids("a: 1\nb: 2\na: 3\n"), ["duplicate-key"]);
}

#[test]
fn an_alias_bomb_is_defused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let last = level - 1;
        let nine = vec![format!("*a{last}"); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{nine}]\n"));
    }
    assert_eq!(ids(&text), ["too-many-aliases"]);
}

#[test]
fn depth_is_limited_through_aliases_too() {
    // The scanner itself gives up on this one.
    assert_eq!(ids(&"[".repeat(5000)), ["yaml-syntax"]);
    let closed = format!("{}{}", "[".repeat(60), "]".repeat(60));
    assert_eq!(ids(&closed), ["nested-too-deep"]);
    assert_eq!(ids(&"- ".repeat(5000)), ["nested-too-deep"]);
    let inner = format!("{}x{}", "[".repeat(30), "]".repeat(30));
    let outer = format!("{}*a{}", "[".repeat(30), "]".repeat(30));
    assert_eq!(
        ids(&format!("a: &a {inner}\nb: {outer}\n")),
        ["nested-too-deep"]
    );
    assert_eq!(ids("&a [*a]"), ["alias-loop"]);
}

#[test]
fn what_stands_before_a_syntax_error_is_kept() {
    let (documents, found) = read_text("a: 1\n---\nb: [1, 2\nc: }\n");
    assert_eq!(documents.len(), 1);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, "yaml-syntax");
}

#[test]
fn empty_documents_are_nothing() {
    let (documents, found) = read_text("---\n---\n# only a comment\n---\na: 1\n");
    assert_eq!((documents.len(), found.len()), (1, 0));
    assert_eq!(read_text("").0.len(), 0);
}
