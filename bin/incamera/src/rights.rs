//! What a participant may do, as a command line says it.
//!
//! Owns: the options that a token's maker and a moderator have in common.
//! Not here: what follows from a right that is not said (`token`, `room`).

use clap::Args;

#[derive(Args)]
pub(crate) struct Rights {
    /// May publish tracks
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) can_publish: Option<bool>,
    /// May publish tracks from this source only; may be given again
    #[arg(long = "can-publish-source", value_name = "SOURCE")]
    #[arg(value_parser = ["camera", "microphone", "screen_share", "screen_share_audio"])]
    pub(crate) can_publish_sources: Vec<String>,
    /// May send data
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) can_publish_data: Option<bool>,
    /// May receive tracks
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) can_subscribe: Option<bool>,
    /// May change its own name, metadata and attributes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) can_update_own_metadata: Option<bool>,
}

impl Rights {
    /// Whether the command line says anything of them.
    pub(crate) fn are_given(&self) -> bool {
        let said = [
            self.can_publish,
            self.can_publish_data,
            self.can_subscribe,
            self.can_update_own_metadata,
        ];
        !self.can_publish_sources.is_empty() || said.iter().any(Option::is_some)
    }
}
