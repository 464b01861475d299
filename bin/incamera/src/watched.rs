//! A file that is read again when it changes.

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
