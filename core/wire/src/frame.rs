//! One signalling message: a WebSocket frame in, a WebSocket frame out.
//!
//! Owns: protobuf in binary frames, protojson in text frames, and their bounds.
//! Guarantees: a frame costs no more than [`crate::limits`] say; fields nobody knows are ignored.
//! Not here: fragments, pings and closing (`edge`), what a message causes (`sfu`).
//! Source: LiveKit `pkg/service/wsprotocol.go`; protobuf's JSON mapping. prost stops at a depth of 100.

use prost::Message as _;

use crate::limits::FRAME_MAX;
use crate::proto::{SignalRequest, SignalResponse};
use crate::shape::{self, ShapeError};

/// Texts that are long or come by the thousand: of `subscription` the sids, alone and by participant; of
/// `subscription_permission` who may see which tracks; of `update_metadata` `metadata` and the values of `attributes`.
const TEXTS: &[&[u32]] = &[
    &[6, 1],
    &[6, 3, 1],
    &[6, 3, 2],
    &[11, 2, 1],
    &[11, 2, 3],
    &[11, 2, 4],
    &[15, 1],
    &[15, 3, 2],
];

/// A frame as it came, its fragments joined.
#[derive(Clone, Copy)]
pub enum Frame<'a> {
    /// Protobuf.
    Binary(&'a [u8]),
    /// Protojson.
    Text(&'a str),
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// In binary frames.
    #[default]
    Protobuf,
    /// In text frames.
    Json,
}

/// A frame that is no message. The sender's fault; the connection is closed with [`Self::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_MAX`].
    #[error("a signalling message of {len} bytes is too long")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
    },
    /// It would cost too much to parse.
    #[error("a signalling message {0}")]
    Shape(ShapeError),
    /// Neither protobuf nor protojson, whichever it should be, or not a `SignalRequest`.
    #[error("a signalling message cannot be decoded")]
    Undecodable,
}

/// A response that JSON cannot carry: it holds a number that is none of its enum's. Ours is the fault, or a
/// newer client's whose values were copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a response has no form in JSON")]
pub struct UnencodableError;

impl model::Impersonal for UnencodableError {}

impl FrameError {
    /// The WebSocket close code to answer with (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooLong { .. } | Self::Shape(ShapeError::TooMany) => 1009,
            Self::Shape(ShapeError::TooDeep) | Self::Undecodable => 1007,
        }
    }
}

impl Frame<'_> {
    /// Its bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty frame is a frame")]
    pub const fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// How the sender writes; answers are written the same.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        match self {
            Self::Binary(_) => Encoding::Protobuf,
            Self::Text(_) => Encoding::Json,
        }
    }
}

impl std::fmt::Debug for Frame<'_> {
    /// Prints encoding and length alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// Decodes what a client sent. A message of a kind that is not known has `message: None`.
///
/// # Errors
/// See [`FrameError`].
pub fn decode_request(frame: Frame<'_>) -> Result<SignalRequest, FrameError> {
    let len = frame.len();
    if len > FRAME_MAX {
        return Err(FrameError::TooLong { len });
    }
    match frame {
        Frame::Binary(bytes) => {
            shape::check_protobuf(bytes, TEXTS).map_err(FrameError::Shape)?;
            SignalRequest::decode(bytes).map_err(|_| FrameError::Undecodable)
        }
        Frame::Text(text) => {
            shape::check_json(text.as_bytes()).map_err(FrameError::Shape)?;
            serde_json::from_str(text).map_err(|_| FrameError::Undecodable)
        }
    }
}

