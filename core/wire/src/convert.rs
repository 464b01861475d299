//! The field's words and LiveKit's enums and names, each as the other.
//!
//! Owns: sources, kinds, encryption, qualities and codecs on the wire.
//! Guarantees: a number or name that is not known becomes `None` or the word for not said, never an error.
//! Source: LiveKit `livekit_models.proto`; codec names as in `TrackInfo.mime_type` and `SimulcastCodec.codec`.

use model::{Codec, Encryption, Quality, TrackKind, TrackSource};

use crate::proto;

/// A source by its number.
#[must_use]
pub fn source_from_wire(source: i32) -> TrackSource {
    match proto::TrackSource::try_from(source) {
        Ok(proto::TrackSource::Camera) => TrackSource::Camera,
        Ok(proto::TrackSource::Microphone) => TrackSource::Microphone,
        Ok(proto::TrackSource::ScreenShare) => TrackSource::ScreenShare,
        Ok(proto::TrackSource::ScreenShareAudio) => TrackSource::ScreenShareAudio,
        Ok(proto::TrackSource::Unknown) | Err(_) => TrackSource::Unknown,
    }
}

/// A source as LiveKit's enum.
#[must_use]
pub const fn source_to_wire(source: TrackSource) -> proto::TrackSource {
    match source {
        TrackSource::Unknown => proto::TrackSource::Unknown,
        TrackSource::Camera => proto::TrackSource::Camera,
        TrackSource::Microphone => proto::TrackSource::Microphone,
        TrackSource::ScreenShare => proto::TrackSource::ScreenShare,
        TrackSource::ScreenShareAudio => proto::TrackSource::ScreenShareAudio,
    }
}

/// A source by the name that grants use.
#[must_use]
pub fn source_named(name: &str) -> Option<TrackSource> {
    match name {
        "unknown" => Some(TrackSource::Unknown),
        "camera" => Some(TrackSource::Camera),
        "microphone" => Some(TrackSource::Microphone),
        "screen_share" => Some(TrackSource::ScreenShare),
        "screen_share_audio" => Some(TrackSource::ScreenShareAudio),
        _ => None,
    }
}

/// A kind by its number; data is no kind of track.
#[must_use]
pub fn kind_from_wire(kind: i32) -> Option<TrackKind> {
    match proto::TrackType::try_from(kind) {
        Ok(proto::TrackType::Audio) => Some(TrackKind::Audio),
        Ok(proto::TrackType::Video) => Some(TrackKind::Video),
        Ok(proto::TrackType::Data) | Err(_) => None,
    }
}

/// A kind as LiveKit's enum.
#[must_use]
pub const fn kind_to_wire(kind: TrackKind) -> proto::TrackType {
    match kind {
        TrackKind::Audio => proto::TrackType::Audio,
        TrackKind::Video => proto::TrackType::Video,
    }
}

/// An encryption by its number. A kind of encryption that is not known is somebody's own.
#[must_use]
pub fn encryption_from_wire(encryption: i32) -> Encryption {
    match proto::encryption::Type::try_from(encryption) {
        Ok(proto::encryption::Type::None) => Encryption::None,
        Ok(proto::encryption::Type::Gcm) => Encryption::Gcm,
        Ok(proto::encryption::Type::Custom) | Err(_) => Encryption::Custom,
    }
}

/// An encryption as LiveKit's enum.
#[must_use]
pub const fn encryption_to_wire(encryption: Encryption) -> proto::encryption::Type {
    match encryption {
        Encryption::None => proto::encryption::Type::None,
        Encryption::Gcm => proto::encryption::Type::Gcm,
        Encryption::Custom => proto::encryption::Type::Custom,
    }
}

/// A quality by its number.
#[must_use]
pub fn quality_from_wire(quality: i32) -> Option<Quality> {
    match proto::VideoQuality::try_from(quality) {
        Ok(proto::VideoQuality::Low) => Some(Quality::Low),
        Ok(proto::VideoQuality::Medium) => Some(Quality::Medium),
        Ok(proto::VideoQuality::High) => Some(Quality::High),
        Ok(proto::VideoQuality::Off) => Some(Quality::Off),
        Err(_) => None,
    }
}

/// A quality as LiveKit's enum.
#[must_use]
pub const fn quality_to_wire(quality: Quality) -> proto::VideoQuality {
    match quality {
        Quality::Off => proto::VideoQuality::Off,
        Quality::Low => proto::VideoQuality::Low,
        Quality::Medium => proto::VideoQuality::Medium,
        Quality::High => proto::VideoQuality::High,
    }
}

/// The media type of a codec: `video/VP8`.
#[must_use]
pub const fn codec_mime(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "audio/opus",
        Codec::Red => "audio/red",
        Codec::Vp8 => "video/VP8",
        Codec::Vp9 => "video/VP9",
        Codec::H264 => "video/H264",
        Codec::H265 => "video/H265",
        Codec::Av1 => "video/AV1",
    }
}

/// The name of a codec as clients say it in `SimulcastCodec` and `SubscribedCodec`: `vp8`.
#[must_use]
pub const fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Red => "red",
        Codec::Vp8 => "vp8",
        Codec::Vp9 => "vp9",
        Codec::H264 => "h264",
        Codec::H265 => "h265",
        Codec::Av1 => "av1",
    }
}

/// A codec by its name or media type, in any case.
#[must_use]
pub fn codec_named(name: &str) -> Option<Codec> {
    const ALL: [Codec; 7] =
        [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];
    ALL.into_iter().find(|codec| {
        name.eq_ignore_ascii_case(codec_name(*codec))
            || name.eq_ignore_ascii_case(codec_mime(*codec))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_the_wire() {
        for number in 0..=4 {
            let source = source_from_wire(number);
            assert_eq!(i32::from(source_to_wire(source)), number);
            let name = source_to_wire(source).as_str_name().to_ascii_lowercase();
            assert_eq!(source_named(&name), Some(source));
        }
        for number in 0..=1 {
            assert_eq!(i32::from(kind_to_wire(kind_from_wire(number).unwrap())), number);
        }
        for number in 0..=2 {
            assert_eq!(i32::from(encryption_to_wire(encryption_from_wire(number))), number);
        }
        for number in 0..=3 {
            assert_eq!(i32::from(quality_to_wire(quality_from_wire(number).unwrap())), number);
        }
    }

    #[test]
    fn numbers_that_are_not_known_never_weaken_anything() {
        assert_eq!(source_from_wire(-1), TrackSource::Unknown);
        assert_eq!(kind_from_wire(2), None);
        assert_eq!(encryption_from_wire(77), Encryption::Custom);
        assert_eq!(quality_from_wire(4), None);
    }

    #[test]
    fn codecs_are_found_by_name_and_by_media_type() {
        assert_eq!(codec_named("VP8"), Some(Codec::Vp8));
        assert_eq!(codec_named("video/h264"), Some(Codec::H264));
        assert_eq!(codec_named("audio/OPUS"), Some(Codec::Opus));
        assert_eq!(codec_named("video/"), None);
        assert_eq!(codec_named("audio/vp8"), None);
    }
}
