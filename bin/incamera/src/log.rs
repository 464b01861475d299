//! Standard error: the log, and a command's last words.

use std::error::Error;
use std::io::{self, Write as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What is logged when nobody says.
const FILTER_DEFAULT: &str = "info";

/// How a log line looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Sends the log to standard error. `filter` is what the command line says; without it `RUST_LOG` does.
pub(crate) fn start(filter: Option<&str>, format: Format) -> Result<(), crate::Failure> {
    let environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = filter.or(environment.as_deref()).unwrap_or(FILTER_DEFAULT);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    match format {
        Format::Human => subscriber.init(),
        Format::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Says why a command failed, with every reason behind it.
pub(crate) fn complain(failure: &dyn Error) {
    let mut text = format!("incamera: {failure}");
    let mut source = failure.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    // If nobody reads standard error, nobody is there to be told so.
    writeln!(io::stderr(), "{text}").ok();
}
