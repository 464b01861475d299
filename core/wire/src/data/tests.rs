//! Tests of `data`: what must be read, and what must be refused.

use proptest::prelude::*;

use super::*;
use crate::proto::{self, UserPacket};

fn alice() -> (ParticipantSid, Identity) {
    (ParticipantSid::from_wire("PA_alice"), Identity::new("alice"))
}

fn send(packet: &DataPacket, agent: bool) -> Result<DataPacket, DataError> {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent };
    let packet = receive(&packet.encode_to_vec(), Delivery::Reliable, sender)?;
    DataPacket::decode(&*packet.bytes).map_err(|_| DataError::Undecodable)
}

fn of(value: Value) -> DataPacket {
    DataPacket {
        participant_identity: "mallory".into(),
        participant_sid: "PA_mallory".into(),
        sequence: 7,
        value: Some(value),
        ..DataPacket::default()
    }
}

#[expect(deprecated, reason = "the older fields are the subject")]
fn user() -> UserPacket {
    UserPacket {
        participant_sid: "PA_mallory".into(),
        participant_identity: "mallory".into(),
        payload: b"hello".to_vec(),
        topic: Some("t".into()),
        nonce: b"n".to_vec(),
        ..UserPacket::default()
    }
}

#[test]
fn a_second_user_field_is_refused() {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
    let mut bytes = of(Value::User(user())).encode_to_vec();
    assert!(receive(&bytes, Delivery::Reliable, sender).is_ok());
    // Each would be expanded by all receivers that the packet names.
    put_bytes(field::USER, &[], &mut bytes);
    assert!(matches!(receive(&bytes, Delivery::Reliable, sender), Err(DataError::Undecodable)));
}

#[test]
#[expect(deprecated, reason = "the older fields are the subject")]
fn every_packet_carries_its_senders_name_and_the_rest_as_it_was() {
    let mut packet = of(Value::User(user()));
    packet.kind = Kind::Lossy.into();
    let sent = send(&packet, false).unwrap();
    let user = UserPacket {
        participant_sid: "PA_alice".into(),
        participant_identity: "alice".into(),
        ..user()
    };
    let expect = DataPacket {
        participant_identity: "alice".into(),
        participant_sid: "PA_alice".into(),
        sequence: 7,
        value: Some(Value::User(user)),
        ..DataPacket::default()
    };
    assert_eq!(sent, expect);
}

#[test]
fn a_hidden_sender_is_not_named() {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: true, agent: false };
    let bytes = of(Value::User(user())).encode_to_vec();
    let packet = receive(&bytes, Delivery::Lossy, sender).unwrap();
    let text = String::from_utf8_lossy(&packet.bytes);
    assert!(!text.contains("mallory"), "{text}");
    assert!(!text.contains("\u{5}alice"), "{text}");
    assert_eq!(packet.sequence, 0);
    assert_eq!(packet.nonce, b"n");
}

#[test]
fn names_given_twice_are_replaced_twice() {
    let mut bytes = of(Value::User(user())).encode_to_vec();
    bytes.extend(DataPacket { value: None, ..of(Value::User(user())) }.encode_to_vec());
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
    let packet = receive(&bytes, Delivery::Reliable, sender).unwrap();
    assert!(!String::from_utf8_lossy(&packet.bytes).contains("mallory"));
    let sent = DataPacket::decode(&*packet.bytes).unwrap();
    assert_eq!(sent.participant_identity, "alice");
}

#[test]
fn payloads_and_fields_nobody_knows_pass_as_they_came() {
    let encrypted = proto::EncryptedPacket {
        encryption_type: proto::encryption::Type::Gcm.into(),
        iv: vec![1; 12],
        key_index: 3,
        encrypted_value: vec![0xff; 100],
    };
    let sent = send(&of(Value::EncryptedPacket(encrypted.clone())), false).unwrap();
    assert_eq!(sent.value, Some(Value::EncryptedPacket(encrypted)));

    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
    let unknown = [0x9a, 0x3f, 0x04, 0x0a, 0x02, b'h', b'i'];
    let packet = receive(&unknown, Delivery::Reliable, sender).unwrap();
    assert!(packet.bytes.ends_with(&unknown));
    let mut inside = user().encode_to_vec();
    inside.extend_from_slice(&unknown);
    let mut bytes = Vec::new();
    put_bytes(field::USER, &inside, &mut bytes);
    let packet = receive(&bytes, Delivery::Reliable, sender).unwrap();
    assert!(packet.bytes.ends_with(&unknown));
}

