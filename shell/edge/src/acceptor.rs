//! Accepts TCP connections, also when the system has nothing left to give.
//!
//! Owns: the listeners of one purpose, and a descriptor in reserve.
//! Guarantees: whoever comes while no descriptor is left is told so, or at least cut, and not left waiting; accepting
//! that fails neither spins nor fills the log; a listener that many knock at keeps no other waiting.
//! Not here: how many connections there may be (`listener`, `tcp`, `scrape`).

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::{LocalText, LogData};
use tokio::net::{TcpListener, TcpStream};

use crate::metrics::Metrics;

/// How long accepting rests after it failed: at most a hundred times a second somebody is cut.
const REST: Duration = Duration::from_millis(10);
/// How often it is logged that it fails.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Accepts connections of one purpose.
pub(crate) struct Acceptor {
    listeners: Vec<TcpListener>,
    /// What for, as the log says it.
    purpose: &'static str,
    /// What is said to whoever finds no descriptor left; nothing under TLS.
    farewell: &'static [u8],
    /// Given up for a moment to cut whoever waits.
    reserve: Option<File>,
    said: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    pub(crate) fn new(
        listeners: Vec<TcpListener>,
        purpose: &'static str,
        farewell: &'static [u8],
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { listeners, purpose, farewell, reserve: reserve(), said: None, metrics }
    }

    /// The next connection, of whichever listener. Whoever gives this up loses none.
    pub(crate) async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            // What a future holds while it waits stays in it, and this one is there for good: an address must not be
            // among it.
            let error = match self.accept().await {
                Ok(accepted) => {
                    // Somebody else took it, in the moment that it was given up.
                    if self.reserve.is_none() {
                        self.reserve = reserve();
                    }
                    return accepted;
                }
                Err(error) => error,
            };
            self.metrics.accepts_failed.count();
            self.say(&error);
            if wants_descriptors(&error) {
                self.cut_one().await;
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Who was asked first is asked last the next time.
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            for at in 0..self.listeners.len() {
                let accepted = self.listeners.get(at).map(|listener| listener.poll_accept(context));
                if let Some(Poll::Ready(accepted)) = accepted {
                    self.listeners.rotate_left(at + 1);
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn say(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            self.said = Some(now);
            let (purpose, error) = (LogData(self.purpose), LocalText(error));
            crate::log!(ERROR, "connections cannot be accepted", purpose = purpose, error = error);
        }
    }

    /// With the descriptor in reserve accepts whoever has waited the longest, and hangs up on them.
    async fn cut_one(&mut self) {
        drop(self.reserve.take());
        // Without anybody who waits accepting would not have failed; if they have gone meanwhile, nobody is cut.
        let waited = tokio::time::timeout(Duration::ZERO, self.accept()).await;
        if let Ok(Ok((stream, _))) = waited {
            // Best effort: an empty socket buffer takes it whole.
            stream.try_write(self.farewell).ok();
            self.metrics.connections_refused.count();
        }
        self.reserve = reserve();
    }
}

/// Whether the process or the system has none left; anything else concerns one connection, which is gone.
fn wants_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A descriptor of something that is always there.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