/// Encodes what a client is sent, behind what `frame` holds: whoever has left room there for a head copies nothing.
/// Protobuf always succeeds.
///
/// # Errors
/// [`UnencodableError`], for JSON alone; what is in `frame` then is of no use.
pub fn encode_response(
    response: &SignalResponse,
    encoding: Encoding,
    frame: &mut Vec<u8>,
) -> Result<(), UnencodableError> {
    frame.reserve_exact(response.encoded_len());
    match encoding {
        Encoding::Protobuf => response.encode(frame).map_err(|_| UnencodableError)?,
        Encoding::Json => {
            serde_json::to_writer(&mut *frame, response).map_err(|_| UnencodableError)?;
            // It is longer than in protobuf, and has taken twice what it needs at worst.
            frame.shrink_to_fit();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{ELEMENT_SIZE_MAX, FIELDS_MAX, JSON_DEPTH_MAX};
    use crate::proto::{self, signal_request, signal_response};

    fn text(json: &str) -> Result<signal_request::Message, FrameError> {
        decode_request(Frame::Text(json)).map(|request| request.message.unwrap())
    }

    #[test]
    fn json_takes_both_cases_numbers_as_text_and_fields_nobody_knows() {
        let check = |json: &str, expect: signal_request::Message| {
            assert_eq!(text(json), Ok(expect), "{json}");
        };
        let ping = signal_request::Message::PingReq(proto::Ping { timestamp: 1 << 60, rtt: 7 });
        check(r#"{"pingReq":{"timestamp":"1152921504606846976","rtt":"7"}}"#, ping.clone());
        check(r#"{"ping_req":{"timestamp":"1152921504606846976","rtt":7}}"#, ping.clone());
        check(r#"{"pingReq":{"timestamp":"1152921504606846976","rtt":7,"new":{"a":[1]}}}"#, ping);
        check(r#"{"ping":"9223372036854775807"}"#, signal_request::Message::Ping(i64::MAX));
        let add = proto::AddTrackRequest {
            cid: "c".into(),
            source: proto::TrackSource::Camera.into(),
            r#type: proto::TrackType::Video.into(),
            ..Default::default()
        };
        let add = signal_request::Message::AddTrack(add);
        check(r#"{"addTrack":{"cid":"c","source":"CAMERA","type":"VIDEO"}}"#, add.clone());
        check(r#"{"add_track":{"cid":"c","source":1,"type":1}}"#, add);
        let mute = proto::MuteTrackRequest { sid: "TR_x".into(), muted: true };
        check(r#"{"mute":{"sid":"TR_x","muted":true}}"#, signal_request::Message::Mute(mute));
    }

    #[test]
    fn names_and_sids_are_no_fields_whatever_letters_they_have() {
        // What of the letters is a key in protobuf differs from one to the next: `p` is, `s` is not.
        for letter in 'A'..='z' {
            let name = |number: u32| format!("{}{number:04}", letter.to_string().repeat(40));
            let track_permissions = (0..4096).map(|number| proto::TrackPermission {
                participant_identity: name(number),
                all_tracks: true,
                ..Default::default()
            });
            let allowance =
                signal_request::Message::SubscriptionPermission(proto::SubscriptionPermission {
                    all_participants: false,
                    track_permissions: track_permissions.collect(),
                });
            let wanted = signal_request::Message::Subscription(proto::UpdateSubscription {
                track_sids: (0..6000).map(name).collect(),
                subscribe: true,
                participant_tracks: (0..3000)
                    .map(|number| proto::ParticipantTracks {
                        participant_sid: name(number),
                        track_sids: vec![name(number)],
                    })
                    .collect(),
            });
            for message in [allowance, wanted] {
                let bytes = SignalRequest { message: Some(message) }.encode_to_vec();
                let decoded = decode_request(Frame::Binary(&bytes));
                assert!(decoded.is_ok(), "{letter}: {:?}", decoded.unwrap_err());
            }
        }
    }

    #[test]
    fn a_kind_of_message_nobody_knows_is_empty_in_both_encodings() {
        let json = decode_request(Frame::Text(r#"{"teleport":{"to":"mars"}}"#)).unwrap();
        assert_eq!(json.message, None);
        let bytes = [0xfa, 0x3f, 0x03, b'a', b'b', b'c'];
        assert_eq!(decode_request(Frame::Binary(&bytes)).unwrap().message, None);
    }

    #[test]
    fn responses_are_written_as_clients_read_them() {
        let pong = proto::Pong { last_ping_timestamp: 1 << 60, timestamp: 2 };
        let response = SignalResponse { message: Some(signal_response::Message::PongResp(pong)) };
        let json = r#"{"pongResp":{"lastPingTimestamp":"1152921504606846976","timestamp":"2"}}"#;
        let mut frame = b"head".to_vec();
        assert_eq!(encode_response(&response, Encoding::Json, &mut frame), Ok(()));
        assert_eq!(frame, format!("head{json}").as_bytes());
        frame.truncate(4);
        assert_eq!(encode_response(&response, Encoding::Protobuf, &mut frame), Ok(()));
        assert_eq!(SignalResponse::decode(&frame[4..]).unwrap(), response);
    }

    #[test]
    fn an_enum_value_nobody_knows_has_no_form_in_json() {
        let info = proto::ParticipantInfo { state: 77, ..Default::default() };
        let update = proto::ParticipantUpdate { participants: vec![info] };
        let response = SignalResponse { message: Some(signal_response::Message::Update(update)) };
        let encoded = |encoding| encode_response(&response, encoding, &mut Vec::new());
        assert_eq!(encoded(Encoding::Json), Err(UnencodableError));
        assert!(encoded(Encoding::Protobuf).is_ok());
    }

    #[test]
    fn oversize_closes_1009_and_what_cannot_be_decoded_1007() {
        let check = |frame: Frame<'_>, code: u16| {
            let error = decode_request(frame).unwrap_err();
            assert_eq!(error.close_code(), code, "{frame:?}: {error}");
        };
        check(Frame::Binary(&vec![0; FRAME_MAX + 1]), 1009);
        check(Frame::Text(&" ".repeat(FRAME_MAX + 1)), 1009);
        check(Frame::Binary(&[0x62, 0x00].repeat(FIELDS_MAX + 1)), 1009);
        check(Frame::Text(&format!("[{}]", "0,".repeat(FIELDS_MAX))), 1009);
        let nested = "[".repeat(JSON_DEPTH_MAX + 1);
        check(Frame::Text(&format!(r#"{{"teleport":{nested}"#)), 1007);
        for bytes in [&[0x0a, 0x05, 0x00][..], &[0xff; 20], &[0x0a]] {
            check(Frame::Binary(bytes), 1007);
        }
        let texts = ["", "{", "[]", "0", r#"{"mute":7}"#, r#"{"ping":"x"}"#, "{}{}", "{} x"];
        for text in texts {
            check(Frame::Text(text), 1007);
        }
        check(Frame::Text(r#"{"mute":{},"leave":{}}"#), 1007);
    }

    #[test]
    fn metadata_of_any_content_passes() {
        for letter in [" ", "A", "\n"] {
            let update = proto::UpdateParticipantMetadata {
                metadata: letter.repeat(crate::limits::METADATA_MAX),
                attributes: [("k".into(), letter.repeat(crate::limits::ATTRIBUTES_MAX))].into(),
                ..Default::default()
            };
            let message = Some(signal_request::Message::UpdateMetadata(update));
            let request = SignalRequest { message };
            assert_eq!(decode_request(Frame::Binary(&request.encode_to_vec())), Ok(request));
        }
    }

    #[test]
    fn nesting_cannot_exhaust_the_stack() {
        let groups = [0x0b].repeat(FRAME_MAX);
        assert_eq!(decode_request(Frame::Binary(&groups)), Err(FrameError::Undecodable));
        let mut message = Vec::new();
        for _ in 0..5_000 {
            let mut outer = vec![0x62];
            prost::encoding::encode_varint(message.len() as u64, &mut outer);
            outer.extend_from_slice(&message);
            message = outer;
        }
        drop(decode_request(Frame::Binary(&message)));
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        let error = decode_request(Frame::Text(&deep)).unwrap_err();
        assert_eq!(error, FrameError::Shape(ShapeError::TooDeep));
    }

    #[test]
    fn no_element_of_a_list_is_larger_than_the_reckoning_says() {
        let sizes = [
            size_of::<proto::TrackPublishedResponse>(),
            size_of::<proto::TrackInfo>(),
            size_of::<proto::AddTrackRequest>(),
            size_of::<proto::SimulcastCodec>(),
            size_of::<proto::SimulcastCodecInfo>(),
            size_of::<proto::VideoLayer>(),
            size_of::<proto::DataChannelInfo>(),
            size_of::<proto::DataChannelReceiveState>(),
            size_of::<proto::ParticipantTracks>(),
            size_of::<proto::TrackPermission>(),
            size_of::<proto::PublishDataTrackResponse>(),
            size_of::<proto::RegionInfo>(),
            2 * size_of::<(String, String)>(),
        ];
        assert!(sizes.iter().all(|size| *size <= ELEMENT_SIZE_MAX), "{sizes:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            drop(decode_request(Frame::Binary(&bytes)));
            drop(decode_request(Frame::Text(&String::from_utf8_lossy(&bytes))));
        }

        #[test]
        fn a_flipped_bit_ends_in_a_value_or_an_error(at in 0_usize..4096, cut in 0_usize..4096) {
            let track = proto::TrackInfo { sid: "TR_1".into(), ..Default::default() };
            let published =
                proto::TrackPublishedResponse { cid: "c".into(), track: Some(track) };
            let state =
                proto::SyncState { publish_tracks: vec![published; 8], ..Default::default() };
            let message = Some(signal_request::Message::SyncState(state));
            let mut bytes = SignalRequest { message }.encode_to_vec();
            let len = bytes.len();
            bytes[at / 8 % len] ^= 1 << (at % 8);
            bytes.truncate(cut % (len + 1));
            drop(decode_request(Frame::Binary(&bytes)));
        }
    }
}
