//! What was found, and how it is said.

use std::fmt;

use serde_json::json;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Fine,
    /// It works, though not as well or as safely as it could.
    Warning,
    /// A server would not start, or some of its clients would not be served.
    Wrong,
}

/// One fact, and what follows.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    check: &'static str,
    level: Level,
    what: String,
    why: String,
    fix: String,
}

/// All that was found, in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn fine(check: &'static str, what: impl Into<String>) -> Self {
        let (why, fix) = (String::new(), String::new());
        Self { check, level: Level::Fine, what: what.into(), why, fix }
    }

    pub(super) fn warning(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (what, why, fix) = (what.into(), why.into(), fix.into());
        Self { check, level: Level::Warning, what, why, fix }
    }

    pub(super) fn wrong(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { level: Level::Wrong, ..Self::warning(check, what, why, fix) }
    }
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether nothing is wrong.
    pub(super) fn is_good(&self) -> bool {
        self.count(Level::Wrong) == 0
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// One object, and a line feed.
    pub(super) fn to_json(&self) -> String {
        let each = |finding: &Finding| {
            json!({
                "check": finding.check,
                "level": finding.level.as_str(),
                "what": finding.what,
                "why": finding.why,
                "fix": finding.fix,
            })
        };
        let findings: Vec<_> = self.findings.iter().map(each).collect();
        format!("{:#}\n", json!({ "is_good": self.is_good(), "findings": findings }))
    }
}

impl fmt::Display for Finding {
    /// One line, or three.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, level, what, why, fix } = self;
        writeln!(out, "{:<8} {check:<12} {what}", level.as_str())?;
        if *level != Level::Fine {
            writeln!(out, "{:<8} {:<12} {why}", "", "  why")?;
            writeln!(out, "{:<8} {:<12} {fix}", "", "  fix")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(out, "{finding}")?;
        }
        let (wrong, warnings) = (self.count(Level::Wrong), self.count(Level::Warning));
        writeln!(out, "\n{wrong} wrong, {warnings} warnings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_good_unless_something_is_wrong() {
        let mut report = Report::default();
        report.add(Finding::fine("clock", "is kept"));
        report.add(Finding::warning("swap", "is there", "because", "do this"));
        assert!(report.is_good());
        report.add(Finding::wrong("port", "is taken", "for that reason", "do that"));
        assert!(!report.is_good());
        let text = report.to_string();
        for words in ["for that reason", "do this", "do that", "1 wrong, 1 warnings"] {
            assert!(text.contains(words), "{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["is_good"], false);
        assert_eq!(json["findings"][2]["fix"], "do that");
    }
}
