//! Panics: where each happened, in one line of the log, and nothing of what it was about.
//!
//! Owns: the process's panic hook, the boundary at which a thread goes on after one, and that at which nothing does.
//! Guarantees: a panic is logged once, by whoever contains it or else by the hook; the line has the place in the
//! code, and the message only if the code has it as a constant: what is put into one when it is raised could be a
//! person's. The process ends at once of one in a part that all need and that nothing within that part contains.
//! Not here: what else ends because of a panic (`hub`, `worker`, `listener`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process;
use std::sync::OnceLock;

use futures_util::FutureExt as _;
use model::{Classified, DataClass, Loggable};

/// What is to be done before the process ends of a panic.
static BEFORE_THE_END: OnceLock<fn()> = OnceLock::new();

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

/// From now on panics are logged by place, in the format of the log, instead of printed with all that they say. If the
/// process ends of one it calls `flush` first, which waits until that is written.
pub fn log_by_place(flush: fn()) {
    BEFORE_THE_END.get_or_init(|| flush);
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

/// Does the work of a part without which the others would go on for nobody: a panic that it does not contain ends the
/// process. Whoever started that starts it again, and clients come back to it.
pub(crate) fn vital<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| end())
}

/// The same of a task.
pub(crate) async fn vital_task<T>(work: impl Future<Output = T>) -> T {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| end())
}

/// Where the panic was, the hook has logged.
fn end() -> ! {
    crate::log!(ERROR, "that was in a part that all need: the process ends");
    if let Some(flush) = BEFORE_THE_END.get() {
        flush();
    }
    process::abort()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{self, Write as _};
    use std::os::unix::process::ExitStatusExt as _;
    use std::panic::take_hook;
    use std::process::Command;

    use super::*;
    use crate::log::Text;

    /// In one test, since the hook is the whole process's.
    #[test]
    fn a_panic_is_told_by_its_place_and_by_no_word_that_was_put_into_it() {
        let before = take_hook();
        log_by_place(|| {});
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

    /// Says in a process of its own which part is to panic there.
    const PART: &str = "INCAMERA_TEST_PART";

    #[test]
    fn a_panic_in_a_part_that_all_need_ends_the_process() {
        match env::var(PART).as_deref() {
            Ok("thread") => panic_over("ada", vital),
            Ok("task") => {
                panic_over("ada", |work| vital_task(async { work() }).now_or_never().unwrap())
            }
            _ => {}
        }
        for part in ["thread", "task"] {
            let mut test = Command::new(env::current_exe().unwrap());
            let name = "panics::tests::a_panic_in_a_part_that_all_need_ends_the_process";
            test.args(["--exact", name, "--nocapture"]).env(PART, part);
            let ended = test.output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{part}: {said}");
            assert_eq!(said, "flushed\n", "{part}");
        }
    }

    fn panic_over(name: &str, vital: impl FnOnce(Box<dyn FnOnce()>)) {
        log_by_place(|| io::stderr().write_all(b"flushed\n").unwrap());
        let text = format!("no room for {name}");
        assert!(contain(|| panic!("{text}")).is_err(), "which ends nothing");
        vital(Box::new(move || panic!("{text}")));
    }
}
