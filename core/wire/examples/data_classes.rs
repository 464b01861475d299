//! Prints the inventory of what clients and back ends send and are sent: `docs/data-classes.md`.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use wire::classes::{Annotation, DataClass, Field, all};

const HEAD: &str = "# What the server is sent, and of which class it is

Made of `core/wire/src/classes/` by `cargo run -p wire --example data_classes`; a test holds that it is up
to date. A field of LiveKit's protocol without a class, or with a weaker one than LiveKit's own annotation of it,
does not build.

A token's id is a digest, by which a token can be revoked without having it. It is not keyed, since `incamera token id`
must find the same: whoever knows a key's name and guesses what the token says, as a person or a room, can make it as
well. It stands in no log.

| class | what it is | logged |
| --- | --- | --- |
";

fn meaning(class: DataClass) -> &'static str {
    match class {
        DataClass::Public => {
            "everybody may know it, as the server's own names, which its certificate shows"
        }
        DataClass::Log => {
            "what the server says of its own work: counts, times, ids that it made, also where they are sent back"
        }
        DataClass::EndUser => {
            "about a person, a device or a network, or written by one; every other text that a client chooses"
        }
        DataClass::Account => {
            "about the customer: its projects, contact, storage places, other services"
        }
        DataClass::CallContent => "what is said in a call: sound, picture, chat, data",
        DataClass::Credential => {
            "what opens something: tokens, keys, passwords, session descriptions"
        }
    }
}

fn described(field: &Field) -> String {
    let name = field.name.trim_start_matches("r#");
    match field.annotation {
        Some(Annotation::Pii) => format!("`{name}` (LiveKit: PII)"),
        Some(Annotation::Secret) => format!("`{name}` (LiveKit: secret)"),
        None => format!("`{name}`"),
    }
}

fn main() {
    let mut page = HEAD.to_owned();
    for class in DataClass::ALL {
        let logged = if class.may_be_logged() { "yes" } else { "never" };
        page += &format!("| {} | {} | {logged} |\n", class.name(), meaning(class));
    }
    for class in DataClass::ALL.into_iter().rev() {
        page += &format!("\n## {}\n\n", class.name());
        for entry in all() {
            let fields = entry.fields.iter().filter(|field| field.class == Some(class));
            let fields: Vec<String> = fields.map(described).collect();
            if !fields.is_empty() {
                page += &format!("- {}: {}\n", entry.path.join("::"), fields.join(", "));
            }
        }
    }
    print!("{page}");
}
