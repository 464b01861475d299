//! A file's text as a tree of which each value knows its line.
//!
//! Guarantees: size, depth and number of values are bounded; a key that is there twice, an alias, a second
//! document and a key that is not text are refused; values do not print and are overwritten when dropped; no error
//! repeats a key or a value, since whoever takes the one for the other writes a secret or a person where a key is.
//! Not here: what values mean. The tree is walked by taking keys out of a map; what is left is not known.
//! Source: YAML 1.2.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use zeroize::Zeroizing;

use crate::Fault;
use crate::limits::{DEPTH_MAX, NODES_MAX};

/// A value.
pub(crate) struct Node {
    pub(crate) line: usize,
    value: Value,
}

enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Without its quotes; whether it had any.
    Text(Zeroizing<String>, Style),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Quoted,
}

/// A key of a map, and its value.
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) node: Node,
}

/// A map of which the keys that are known have been taken out.
pub(crate) struct Map {
    pub(crate) line: usize,
    entries: Vec<Entry>,
    /// Which keys were asked for: those that are known.
    known: Vec<&'static str>,
    /// Lines and names of those that were there without a value.
    valueless: Vec<(usize, &'static str)>,
}

/// The only document of `text`, of at most `bytes_max` bytes; an empty one is null.
pub(crate) fn read(text: &str, bytes_max: usize) -> Result<Node, Fault> {
    if text.len() > bytes_max {
        return Err(Fault::new(1, format!("the file has more than {bytes_max} bytes")));
    }
    let mut reader = Reader { parser: Parser::new_from_str(text), nodes: 0 };
    let mut document = None;
    loop {
        let (event, line) = reader.next()?;
        match event {
            Event::StreamEnd => {
                return Ok(document.unwrap_or(Node { line: 1, value: Value::Null }));
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd => {
                if document.is_some() {
                    return Err(Fault::new(line, "there is a second document"));
                }
                document = Some(reader.node(event, line, 0)?);
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, start.line())),
            // What it says holds a character of the file at the most.
            Some(Err(error)) => Err(Fault::new(error.marker().line(), error.info())),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Fault::new(line, format!("the file has more than {NODES_MAX} values")));
        }
        if depth > DEPTH_MAX {
            return Err(Fault::new(line, format!("nests deeper than {DEPTH_MAX}")));
        }
        let value = match event {
            Event::Scalar(text, style, _, _) => scalar(Zeroizing::new(text.into_owned()), style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(_) => {
                return Err(Fault::new(line, "aliases are not taken: repeat the value"));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(Fault::new(line, "a value is missing")),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut nodes = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(nodes));
            }
            nodes.push(self.node(event, line, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return no_key_twice(entries).map(Value::Map);
            }
            let Event::Scalar(name, ..) = event else {
                return Err(Fault::new(line, "a key must be text"));
            };
            let (event, value_line) = self.next()?;
            let node = self.node(event, value_line, depth + 1)?;
            entries.push(Entry { line, name: name.into_owned(), node });
        }
    }
}

fn no_key_twice(entries: Vec<Entry>) -> Result<Vec<Entry>, Fault> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| (&entry.name, entry.line));
    let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
    match pairs.find(|(one, next)| one.name == next.name) {
        Some((one, next)) => {
            let reason = format!("this key is there already, on line {}", one.line);
            Err(Fault::new(next.line, reason))
        }
        None => Ok(entries),
    }
}

fn scalar(text: Zeroizing<String>, style: ScalarStyle) -> Value {
    match style {
        ScalarStyle::Plain if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") => {
            Value::Null
        }
        ScalarStyle::Plain => Value::Text(text, Style::Plain),
        ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal
        | ScalarStyle::Folded => Value::Text(text, Style::Quoted),
    }
}

