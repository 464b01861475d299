//! A file that is read again when it changes, and what is wrong with it meanwhile.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file, and what it was when it was last looked at.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    /// Nothing if it could not be looked at.
    stamp: Option<Stamp>,
}

/// Which file, when it, its rights and its name were changed, and how long it is. Two changes within a clock tick
/// that leave the length look like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    len: u64,
}

impl Watched {
    /// As it is now.
    pub(crate) fn new(path: PathBuf) -> Self {
        let stamp = stamp(&path);
        Self { path, stamp }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is another one than at the last look.
    pub(crate) fn has_changed(&mut self) -> bool {
        let stamp = stamp(&self.path);
        std::mem::replace(&mut self.stamp, stamp) != stamp
    }
}

/// Why nothing is known of what a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// What it says makes no sense.
    Wrong(String),
    /// It could not be read, or does not hold by the clock; the next look may find that mended, though it is the same
    /// file.
    NotNow(String),
}

impl Unread {
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Wrong(reason) | Self::NotNow(reason) => reason,
        }
    }
}

/// What is wrong with a file and has been said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Option<Unread>);

impl Trouble {
    /// Whether to read it again though it has not changed.
    pub(crate) const fn may_be_over(&self) -> bool {
        matches!(self.0, Some(Unread::NotNow(_)))
    }

    /// What reading it brought, or what is wrong, if that is news.
    pub(crate) fn news<T>(
        &mut self,
        has_changed: bool,
        read: Result<T, Unread>,
    ) -> Option<Result<T, String>> {
        let before = self.0.take();
        match read {
            Ok(says) => Some(Ok(says)),
            Err(failure) => {
                let is_news = has_changed || before.as_ref() != Some(&failure);
                self.0 = Some(failure.clone());
                is_news.then(|| Err(failure.into_reason()))
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
        len: found.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_read_again_and_said_once() {
        let mut trouble = Trouble::default();
        let full = || Unread::NotNow("too many open files".to_owned());
        let wrong = || Unread::Wrong("makes no sense".to_owned());
        assert!(!trouble.may_be_over());
        assert_eq!(trouble.news::<()>(true, Err(full())), Some(Err("too many open files".into())));
        assert!(trouble.may_be_over());
        assert_eq!(trouble.news::<()>(false, Err(full())), None);
        assert!(trouble.may_be_over());
        assert_eq!(trouble.news::<()>(false, Err(wrong())), Some(Err("makes no sense".into())));
        assert!(!trouble.may_be_over(), "until the file is another one");
        assert_eq!(trouble.news(true, Ok(7)), Some(Ok(7)));
        assert_eq!(trouble.news::<()>(true, Err(wrong())), Some(Err("makes no sense".into())));
    }
}
