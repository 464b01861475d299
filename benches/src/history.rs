//! One line of JSON for each run that is worth keeping: when, what commit, which machine, the figures.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// Appends a run to `file`.
pub(crate) fn append(file: &Path, figures: &[(String, f64)]) -> io::Result<()> {
    let figures: Vec<String> =
        figures.iter().map(|(name, value)| format!("\"{name}\":{value:.3}")).collect();
    let line = format!(
        "{{\"date\":\"{}\",\"commit\":\"{}\",\"machine\":{{\"cpu\":\"{}\",\"cores\":{}}},\"figures\":{{{}}}}}\n",
        today(),
        commit(),
        cpu(),
        std::thread::available_parallelism()?,
        figures.join(",")
    );
    OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes())
}

/// The processor by its own name.
pub(crate) fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown", |(_, name)| name).replace(['"', '\\'], "")
}

/// The commit that is checked out, with `+` when what is measured differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no", "core", "shell", "benches"]);
    format!("{commit}{}", if is_changed.is_none_or(|files| files.is_empty()) { "" } else { "+" })
}

/// The day in UTC, as ISO 8601 writes it.
fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(since.as_secs() / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Days since 1970-01-01 in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        let days = [0, 58, 59, 789, 790, 11_016, 20_781, 20_818];
        let dates = [
            (1970, 1, 1),
            (1970, 2, 28),
            (1970, 3, 1),
            (1972, 2, 29),
            (1972, 3, 1),
            (2000, 2, 29),
            (2026, 11, 24),
            (2026, 12, 31),
        ];
        assert_eq!(days.map(civil), dates);
    }
}