#[test]
fn no_names_mean_everybody_and_names_mean_those() {
    let names = |packet: &DataPacket| {
        let (sid, identity) = alice();
        let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
        let audience =
            receive(&packet.encode_to_vec(), Delivery::Reliable, sender).unwrap().audience;
        ["bob", "carol", "dave"]
            .into_iter()
            .filter(|name| {
                let sid = ParticipantSid::from_wire(&format!("PA_{name}"));
                audience.includes(&Identity::new(name), &sid)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&of(Value::User(user()))), ["bob", "carol", "dave"]);

    #[expect(deprecated, reason = "the older fields are the subject")]
    let inner = UserPacket {
        destination_sids: vec!["PA_carol".into()],
        destination_identities: vec!["bob".into()],
        ..user()
    };
    let mut packet = of(Value::User(inner));
    assert_eq!(names(&packet), ["bob", "carol"]);
    packet.destination_identities = vec!["dave".into()];
    assert_eq!(names(&packet), ["carol", "dave"]);
    let sent = send(&packet, false).unwrap();
    let Some(Value::User(sent)) = sent.value else { panic!("a user packet stays one") };
    #[expect(deprecated, reason = "the older fields are the subject")]
    let inner = sent.destination_identities;
    assert_eq!(inner, ["dave"]);
}

#[test]
fn only_agents_transcribe_and_nobody_says_who_speaks() {
    let transcription = of(Value::Transcription(proto::Transcription::default()));
    assert_eq!(send(&transcription, false), Err(DataError::NotAllowed));
    assert!(send(&transcription, true).is_ok());
    #[expect(deprecated, reason = "older clients could still send it")]
    let speakers = of(Value::Speaker(proto::ActiveSpeakerUpdate::default()));
    assert_eq!(send(&speakers, true), Err(DataError::NotAllowed));
}

#[test]
fn agents_chat_and_stream_text_in_others_names_and_nothing_else() {
    let chat = of(Value::ChatMessage(proto::ChatMessage::default()));
    let sent = send(&chat, true).unwrap();
    assert_eq!(sent.participant_identity, "mallory");
    assert_eq!(sent.participant_sid, "PA_alice");
    assert!(matches!(sent.value, Some(Value::ChatMessage(message)) if message.generated));
    assert_eq!(send(&chat, false).unwrap().participant_identity, "alice");
    let rpc = of(Value::RpcRequest(proto::RpcRequest::default()));
    assert_eq!(send(&rpc, true).unwrap().participant_identity, "alice");
    let bytes = of(Value::StreamHeader(data_stream::Header::default()));
    assert_eq!(send(&bytes, true).unwrap().participant_identity, "alice");
    let text = data_stream::TextHeader::default();
    let header = data_stream::Header {
        content_header: Some(data_stream::header::ContentHeader::TextHeader(text)),
        ..data_stream::Header::default()
    };
    let sent = send(&of(Value::StreamHeader(header)), true).unwrap();
    assert_eq!(sent.participant_identity, "mallory");
}

#[test]
fn metrics_take_their_own_way() {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
    let bytes = of(Value::Metrics(proto::MetricsBatch::default())).encode_to_vec();
    assert_eq!(receive(&bytes, Delivery::Reliable, sender).unwrap().route, Route::Metrics);
}

#[test]
fn no_packet_takes_more_memory_than_the_reckoning_says() {
    let sizes = [
        size_of::<proto::TranscriptionSegment>(),
        size_of::<proto::TimeSeriesMetric>(),
        size_of::<proto::EventMetric>(),
        size_of::<proto::SpeakerInfo>(),
        2 * size_of::<(String, String)>(),
    ];
    assert!(sizes.iter().all(|size| *size <= 256), "{sizes:?}");
}

#[test]
fn reliable_packets_pass_once() {
    let mut order = ReliableOrder::default();
    let passed: Vec<_> = [1, 2, 2, 1, 0, 5, 4, 0].map(|sequence| order.accept(sequence)).into();
    assert_eq!(passed, [true, true, false, false, true, true, false, true]);
    assert_eq!(order.last(), 5);
}

#[test]
fn bounds_hold() {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
    let refuse = |bytes: &[u8]| receive(bytes, Delivery::Reliable, sender).unwrap_err();
    let len = DATA_PACKET_MAX + 1;
    assert_eq!(refuse(&vec![0; len]), DataError::TooLong { len });
    let mut crowd = of(Value::User(user()));
    crowd.destination_identities = vec!["b".into(); DESTINATIONS_MAX + 1];
    assert_eq!(refuse(&crowd.encode_to_vec()), DataError::TooManyDestinations);
    let many = [0x2a, 0x00].repeat(DESTINATIONS_MAX + 1);
    assert_eq!(refuse(&many), DataError::TooManyDestinations);
    for bytes in [&[0x12, 0x05, 0x0a][..], &[0x12, 0x02, 0x0a, 0x05], &[0xff; 12], &[0x10, 0x01]] {
        assert_eq!(refuse(bytes), DataError::Undecodable, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn whatever_passes_decodes_and_is_in_the_senders_name(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<usize>(), 0_u8..8), 0..4),
    ) {
        let (sid, identity) = alice();
        let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
        let mut valid = of(Value::User(user())).encode_to_vec();
        for (at, bit) in flips {
            let at = at % valid.len();
            valid[at] ^= 1 << bit;
        }
        for bytes in [bytes, valid] {
            if let Ok(packet) = receive(&bytes, Delivery::Reliable, sender) {
                let sent = DataPacket::decode(&*packet.bytes).unwrap();
                prop_assert_eq!(sent.participant_identity, "alice");
                prop_assert_eq!(sent.participant_sid, "PA_alice");
            }
        }
    }
}

#[test]
fn a_back_end_speaks_in_nobodys_name() {
    let request = |data: Vec<u8>| SendDataRequest {
        data,
        kind: Kind::Lossy.into(),
        destination_identities: vec!["ada".into()],
        topic: Some("t".into()),
        nonce: vec![7; 16],
        ..Default::default()
    };
    let (delivery, packet) = announce(request(b"hello".to_vec())).unwrap();
    assert_eq!((delivery, packet.sequence, packet.nonce), (Delivery::Lossy, 0, vec![7; 16]));
    let ada = (Identity::new("ada"), ParticipantSid::from_wire("PA_a"));
    let ben = (Identity::new("ben"), ParticipantSid::from_wire("PA_b"));
    assert!(packet.audience.includes(&ada.0, &ada.1) && !packet.audience.includes(&ben.0, &ben.1));
    let sent = DataPacket::decode(&*packet.bytes).unwrap();
    assert!(sent.participant_identity.is_empty() && sent.participant_sid.is_empty());
    let Some(Value::User(user)) = sent.value else { panic!("{sent:?}") };
    assert_eq!((user.payload.as_slice(), user.topic.as_deref()), (&b"hello"[..], Some("t")));
    let refused = announce(request(vec![0; DATA_PACKET_MAX]));
    assert!(matches!(refused, Err(DataError::TooLong { .. })));
}

#[test]
#[expect(deprecated, reason = "the older fields are named, too")]
fn one_of_those_whom_a_packet_is_for_is_taken_off_and_the_rest_stays() {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: false };
    let bob = (Identity::new("bob"), ParticipantSid::from_wire("PA_bob"));
    let addressed = |identities: &[&str], sids: &[&str]| {
        let all = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let user = UserPacket {
            destination_identities: all(identities),
            destination_sids: all(sids),
            ..user()
        };
        let packet =
            DataPacket { destination_identities: all(identities), ..of(Value::User(user)) };
        receive(&packet.encode_to_vec(), Delivery::Reliable, sender).unwrap()
    };
    let both = addressed(&["bob", "cy"], &["PA_bob", "PA_cy"]);
    let rest = unaddressed(&both.bytes, &bob.0, &bob.1).unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("bob"));
    let (rest, expect) = (DataPacket::decode(&*rest), addressed(&["cy"], &["PA_cy"]));
    assert_eq!(rest, DataPacket::decode(&*expect.bytes));

    let mut audience = both.audience;
    assert!(audience.names(&bob.0, &bob.1) && audience.remove(&bob.0, &bob.1));
    assert_eq!(audience, expect.audience);
    let mut alone = addressed(&["bob"], &["PA_bob"]).audience;
    assert!(!alone.remove(&bob.0, &bob.1), "nobody is left, which is not everybody");
}

#[test]
fn an_agents_packet_says_whose_words_it_holds() {
    let (sid, identity) = alice();
    let sender = Sender { sid: &sid, identity: &identity, hidden: false, agent: true };
    let transcription = proto::Transcription {
        transcribed_participant_identity: "bob".into(),
        ..Default::default()
    };
    let values = [
        (Value::ChatMessage(proto::ChatMessage::default()), Some("mallory")),
        (Value::Transcription(transcription), Some("bob")),
        (Value::User(user()), None),
    ];
    for (value, expect) in values {
        let bytes = of(value).encode_to_vec();
        let packet = receive(&bytes, Delivery::Reliable, sender).unwrap();
        assert_eq!(packet.on_behalf_of, expect.map(Identity::new));
    }
}
