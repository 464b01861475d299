//! LiveKit's protocol files, held against the table of data classes (`core/wire/src/classes/`).
//!
//! The compiler holds that no field of a message in the table is missing. This holds what it cannot know: that the
//! table says of each field what LiveKit's annotation says, and that the messages inside messages are there too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::command::cargo;
use crate::tidy::{assert_none, files, metadata, packages, printed, read, text};

/// A field of a message or one of a choice's values.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    name: String,
    /// Of LiveKit's files: its type. Of the table: its class.
    kind: String,
    annotation: Option<String>,
}

/// Messages and choices, by their [`path`].
type Entries = BTreeMap<String, Vec<Field>>;

/// A path in LiveKit's files or in Rust, its names as both write them.
fn path<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(flat).collect::<Vec<_>>().join(".")
}

/// A name in LiveKit's files and in Rust alike.
fn flat(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

/// Divides a text at its semicolons, commas and braces, which are kept; what stands in brackets stays together.
fn statements(text: &str, ends: &[char]) -> Vec<String> {
    let plain: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| [line, " "])
        .collect();
    let (mut all, mut current, mut depth) = (Vec::new(), String::new(), 0);
    for letter in plain.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        current.push(letter);
        if depth == 0 && ends.contains(&letter) {
            all.push(std::mem::take(&mut current).trim().to_owned());
        }
    }
    all
}

/// Reads one of LiveKit's files.
fn protocol(text: &str, entries: &mut Entries) {
    let mut scopes: Vec<(bool, String)> = Vec::new();
    for statement in statements(text, &[';', '{', '}']) {
        if let Some(head) = statement.strip_suffix('{') {
            let mut words = head.split_whitespace();
            let kind = words.next().unwrap_or_default();
            let has_fields = matches!(kind, "message" | "oneof");
            scopes.push((has_fields, words.next().unwrap_or_default().to_owned()));
            let scope = path(scopes.iter().map(|(_, name)| name.as_str()));
            if let Some((message, name)) = scope.rsplit_once('.').filter(|_| kind == "oneof") {
                // To whoever reads the message, the choice is one of its fields.
                let (name, kind) = (name.to_owned(), "oneof".to_owned());
                let choice = Field { name, kind, annotation: None };
                entries.entry(message.to_owned()).or_default().push(choice);
            }
            if has_fields {
                entries.entry(scope).or_default();
            }
        } else if statement.ends_with('}') {
            scopes.pop();
        } else if scopes.last().is_some_and(|(has_fields, _)| *has_fields)
            && let Some(field) = declared(&statement)
        {
            let scope = path(scopes.iter().map(|(_, name)| name.as_str()));
            entries.entry(scope).or_default().push(field);
        }
    }
}

/// `repeated string name = 3 [(logger.sensitivity) = SENSITIVITY_PII];`
fn declared(statement: &str) -> Option<Field> {
    let (before, after) = statement.split_once('=')?;
    let words: Vec<&str> = before.split_whitespace().collect();
    let (name, kind) = words.split_last()?;
    if matches!(words.first(), Some(&"option" | &"reserved")) {
        return None;
    }
    let annotation = after.split("SENSITIVITY_").nth(1);
    let end = |text: &str| text.find(|letter: char| !letter.is_alphabetic());
    let annotation = annotation.map(|text| text.get(..end(text)?).map(flat));
    // Of a map, what it leads to.
    let kind = kind.last()?.trim_end_matches('>');
    Some(Field { name: flat(name), kind: kind.to_owned(), annotation: annotation.flatten() })
}

/// Reads a file of the table.
fn table(text: &str, entries: &mut Entries) {
    let mut current = String::new();
    for statement in statements(text, &[',', '{', '}', ';']) {
        if let Some(head) = statement.strip_suffix('{') {
            current = path(head.split("::"));
            if !head.contains('!') {
                entries.entry(current.clone()).or_default();
            }
        } else if let Some((name, class)) =
            statement.strip_suffix(',').and_then(|it| it.split_once(':'))
        {
            let (class, annotation) = class.split_once(">=").unwrap_or((class, ""));
            let annotation = Some(flat(annotation)).filter(|text| !text.is_empty());
            let field = Field { name: flat(name), kind: class.trim().to_owned(), annotation };
            entries.entry(current.clone()).or_default().push(field);
        }
    }
}

/// The message of a field's type, seen from `scope`: the innermost of that name.
fn message_of<'a>(protocol: &'a Entries, scope: &str, kind: &str) -> Option<&'a str> {
    let kind = path(kind.strip_prefix("livekit.").unwrap_or(kind).split('.'));
    let outer = scope.match_indices('.').map(|(at, _)| scope.get(..at).unwrap_or_default());
    let scopes = std::iter::once("").chain(outer).chain(std::iter::once(scope));
    let names = scopes.map(|scope| format!("{scope}.{kind}")).collect::<Vec<_>>();
    let mut names = names.iter().rev().map(|name| name.trim_start_matches('.'));
    names.find_map(|name| protocol.get_key_value(name).map(|(name, _)| &**name))
}