impl Node {
    pub(crate) const fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) const fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    pub(crate) const fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    pub(crate) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.line, reason)
    }

    /// Text, or a number or a word as it is written.
    pub(crate) fn text(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Text(text, _) => Ok(text),
            Value::Null | Value::List(_) | Value::Map(_) => Err(self.fault("text is wanted here")),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, Fault> {
        match &self.value {
            Value::Text(text, Style::Plain)
                if matches!(text.as_str(), "true" | "True" | "TRUE") =>
            {
                Ok(true)
            }
            Value::Text(text, Style::Plain)
                if matches!(text.as_str(), "false" | "False" | "FALSE") =>
            {
                Ok(false)
            }
            Value::Null | Value::Text(..) | Value::List(_) | Value::Map(_) => {
                Err(self.fault("true or false is wanted here"))
            }
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, what: &str) -> Result<T, Fault> {
        let number = self.text().ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.fault(format!("{what} is wanted here")))
    }

    /// Nothing is an empty list.
    pub(crate) fn list(self) -> Result<Vec<Self>, Fault> {
        match self.value {
            Value::List(nodes) => Ok(nodes),
            Value::Null => Ok(Vec::new()),
            Value::Text(..) | Value::Map(_) => Err(Fault::new(self.line, "a list is wanted here")),
        }
    }

    /// Nothing is an empty map.
    pub(crate) fn map(self) -> Result<Map, Fault> {
        match self.value {
            Value::Map(entries) => Ok(Map::of(self.line, entries)),
            Value::Null => Ok(Map::of(self.line, Vec::new())),
            Value::Text(..) | Value::List(_) => Err(Fault::new(self.line, "a map is wanted here")),
        }
    }
}

impl Map {
    const fn of(line: usize, entries: Vec<Entry>) -> Self {
        Self { line, entries, known: Vec::new(), valueless: Vec::new() }
    }

    /// The value of `name`, and no more of it in the map. One that is null is as if it was not there, and is told
    /// ([`Self::valueless`]) or refused ([`Self::end`]).
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Node> {
        let Entry { line, node, .. } = self.remove(name)?;
        if node.is_null() {
            self.valueless.push((line, name));
            return None;
        }
        Some(node)
    }

    /// As [`Self::take`], where a key without a value is refused: without it, more would be let in than was meant.
    pub(crate) fn take_given(&mut self, name: &'static str) -> Result<Option<Node>, Fault> {
        match self.remove(name) {
            Some(entry) if entry.node.is_null() => Err(without_value(entry.line, name)),
            entry => Ok(entry.map(|entry| entry.node)),
        }
    }

    /// A list, and no more of it in the map; one that is there and has no value is refused.
    pub(crate) fn take_list(&mut self, name: &'static str) -> Result<Option<Vec<Node>>, Fault> {
        let Some(Entry { line, node, .. }) = self.remove(name) else {
            return Ok(None);
        };
        if node.is_null() {
            let reason = format!("nothing is in it: an empty list is written as `{name}: []`");
            return Err(Fault::new(line, reason));
        }
        node.list().map(Some)
    }

    fn remove(&mut self, name: &'static str) -> Option<Entry> {
        self.known.push(name);
        let at = self.entries.iter().position(|entry| entry.name == name)?;
        Some(self.entries.remove(at))
    }

    /// As [`Self::take`], where a value must be.
    pub(crate) fn need(&mut self, name: &'static str) -> Result<Node, Fault> {
        self.take(name).ok_or_else(|| Fault::new(self.line, format!("`{name}` is missing")))
    }

    /// The same, as long as something may yet be taken.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// What has not been taken, in the order of the file.
    pub(crate) fn rest(self) -> Vec<Entry> {
        self.entries
    }

    /// What was asked for.
    pub(crate) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Lines and names of what was taken and had no value.
    pub(crate) fn valueless(&self) -> &[(usize, &'static str)] {
        &self.valueless
    }

    /// Refuses what has not been taken, and what was and has no value; what could have been is named, never what is
    /// there.
    pub(crate) fn end(self) -> Result<(), Fault> {
        if let Some((line, name)) = self.valueless.first() {
            return Err(without_value(*line, name));
        }
        let Some(entry) = self.entries.first() else { return Ok(()) };
        let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
        let reason = format!("this key is not known here: {} are", known.join(", "));
        Err(Fault::new(entry.line, reason))
    }
}

fn without_value(line: usize, name: &str) -> Fault {
    Fault::new(line, format!("`{name}` has no value: give it one, or leave the line out"))
}
