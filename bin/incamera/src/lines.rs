//! Carries the log's lines to standard error, from a thread of its own.
//!
//! Owns: the lines that wait, and how many were lost.
//! Guarantees: whoever logs waits for no disk and no reader; more lines than [`WAITING_MAX`] are lost, and how many is
//! said once there is room; an error, as of a full disk or a reader that is gone, loses the line and nothing else.
//! Not here: what a line says.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait: at 200 bytes each 800 KiB, a minute of a busy server.
const WAITING_MAX: usize = 4096;

/// How long the end of the process waits for what was said last.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// Of the process, once it logs.
static LINES: OnceLock<Lines> = OnceLock::new();

enum Item {
    Line(Vec<u8>),
    /// Everything before it has been written.
    Flush(SyncSender<()>),
}

/// The way to standard error.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread that writes to `to`. It calls `say` with the number of lines that were lost, once it can write
    /// again and nothing waits.
    pub(crate) fn start(
        to: impl Write + Send + 'static,
        say: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Self { queue, lost: Arc::clone(&lost) };
        let writing = move || write(to, &waiting, &lost, say);
        thread::Builder::new().name("log".to_owned()).spawn(writing)?;
        Ok(lines)
    }

    /// Makes these the process's; of a second start the first stays.
    pub(crate) fn keep(&self) {
        LINES.get_or_init(|| self.clone());
    }

    /// Waits until all is written that was said before, but not for ever.
    fn flush(&self) {
        let (done, wait) = sync_channel(1);
        // A full queue is not waited for: nobody reads it.
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            wait.recv_timeout(FLUSH_TIME_MAX).ok();
        }
    }
}

/// Waits for the process's last lines, if it logs.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

fn write(mut to: impl Write, waiting: &Receiver<Item>, lost: &AtomicU64, say: impl Fn(u64)) {
    let mut is_well = true;
    loop {
        let item = match waiting.try_recv() {
            Ok(item) => Ok(item),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                let missing = if is_well { lost.swap(0, Ordering::Relaxed) } else { 0 };
                if missing > 0 {
                    say(missing);
                }
                waiting.recv()
            }
        };
        match item {
            Ok(Item::Line(line)) => {
                is_well = to.write_all(&line).is_ok();
                if !is_well {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Whoever waited may have given up.
            Ok(Item::Flush(done)) => drop(done.try_send(())),
            Err(_) => return,
        }
    }
}

/// One event's line: the formatter writes it whole.
impl Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(bytes.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard};

    use super::*;

    fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
        of.lock().expect("no test panics while it holds this")
    }

    /// A disk: what was written, whether it is full, and whether it hangs.
    #[derive(Clone, Default)]
    struct Disk {
        text: Arc<Mutex<String>>,
        is_full: Arc<Mutex<bool>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *locked(&self.is_full) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            locked(&self.text).push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines to a disk that says itself how many were lost.
    fn to(disk: &Disk) -> Lines {
        let also = disk.clone();
        Lines::start(disk.clone(), move |lost| {
            locked(&also.text).push_str(&format!("{lost} were lost\n"));
        })
        .unwrap()
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_so_once_there_is_room() {
        let disk = Disk::default();
        let lines = to(&disk);
        let say = |text: &str| {
            (&lines).write_all(text.as_bytes()).unwrap();
            lines.flush();
        };
        say("one\n");
        *locked(&disk.is_full) = true;
        say("two\n");
        say("three\n");
        assert_eq!(*locked(&disk.text), "one\n");
        *locked(&disk.is_full) = false;
        say("four\n");
        while !locked(&disk.text).contains("were lost") {
            thread::yield_now();
        }
        assert_eq!(*locked(&disk.text), "one\nfour\n2 were lost\n");
    }

    #[test]
    fn a_reader_that_hangs_keeps_nobody_waiting() {
        let disk = Disk::default();
        let hanging = locked(&disk.is_full);
        let lines = to(&disk);
        let said = 2 * WAITING_MAX;
        for _ in 0..said {
            (&lines).write_all(b"line\n").unwrap();
        }
        drop(hanging);
        while !locked(&disk.text).contains("were lost") {
            thread::yield_now();
        }
        let text = locked(&disk.text).clone();
        let written = text.lines().filter(|line| *line == "line").count();
        // All that waited, and the one that hung.
        assert!((WAITING_MAX..=WAITING_MAX + 1).contains(&written), "{written}");
        assert!(text.ends_with(&format!("{} were lost\n", said - written)), "{text}");
    }
}
