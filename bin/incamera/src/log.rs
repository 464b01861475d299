//! The log: which lines there are and how they look; and a command's last words.
//!
//! Not here: how lines reach standard error (`lines`).

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use edge::panics;
use model::LogData;
use tracing_subscriber::EnvFilter;

use crate::lines::{self, Lines};

/// What is logged when nobody says.
const FILTER_DEFAULT: &str = "info";

/// What is logged whatever anybody says: why the process ends.
const ALWAYS: &str = concat!(module_path!(), "::failure=error");

/// Of the process, once it logs.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// How a log line looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// What is logged, and how.
#[derive(Args)]
pub(crate) struct Logging {
    /// What to log, as `info` or `edge=debug,info` [default: RUST_LOG, else info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look; they go to standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Human)]
    log_format: Format,
}

/// The filter of the command line says nothing of what to log.
#[derive(Debug)]
pub(crate) struct WrongFilter(String);

impl fmt::Display for WrongFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Error for WrongFilter {}

impl Logging {
    /// Sends the log, panics too, to standard error.
    pub(crate) fn start(&self) -> Result<(), crate::Failure> {
        let environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
        let filter = self.log.as_deref().or(environment.as_deref()).unwrap_or(FILTER_DEFAULT);
        let read = EnvFilter::try_new(filter).map_err(|error| {
            format!("`{filter}` says nothing of what to log, as `info` or `edge=debug,info` does: {error}")
        });
        // That it cannot be read is said in the form of the log as well.
        let (filter, wrong) = match read {
            Ok(filter) => (filter, None),
            Err(wrong) => (EnvFilter::new(FILTER_DEFAULT), Some(wrong)),
        };
        let filter = filter.add_directive(ALWAYS.parse()?);
        let lines = Lines::start(io::stderr(), say_lost)?;
        lines.keep();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(lines)
            // They would go to standard error as well, and panic where it takes nothing.
            .log_internal_errors(false)
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
        match self.log_format {
            Format::Human => subscriber.init(),
            Format::Json => subscriber.json().init(),
        }
        FORMAT.get_or_init(|| self.log_format);
        panics::log_by_place(lines::flush);
        match wrong {
            None => Ok(()),
            Some(wrong) if self.log.is_some() => Err(WrongFilter(wrong).into()),
            Some(wrong) => Err(wrong.into()),
        }
    }
}

fn say_lost(lines: u64) {
    edge::log!(WARN, "lines of the log were lost", lines = LogData(lines));
}

/// Says why a command failed, with every reason behind it: as a line of the log if each of those is an object, else for
/// people.
pub(crate) fn complain(failure: &dyn Error) {
    // So that there is room for it.
    lines::flush();
    let reasons = reasons(failure);
    match FORMAT.get() {
        Some(Format::Json) => failure::say(reasons),
        // If nobody reads standard error, nobody is there to be told so.
        Some(Format::Human) | None => drop(writeln!(io::stderr(), "incamera: {reasons}")),
    }
}

/// Apart, since what is logged is chosen by module.
mod failure {
    use model::LocalText;

    pub(super) fn say(reasons: String) {
        edge::log!(ERROR, "ended by a failure", failure = LocalText(reasons));
    }
}

/// A failure, and every reason behind it.
pub(crate) fn reasons(failure: &dyn Error) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
