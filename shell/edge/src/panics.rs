//! Panics: where each happened, in one line of the log, and nothing of what it was about.
//!
//! Owns: the process's panic hook, and the boundary at which a thread goes on after one.
//! Guarantees: a panic is logged once, by whoever contains it or else by the hook; the line has the place in the
//! code, and the message only if the code has it as a constant: what is put into one when it is raised could be a
//! person's.
//! Not here: what ends because of a panic (`hub`, `worker`, `listener`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

use model::{Classified, DataClass, Loggable};

thread_local! {
    /// Whether a panic on this thread now is one that `contain` returns.
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// The last one that the hook left to `contain`.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A panic, without what was said of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panic {
    /// File, line and column; empty where no hook noted it.
    place: String,
    message: Option<&'static str>,
}

impl Panic {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // What is formatted is a `String`.
        Self { place, message: info.payload().downcast_ref().copied() }
    }
}

impl Classified for Panic {
    const CLASS: DataClass = DataClass::Log;
}

impl Loggable for Panic {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some(message) => write!(f, "{}: {message}", self.place),
            None => f.write_str(&self.place),
        }
    }
}

/// From now on panics are logged by place, in the format of the log, instead of printed with all that they say.
pub fn log_by_place() {
    set_hook(Box::new(|info| {
        let panic = Panic::of(info);
        let is_contained = IS_CONTAINED.try_with(Cell::get).unwrap_or(false);
        if !is_contained {
            return crate::log!(ERROR, "a task or a thread panicked", at = panic);
        }
        // A thread that is at its end contains nothing more.
        drop(LAST.try_with(|last| last.replace(Some(panic))));
    }));
}

/// Does `work`. Whoever is told of a panic says whom it was about, and logs it.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    let was = IS_CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(was);
    outcome
        .map_err(|_| LAST.take().unwrap_or_else(|| Panic { place: String::new(), message: None }))
}

#[cfg(test)]
mod tests {
    use std::panic::take_hook;

    use super::*;
    use crate::log::Text;

    /// In one test, since the hook is the whole process's.
    #[test]
    fn a_panic_is_told_by_its_place_and_by_no_word_that_was_put_into_it() {
        let before = take_hook();
        log_by_place();
        assert_eq!(contain(|| 5), Ok(5));
        let name = "ada";
        let panic = contain(|| panic!("no room for {name}")).unwrap_err();
        let line = Text(&panic).to_string();
        assert!(line.starts_with("shell/edge/src/panics.rs:"), "{line}");
        assert!(!line.contains("room") && !line.contains("ada"), "{line}");
        let panic = contain(|| panic!("a constant")).unwrap_err();
        assert!(Text(&panic).to_string().ends_with(": a constant"));
        let inner = contain(|| {
            let inner = contain(|| panic!("the inner")).unwrap_err();
            (inner, IS_CONTAINED.get())
        });
        let (inner, is_contained) = inner.unwrap();
        assert_eq!((inner.message, is_contained), (Some("the inner"), true));
        assert!(!IS_CONTAINED.get());
        assert_eq!(LAST.take(), None, "what was told is not told again");
        set_hook(before);
    }
}
