//! RTP header extensions as sections offer them.

use model::ExtensionKind;

use super::Direction;

/// One `a=extmap` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionMapping {
    /// 1 to 14 fit the one-byte form of RFC 8285, 15 is reserved, 16 to 255 need the two-byte form.
    pub id: u8,
    /// What the id means.
    pub extension: ExtensionKind,
    /// Who writes it, seen by the description's author, where the line says so.
    pub direction: Option<Direction>,
}