fn problems(protocol: &Entries, table: &Entries) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, fields) in table {
        let Some(declared) = protocol.get(name) else {
            problems.push(format!("{name}: LiveKit has no such message"));
            continue;
        };
        for field in fields {
            let Some(source) = declared.iter().find(|source| source.name == field.name) else {
                problems.push(format!("{name}.{}: LiveKit has no such field", field.name));
                continue;
            };
            if source.annotation != field.annotation {
                let (is, here) = (&source.annotation, &field.annotation);
                problems.push(format!("{name}.{}: LiveKit says {is:?}, not {here:?}", field.name));
            }
            let inner = message_of(protocol, name, &source.kind);
            if let Some(missing) = inner.filter(|inner| !table.contains_key(*inner)) {
                problems.push(format!("{name}.{}: {missing} is not in the table", field.name));
            }
            let has_fields = inner.is_some() || source.kind == "oneof";
            if has_fields != (field.kind == "Inner") {
                problems.push(format!("{name}.{}: only a message is `Inner`", field.name));
            }
        }
    }
    problems
}

#[test]
fn the_table_says_what_livekit_says() {
    let metadata = metadata(&[]);
    let package = packages(&metadata).iter().find(|it| text(&it["name"]) == "livekit-protocol");
    let manifest = Path::new(text(&package.unwrap()["manifest_path"]));
    let folder = manifest.parent().unwrap().join("protocol/protobufs");
    let mut declared = Entries::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "proto") {
            protocol(&std::fs::read_to_string(path).unwrap(), &mut declared);
        }
    }
    let mut classified = Entries::new();
    for name in files().iter().filter(|name| name.starts_with("core/wire/src/classes/")) {
        table(&read(name), &mut classified);
    }
    let annotated = classified.values().flatten().filter(|field| field.annotation.is_some());
    assert!(annotated.count() > 20 && classified.len() > 150, "the files are read as they are");
    let signaling =
        ["SignalRequest", "SignalResponse", "WrappedJoinRequest", "JoinRequest", "DataPacket"];
    let source = read("core/wire/src/room_service.rs");
    let back_ends: BTreeSet<&str> = named_messages(&source).collect();
    assert!(back_ends.len() >= 12 && back_ends.contains("SendDataRequest"), "{back_ends:?}");
    for root in signaling.into_iter().chain(back_ends) {
        assert!(classified.contains_key(&flat(root)), "{root}");
    }
    assert_none(&problems(&declared, &classified));
}

/// The messages that a source decodes or answers with.
fn named_messages(source: &str) -> impl Iterator<Item = &str> {
    let named = source.split("proto::").skip(1);
    let named = named.filter_map(|rest| rest.split(|it: char| !it.is_alphanumeric()).next());
    named.filter(|name| name.ends_with("Request") || name.ends_with("Response"))
}

#[test]
fn the_inventory_is_up_to_date() {
    let make = ["run", "--quiet", "--locked", "--package", "wire", "--example", "data_classes"];
    let made = printed(cargo().args(make));
    assert!(read("docs/data-classes.md") == made, "cargo run -p wire --example data_classes");
}

#[test]
fn what_differs_is_named() {
    let source = "
        message Person { // one
          string name = 1 [(logger.sensitivity) = SENSITIVITY_PII, deprecated = true];
          map<string, Pet> pets = 2;
          optional int32 age = 3;
          oneof way { string key = 4 [(logger.sensitivity) = SENSITIVITY_SECRET]; Pet back = 5; }
          message Pet { reserved 1; option x = 2; bytes voice = 3; }
          enum Mood { GOOD = 0; }
        }";
    let (mut declared, mut classified) = (Entries::new(), Entries::new());
    protocol(source, &mut declared);
    let whole = "messages! {
        Person { name: EndUser >= Pii, pets: Inner, age: EndUser, way: Inner, }
        person::Pet { voice: CallContent, }
    }
    choices! { person::Way { Key: Credential >= Secret, Back: Inner, } }";
    table(whole, &mut classified);
    assert_eq!(problems(&declared, &classified), [""; 0]);
    for (from, to, expect) in [
        ("EndUser >= Pii", "EndUser", "person.name: LiveKit says Some(\"pii\"), not None"),
        ("age: EndUser", "age: EndUser >= Pii", "person.age: LiveKit says None, not Some(\"pii\")"),
        ("person::Pet { voice: CallContent, }", "", "person.pets: person.pet is not in the table"),
        ("voice: CallContent", "voice: Inner", "person.pet.voice: only a message is `Inner`"),
        ("pets: Inner", "pets: EndUser", "person.pets: only a message is `Inner`"),
        ("Person {", "Human {", "human: LiveKit has no such message"),
    ] {
        let mut classified = Entries::new();
        table(&whole.replace(from, to), &mut classified);
        assert!(problems(&declared, &classified).contains(&expect.to_owned()), "{from} -> {to}");
    }
}
