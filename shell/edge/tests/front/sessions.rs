//! What a signalling session's WebSocket does, over a real socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::house::{Client, Heard, House, Hub, SESSION, good_join, pong, soon, upgrade};
use edge::answers::Answers;
use edge::config::Limits;
use edge::limits::ANSWERS_ROOM_BYTES_MAX;
use edge::listener::Phase;
use edge::session::Outgoing;
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use wire::proto::{self, SignalRequest, SignalResponse, signal_request, signal_response};

fn ping(number: i64) -> SignalRequest {
    SignalRequest { message: Some(signal_request::Message::Ping(number)) }
}

async fn enter(house: &mut House) -> Client {
    let mut client = house.join(&good_join()).await;
    assert!(matches!(house.hear().await, Heard::Knock));
    // Before the client has sent anything, it is spoken to in protobuf.
    assert!(matches!(client.next().await, Some(Message::Binary(_))));
    client
}

#[tokio::test]
async fn messages_go_both_ways_in_the_encoding_of_the_client() {
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    let outbox = house.outboxes.recv().await.unwrap();

    client.0.send(Message::Binary(ping(7).encode_to_vec().into())).await.unwrap();
    let Heard::Request(request) = house.hear().await else { panic!("no request") };
    assert_eq!(*request, ping(7));
    outbox.send(Outgoing::Response(pong(7))).await.unwrap();
    let Some(Message::Binary(bytes)) = client.next().await else { panic!("not protobuf") };
    assert_eq!(SignalResponse::decode(bytes).unwrap(), *pong(7));

    client.0.send(Message::text(r#"{"ping":"8"}"#)).await.unwrap();
    let Heard::Request(request) = house.hear().await else { panic!("no request") };
    assert_eq!(*request, ping(8));
    outbox.send(Outgoing::Response(pong(8))).await.unwrap();
    let Some(Message::Text(text)) = client.next().await else { panic!("not JSON") };
    assert_eq!(serde_json::from_str::<SignalResponse>(&text).unwrap(), *pong(8));
}

#[tokio::test]
async fn a_client_that_closes_is_answered_and_the_hub_told() {
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    let frame = CloseFrame { code: 1000.into(), reason: "".into() };
    client.0.send(Message::Close(Some(frame))).await.unwrap();
    assert_eq!(client.close_code().await, Some(1000));
    house.hear_closed().await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let mut house = House::open().await;
    drop(enter(&mut house).await);
    house.hear_closed().await;
}

#[tokio::test]
async fn the_hub_closes_after_its_last_words() {
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    let outbox = house.outboxes.recv().await.unwrap();
    outbox.send(Outgoing::Response(pong(1))).await.unwrap();
    outbox.send(Outgoing::Close(4000.into(), "moved")).await.unwrap();
    assert!(matches!(client.next().await, Some(Message::Binary(_))));
    assert_eq!(client.close_code().await, Some(4000));
    house.hear_closed().await;
}

#[tokio::test]
async fn what_does_not_decode_closes_1007() {
    for frame in [
        Message::Binary(vec![0xff; 9].into()),
        Message::text("{"),
        Message::text("[".repeat(100)),
        Message::text(r#"{"ping":{}}"#),
    ] {
        let mut house = House::open().await;
        let mut client = enter(&mut house).await;
        client.0.send(frame.clone()).await.unwrap();
        assert_eq!(client.close_code().await, Some(1007), "{frame:?}");
        house.hear_closed().await;
        assert_eq!(house.metrics.sockets_undecodable.total(), 1);
    }
}

#[tokio::test]
async fn a_message_over_2_mib_closes_1009() {
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    // All of it is sent before the answer is read, as a browser would: more than what buffers on the
    // way hold.
    client.0.send(Message::Binary(vec![0; 7 << 20].into())).await.unwrap();
    assert_eq!(client.close_code().await, Some(1009));
    house.hear_closed().await;
    assert_eq!(house.metrics.sockets_oversized.total(), 1);
}

#[tokio::test]
async fn a_message_is_measured_before_it_is_there() {
    for head in [
        // Binary, whole, masked, 2 MiB and one byte long.
        vec![0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 1, 0, 0, 0, 0],
        // Binary, a fragment of 2 MiB, then one of one byte, and more to come.
        [
            vec![0x02, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0],
            vec![0; 2 << 20],
            vec![0x00, 0x81, 0, 0, 0, 0, 0],
        ]
        .concat(),
    ] {
        let mut house = House::open().await;
        let mut client = enter(&mut house).await;
        client.0.get_mut().write_all(&head).await.unwrap();
        assert_eq!(client.close_code().await, Some(1009));
        house.hear_closed().await;
    }
}

#[tokio::test]
async fn a_message_of_2_mib_is_taken() {
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    let padding = " ".repeat((2 << 20) - r#"{"ping":"1"}"#.len());
    client.0.send(Message::text(format!(r#"{{"ping":"1"{padding}}}"#))).await.unwrap();
    assert!(matches!(house.hear().await, Heard::Request(_)));
}

#[tokio::test]
async fn a_message_that_is_not_whole_in_time_closes_1008() {
    let limits = Limits { message_time: Duration::from_millis(50), ..Limits::STANDARD };
    for begun in [
        // A frame that is not whole, one that is with more to come, and half a head.
        vec![0x82, 0xfe, 0x40, 0, 0, 0, 0, 0, 7],
        vec![0x02, 0x81, 0, 0, 0, 0, 7],
        vec![0x82],
    ] {
        let mut house = House::with(limits, Hub::Admits).await;
        let mut client = enter(&mut house).await;
        client.0.get_mut().write_all(&begun).await.unwrap();
        // It goes on saying that it is there, where that breaks no frame.
        if begun[0] == 0x02 {
            client.0.get_mut().write_all(&frame(0x8a, b"")).await.unwrap();
        }
        assert_eq!(client.close_code().await, Some(1008), "{begun:?}");
        house.hear_closed().await;
        assert_eq!(house.metrics.sockets_unfinished.total(), 1);
    }
}

/// A frame of a client's, under a mask of zeros.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let len = u64::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first_byte, 0xff], &len[..], &[0; 4], payload].concat()
}

#[tokio::test]
async fn what_comes_around_large_messages_is_heard_in_order() {
    const LARGE: usize = 300_000;
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    // A field that nobody knows, of so many bytes.
    let large = |number| {
        let mut bytes = ping(number).encode_to_vec();
        prost::encoding::bytes::encode(1000, &vec![7; LARGE], &mut bytes);
        bytes
    };
    // Large in one frame, and in two with a ping of the WebSocket's between them, each followed at once.
    let (head, rest) = (large(3)[..1000].to_vec(), large(3)[1000..].to_vec());
    let all = [
        frame(0x82, &large(1)),
        frame(0x82, &ping(2).encode_to_vec()),
        frame(0x02, &head),
        frame(0x89, b"still there?"),
        frame(0x80, &rest),
        frame(0x82, &ping(4).encode_to_vec()),
    ];
    client.0.get_mut().write_all(&all.concat()).await.unwrap();
    for number in 1..=4 {
        let Heard::Request(request) = house.hear().await else { panic!("no request {number}") };
        assert_eq!(*request, ping(number));
    }
    let answer = soon(client.0.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(b"still there?".as_slice().into()));
}

#[tokio::test]
async fn what_is_no_websocket_frame_closes_1002() {
    let mut house = House::open().await;
    let mut client = enter(&mut house).await;
    // All three reserved bits set.
    client.0.get_mut().write_all(&[0xf2, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(client.close_code().await, Some(1002));
    house.hear_closed().await;
    assert_eq!(house.metrics.sockets_broken.total(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let limits = Limits { write_time: Duration::from_millis(100), ..Limits::STANDARD };
    let mut house = House::with(limits, Hub::Admits).await;
    let client = enter(&mut house).await;
    let outbox = house.outboxes.recv().await.unwrap();
    let refresh = signal_response::Message::RefreshToken("x".repeat(1 << 20));
    let large = Arc::new(SignalResponse { message: Some(refresh) });
    // More than what any socket buffers hold; the outbox closes once the session is cut.
    while soon(outbox.send(Outgoing::Response(Arc::clone(&large)))).await.is_ok() {}
    house.hear_closed().await;
    assert_eq!(house.metrics.sockets_slow.total(), 1);
    drop(client);
}

/// What waits for it, ten megabytes and more, is not written any more: that may take ten seconds for each message.
#[tokio::test]
async fn a_client_that_the_hub_cuts_is_gone_at_once() {
    let mut house = House::open().await;
    let client = enter(&mut house).await;
    let outbox = house.outboxes.recv().await.unwrap();
    let cut = house.cuts.recv().await.unwrap();
    let refresh = signal_response::Message::RefreshToken("x".repeat(1 << 20));
    let large = Arc::new(SignalResponse { message: Some(refresh) });
    while outbox.try_send(Outgoing::Response(Arc::clone(&large))).is_ok() {}
    let began = Instant::now();
    cut.send(()).unwrap();
    house.hear_closed().await;
    assert!(began.elapsed() < Limits::STANDARD.write_time / 4);
    drop(client);
}

/// As when its participant joins again: whoever reads hears why, and who does not is waited for no longer than that.
#[tokio::test]
async fn a_session_that_the_hub_forgot_is_waited_for_a_moment() {
    for reads in [true, false] {
        let mut house = House::open().await;
        let mut client = enter(&mut house).await;
        let outbox = house.outboxes.recv().await.unwrap();
        let refresh = signal_response::Message::RefreshToken("x".repeat(1 << 20));
        let large = Arc::new(SignalResponse { message: Some(refresh) });
        for _ in 0..20 {
            outbox.try_send(Outgoing::Response(Arc::clone(&large))).ok().unwrap();
        }
        let last = signal_response::Message::Leave(proto::LeaveRequest::default());
        let last = Arc::new(SignalResponse { message: Some(last) });
        outbox.try_send(Outgoing::Response(last)).ok().unwrap();
        outbox.try_send(Outgoing::Close(1000.into(), "left")).ok().unwrap();
        let began = Instant::now();
        drop((outbox, house.cuts.recv().await.unwrap()));
        if reads {
            for _ in 0..20 {
                client.next().await.unwrap();
            }
            let Some(Message::Binary(leave)) = client.next().await else { panic!("no message") };
            let leave = SignalResponse::decode(leave).unwrap().message.unwrap();
            assert!(matches!(leave, signal_response::Message::Leave(_)));
            assert_eq!(client.close_code().await, Some(1000));
            house.hear_closed().await;
        } else {
            house.hear_closed().await;
            assert!(began.elapsed() < Limits::STANDARD.write_time / 2, "{:?}", began.elapsed());
            drop(client);
        }
        assert_eq!(house.metrics.sockets_slow.total(), u64::from(!reads));
    }
}

#[tokio::test]
async fn a_client_whose_outbox_the_hub_gave_up_is_cut() {
    let mut house = House::open().await;
    let client = enter(&mut house).await;
    drop(house.outboxes.recv().await.unwrap());
    assert_eq!(client.close_code().await, None);
    house.hear_closed().await;
}

const HOUR: Duration = Duration::from_secs(3600);

const QUICK: Limits = Limits {
    ping_every: Duration::from_millis(200),
    silence: Duration::from_secs(1),
    ..Limits::STANDARD
};

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let mut house = House::with(QUICK, Hub::Admits).await;
    let client = enter(&mut house).await;
    // Nobody reads the client's side, so nobody answers the pings.
    house.hear_closed().await;
    assert_eq!(house.metrics.sockets_silent.total(), 1);
    drop(client);
}

#[tokio::test]
async fn pongs_alone_keep_a_session() {
    let mut house = House::with(QUICK, Hub::Admits).await;
    let mut client = enter(&mut house).await;
    // Reading answers pings. Four times the silence that would end it:
    let reading = async { while let Some(Ok(Message::Ping(_))) = client.0.next().await {} };
    let outcome = tokio::time::timeout(QUICK.silence * 4, reading).await;
    assert!(outcome.is_err(), "the session ended");
    assert_eq!(house.metrics.sockets_silent.total(), 0);
}

#[tokio::test]
async fn a_stop_says_1001_after_what_the_hub_said() {
    const LAST_WORDS: i64 = 64;
    // Whoever waits for these is found out.
    let limits = Limits { head_time: HOUR, drain: HOUR, ..Limits::STANDARD };
    let mut house = House::with(limits, Hub::Admits).await;
    let mut client = enter(&mut house).await;
    let outbox = house.outboxes.recv().await.unwrap();
    let mut idle = house.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    soon(idle.read_u8()).await.unwrap();
    for number in 1..=LAST_WORDS {
        outbox.send(Outgoing::Response(pong(number))).await.unwrap();
    }
    house.phase.send(Phase::Closing).unwrap();
    for number in 1..=LAST_WORDS {
        let Some(Message::Binary(bytes)) = client.next().await else { panic!("{number} is lost") };
        assert_eq!(SignalResponse::decode(bytes).unwrap(), *pong(number));
    }
    assert_eq!(client.close_code().await, Some(1001));
    house.hear_closed().await;
    let mut rest = Vec::new();
    soon(idle.read_to_end(&mut rest)).await.unwrap();
    soon(house.served).await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let limits = Limits { head_time: HOUR, drain: Duration::from_millis(50), ..Limits::STANDARD };
    let mut house = House::with(limits, Hub::Admits).await;
    let client = enter(&mut house).await;
    let mut unfinished = house.connect().await;
    unfinished.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // Connections are accepted in order.
    assert_eq!(house.ask("GET", "/").await.status, 200);
    house.phase.send(Phase::Closing).unwrap();
    soon(&mut house.served).await.unwrap();
    house.hear_closed().await;
    drop(client);
}

#[tokio::test]
async fn a_panic_in_a_connection_ends_that_connection_alone() {
    // A session cannot ping every no time at all: its task panics when it begins.
    let limits = Limits { ping_every: Duration::ZERO, ..Limits::STANDARD };
    let mut broken = House::with(limits, Hub::Admits).await;
    let mut victim = broken.join(&good_join()).await;
    assert!(matches!(broken.hear().await, Heard::Knock));
    assert!(!matches!(victim.next().await, Some(Message::Binary(_))), "nobody is there");
    assert!(matches!(broken.hear().await, Heard::Closed(SESSION)), "the hub hears of it");
    assert_eq!(broken.ask("GET", "/").await.status, 200);
    assert_eq!(broken.metrics.connections_panicked.total(), 1);
}

/// Whoever comes when others have not read yet what they are told of large rooms.
#[tokio::test]
async fn who_has_to_wait_for_room_is_let_in_when_there_is_some_and_told_so_when_there_is_none() {
    let node = Answers::default();
    let room = node.of_room();
    let taken = room.take(1 << 20).unwrap();
    let limits = Limits { answer_wait: Duration::from_secs(1), ..Limits::STANDARD };
    let mut house = House::with(limits, Hub::Reserves(room.clone())).await;
    let (target, began) = (good_join(), Instant::now());
    let head = upgrade(&target);
    let (_, headers) = head.split_once("\r\n").unwrap();
    let headers = headers.trim_end().to_owned() + "\r\n";
    let refused = house.ask_with("GET", &target, &headers).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(began.elapsed() >= limits.answer_wait);
    assert!(refused.body.contains("unread"), "{}", refused.body);
    assert!(matches!(house.hear().await, Heard::Knock));
    assert_eq!(house.metrics.joins_refused_crowded.total(), 1);
    let mut stream = house.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(matches!(house.hear().await, Heard::Knock), "it knocks");
    drop(taken);
    assert!(matches!(house.hear().await, Heard::Knock), "and once more");
    let mut head = [0; 12];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
}

/// Else it would come in when there is room, for nobody, and keep others waiting until then.
#[tokio::test]
async fn who_hangs_up_waits_for_room_no_longer() {
    let room = Answers::default().of_room();
    let left = ANSWERS_ROOM_BYTES_MAX - (1 << 20);
    let _taken = room.take(1 << 20).unwrap();
    let mut house = House::with(Limits::STANDARD, Hub::Reserves(room.clone())).await;
    let mut stream = house.connect().await;
    stream.write_all(upgrade(&good_join()).as_bytes()).await.unwrap();
    assert!(matches!(house.hear().await, Heard::Knock), "it knocks");
    let began = Instant::now();
    while room.take(left).is_ok() {
        assert!(began.elapsed() < Limits::STANDARD.answer_wait, "it waits");
        tokio::task::yield_now().await;
    }
    drop(stream);
    while room.take(left).is_err() {
        assert!(began.elapsed() < Limits::STANDARD.answer_wait / 2, "it waits on");
        tokio::task::yield_now().await;
    }
}

/// In JSON a message may be six times as long as was reckoned, and there may be no room for that.
#[tokio::test]
async fn an_answer_that_is_longer_in_json_than_there_is_room_for_is_not_written() {
    let node = Answers::default();
    let room = node.of_room();
    let escaped = signal_response::Message::RefreshToken("\u{1}".repeat(1 << 20));
    let answer = SignalResponse { message: Some(escaped) };
    for (left, code) in [(6 << 20, None), (4 << 20, Some(1013))] {
        let _others = room.take(ANSWERS_ROOM_BYTES_MAX - left - (2 << 20)).unwrap();
        let part = room.take(2 << 20).unwrap();
        let mut house = House::open().await;
        let mut client = enter(&mut house).await;
        let outbox = house.outboxes.recv().await.unwrap();
        client.0.send(Message::text(r#"{"ping":"8"}"#)).await.unwrap();
        assert!(matches!(house.hear().await, Heard::Request(_)));
        outbox.send(Outgoing::Answer(Box::new((answer.clone(), part)))).await.unwrap();
        if code.is_none() {
            let Some(Message::Text(text)) = client.next().await else { panic!("not JSON") };
            assert!(text.len() > 6 << 20);
            assert!(room.take(left).is_ok(), "what it took is given back");
        } else {
            assert_eq!(client.close_code().await, code);
            assert_eq!(house.metrics.joins_refused_crowded.total(), 1);
        }
    }
}
