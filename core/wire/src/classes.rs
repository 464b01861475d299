//! The class of every field that LiveKit's clients and back ends send or are sent.
//!
//! Owns: the tables, by the file of LiveKit's protocol that defines a message.
//! Guarantees: a message in a table with a field that has no class, or one that is weaker than LiveKit's own
//! annotation of it, does not build; so a field that a new version of the protocol brings is classified
//! before it is used.
//! Not here: what a class allows (`model::DataClass`). That no message is missing and no annotation invented is
//! held by `xtask`, which reads LiveKit's files.
//! Source: LiveKit `protobufs/`, `logger/options.proto`.
#![expect(deprecated, reason = "fields that nobody should use any more have a class, too")]

pub use model::DataClass;

/// What LiveKit says of a field that must not be logged as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// About a person: at least End User Data.
    Pii,
    /// Opens something.
    Secret,
}

/// One field of a message, or one of the values that a field may have.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As in Rust.
    pub name: &'static str,
    /// `None`: a message or a choice, each field of which has its own.
    pub class: Option<DataClass>,
    /// LiveKit's own word.
    pub annotation: Option<Annotation>,
}

/// The fields of one message, or the values that one field may have.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its path below `proto`, name by name.
    pub path: &'static [&'static str],
    /// As many as it has.
    pub fields: &'static [Field],
}

/// Every message and every choice.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    let tables = [
        signaling::MESSAGES,
        signaling::CHOICES,
        models::MESSAGES,
        models::CHOICES,
        service::MESSAGES,
        service::CHOICES,
    ];
    tables.into_iter().flatten()
}

const fn at_least(class: Option<DataClass>, annotation: Option<Annotation>) -> bool {
    match (class, annotation) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(class), Some(Annotation::Pii)) => class as u8 >= DataClass::EndUser as u8,
        (Some(class), Some(Annotation::Secret)) => class as u8 == DataClass::Credential as u8,
    }
}

/// Stops the compiler if a class is weaker than LiveKit's own annotation.
#[doc(hidden)]
#[expect(clippy::indexing_slicing, reason = "a constant function has no iterators")]
pub const fn heeds_annotations(entries: &[Entry]) {
    let mut entry = 0;
    while entry < entries.len() {
        let fields = entries[entry].fields;
        let mut field = 0;
        while field < fields.len() {
            let is_strong = at_least(fields[field].class, fields[field].annotation);
            assert!(is_strong, "a class is weaker than LiveKit's own annotation");
            field += 1;
        }
        entry += 1;
    }
}

/// A row of a table, for the macros below.
#[doc(hidden)]
#[macro_export]
macro_rules! class {
    (@entry $($path:ident)::+, $($field:ident: $class:ident $(>= $annotation:ident)?,)*) => {
        $crate::classes::Entry {
            path: &[$(stringify!($path)),+],
            fields: &[$($crate::classes::Field {
                name: stringify!($field),
                class: $crate::class!(@class $class),
                annotation: $crate::class!(@annotation $($annotation)?),
            },)*],
        }
    };
    (@class Inner) => { None };
    (@class $class:ident) => { Some($crate::classes::DataClass::$class) };
    (@annotation) => { None };
    (@annotation $annotation:ident) => { Some($crate::classes::Annotation::$annotation) };
}

/// A table of messages: a path, then each field with its class and, behind `>=`, LiveKit's annotation.
///
/// ```
/// wire::messages! { DataBlob { key: Inner, contents: CallContent >= Pii, } }
/// ```
///
/// A field without a class does not build:
///
/// ```compile_fail
/// wire::messages! { DataBlob { contents: CallContent >= Pii, } }
/// ```
///
/// Nor does a class that is weaker than LiveKit's annotation:
///
/// ```compile_fail
/// wire::messages! { DataBlob { key: Inner, contents: Log >= Pii, } }
/// ```
#[macro_export]
macro_rules! messages {
    ($($($path:ident)::+ { $($field:ident: $class:ident $(>= $annotation:ident)?,)* })*) => {
        pub(crate) const MESSAGES: &[$crate::classes::Entry] = &[$(
            $crate::class!(
                @entry $($path)::+, $($field: $class $(>= $annotation)?,)*
            ),
        )*];
        const _: () = $crate::classes::heeds_annotations(MESSAGES);
        // Never called: that it compiles says that no field is missing.
        const _: () = {$(
            const _: fn($crate::proto::$($path)::+) = |message| {
                let $crate::proto::$($path)::+ { $($field: _,)* } = message;
            };
        )*};
    };
}

/// A table of the values that fields with a choice may have: a path, then each value as in [`messages!`].
///
/// ```
/// wire::choices! { data_blob_key::Key { Generic: EndUser, SchemaId: Inner, } }
/// ```
///
/// ```compile_fail
/// wire::choices! { data_blob_key::Key { Generic: EndUser, } }
/// ```
#[macro_export]
macro_rules! choices {
    ($($($path:ident)::+ { $($value:ident: $class:ident $(>= $annotation:ident)?,)* })*) => {
        pub(crate) const CHOICES: &[$crate::classes::Entry] = &[$(
            $crate::class!(
                @entry $($path)::+, $($value: $class $(>= $annotation)?,)*
            ),
        )*];
        const _: () = $crate::classes::heeds_annotations(CHOICES);
        const _: () = {$(
            const _: () = {
                use $crate::proto::$($path)::+ as Choice;
                const _: fn(Choice) = |choice| match choice { $(Choice::$value(_) => (),)* };
            };
        )*};
    };
}

mod models;
mod service;
mod signaling;

#[cfg(test)]
mod tests {
    use super::*;

    fn is(message: &str, field: &str, class: Option<DataClass>) -> bool {
        let entry = all().find(|entry| entry.path.join("::") == message);
        let field = entry.and_then(|entry| entry.fields.iter().find(|held| held.name == field));
        field.is_some_and(|field| field.class == class)
    }

    #[test]
    fn what_people_are_called_and_say_is_classified_as_such() {
        assert!(is("ParticipantInfo", "identity", Some(DataClass::EndUser)));
        assert!(is("data_stream::Chunk", "content", Some(DataClass::CallContent)));
        assert!(is("SessionDescription", "sdp", Some(DataClass::Credential)));
        assert!(is("signal_response::Message", "RefreshToken", Some(DataClass::Credential)));
        assert!(is("JoinResponse", "room", None), "its fields have their own");
    }

    #[test]
    fn nothing_is_weaker_than_livekits_annotation() {
        use Annotation::{Pii, Secret};
        for (class, pii, secret) in [
            (None, false, false),
            (Some(DataClass::Public), false, false),
            (Some(DataClass::Log), false, false),
            (Some(DataClass::EndUser), true, false),
            (Some(DataClass::Account), true, false),
            (Some(DataClass::CallContent), true, false),
            (Some(DataClass::Credential), true, true),
        ] {
            assert_eq!(at_least(class, Some(Pii)), pii, "{class:?}");
            assert_eq!(at_least(class, Some(Secret)), secret, "{class:?}");
            assert!(at_least(class, None));
        }
    }

    #[test]
    fn each_name_is_in_the_tables_once() {
        let mut names: Vec<_> = all().map(|entry| entry.path).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
