//! What back ends are answered before the hub hears of them, over a real socket; and health.

use std::time::{Duration, Instant};

use edge::config::Limits;
use edge::limits::{API_REQUESTS_EACH_MAX, API_REQUESTS_MAX};
use edge::listener::Phase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::grant::VideoGrant;
use wire::limits::API_BODY_MAX;
use wire::token::{Claims, mint_refresh, verify};

use crate::house::{Answer, House, Hub, access, soon, token};

const LIST: &str = "/twirp/livekit.RoomService/ListRooms";
const GET: &str = "/twirp/livekit.RoomService/GetParticipant";
const JSON: &str = "content-type: application/json; charset=utf-8\r\n";

/// A header with the token of a back end that may list rooms and moderates the room red.
fn bearer(change: impl FnOnce(&mut VideoGrant)) -> String {
    let mut video = VideoGrant {
        room_list: true,
        room_admin: true,
        room: "red".into(),
        ..VideoGrant::default()
    };
    change(&mut video);
    let token = token(|claims: &mut Claims| {
        claims.identity.clear();
        claims.video = Some(video);
    });
    format!("authorization: Bearer {token}\r\n")
}

fn code(answer: &Answer) -> (u16, &str) {
    let (_, rest) = answer.body.split_once(r#""code":""#).unwrap_or(("", &answer.body));
    (answer.status, rest.split('"').next().unwrap())
}

#[tokio::test]
async fn a_method_is_answered_in_the_encoding_that_it_was_asked_in() {
    let house = House::open().await;
    let admin = bearer(|_| {});
    let answer = house.post(LIST, &format!("{admin}{JSON}"), b"{}").await;
    assert_eq!(answer.status, 200);
    for part in [r#"{"rooms":[{"#, r#""name":"red""#, r#""name":"blue""#, r#""num_participants":0"#]
    {
        assert!(answer.body.contains(part), "{}", answer.body);
    }
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let protobuf = format!("{admin}content-type: application/protobuf\r\n");
    let answer = house.post(LIST, &protobuf, b"").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "\n\u{5}\u{12}\u{3}red\n\u{6}\u{12}\u{4}blue")
    );
    assert_eq!(answer.header("content-type"), Some("application/protobuf"));
}

#[tokio::test]
async fn what_is_not_asked_rightly_has_a_twirp_error() {
    let house = House::open().await;
    let admin = format!("{}{JSON}", bearer(|_| {}));
    let check = async |target: &str, headers: &str, body: &str, expect: (u16, &str)| {
        let answer = house.post(target, headers, body.as_bytes()).await;
        assert_eq!(code(&answer), expect, "{target} {body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
    };
    check("/twirp/livekit.RoomService/Sing", &admin, "{}", (404, "bad_route")).await;
    check(LIST, &bearer(|_| {}), "{}", (404, "bad_route")).await;
    check(LIST, JSON, "{}", (401, "unauthenticated")).await;
    check(LIST, &format!("authorization: Bearer a.b.c\r\n{JSON}"), "{}", (401, "unauthenticated"))
        .await;
    let no_list = format!("{}{JSON}", bearer(|video| video.room_list = false));
    check(LIST, &no_list, "{}", (401, "unauthenticated")).await;
    check(LIST, &admin, "nonsense", (400, "malformed")).await;
    let named = |room: &str| format!(r#"{{"room":"{room}","identity":"ada"}}"#);
    check(GET, &admin, &named("blue"), (401, "unauthenticated")).await;
    check(GET, &admin, &named(""), (400, "invalid_argument")).await;
    check(GET, &admin, &named("red"), (404, "not_found")).await;
    check("/twirp/livekit.RoomService/PerformRpc", &admin, &named("red"), (501, "unimplemented"))
        .await;
    assert_eq!(house.ask_with("GET", LIST, &admin).await.status, 404);
    for (target, status, error) in [
        ("/twirp/livekit.Egress/ListEgress", 501, "unimplemented"),
        ("//twirp/livekit.SIP/ListSIPTrunk", 501, "unimplemented"),
        ("/twirp/livekit.Nobody/Nothing", 404, "bad_route"),
        ("/twirp/", 404, "bad_route"),
    ] {
        check(target, &admin, "{}", (status, error)).await;
        check(target, "", "", (status, error)).await;
    }
}

/// Who has the server's own secret would moderate by it, though the back end's key is somewhere else.
#[tokio::test]
async fn a_token_to_come_back_with_asks_for_nothing() {
    let house = House::open().await;
    let admin = bearer(|_| {});
    let (keys, now) = (house.access.borrow().keys.clone(), 0);
    let text = admin.trim_end().rsplit_once(' ').unwrap().1;
    let token = verify(&keys, text, now).unwrap();
    let refreshed = mint_refresh(&keys, &token, now).unwrap();
    for (text, expect) in [(text, 200), (&refreshed, 401)] {
        let headers = format!("authorization: Bearer {text}\r\n{JSON}");
        assert_eq!(house.post(LIST, &headers, b"{}").await.status, expect);
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_the_refusal_arrives() {
    let house = House::open().await;
    let admin = format!("{}{JSON}", bearer(|_| {}));
    let longest = house.post(LIST, &admin, &vec![b' '; API_BODY_MAX]).await;
    assert_eq!(code(&longest), (400, "malformed"));
    let longer = house.post(LIST, &admin, &vec![b' '; API_BODY_MAX + 1]).await;
    assert_eq!(code(&longer), (413, "resource_exhausted"));
}

#[tokio::test]
async fn a_token_whose_key_goes_while_its_body_comes_is_refused() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let head = format!(
        "POST {LIST} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n{}{JSON}\r\n",
        bearer(|_| {})
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It says so once it wants the body, and so believes the token.
    let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    soon(stream.read_exact(&mut asked)).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 "));
    house.access.send_replace(access([]));
    stream.write_all(b"{}").await.unwrap();
    let refused = Answer::read(&mut stream).await;
    assert_eq!(code(&refused), (401, "unauthenticated"));
    assert!(refused.body.contains("unknown API key"), "{}", refused.body);
}

#[tokio::test]
async fn an_answer_that_would_be_too_long_is_not_gathered() {
    let house = House::open().await;
    let admin = format!("{}{JSON}", bearer(|_| {}));
    let list = "/twirp/livekit.RoomService/ListParticipants";
    let endless = house.post(list, &admin, br#"{"room":"red"}"#).await;
    assert_eq!(code(&endless), (429, "resource_exhausted"));
    assert!(endless.body.contains("ask for less"), "{}", endless.body);
    let endless = house.post(LIST, &admin, br#"{"names":["endless"]}"#).await;
    assert_eq!(code(&endless), (429, "resource_exhausted"));
    assert!(endless.body.contains("ask for less"), "{}", endless.body);
}

#[tokio::test]
async fn no_body_is_read_for_a_token_without_the_right() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    let refused = bearer(|video| video.room_list = false);
    let head = format!(
        "POST {LIST} HTTP/1.1\r\nhost: test\r\n{refused}{JSON}content-length: 1000\r\n\r\n"
    );
    // The body never comes, and the answer does.
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    soon(stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 401");
}

#[tokio::test]
async fn a_connection_ends_with_its_answer() {
    let house = House::open().await;
    for (right, status) in [(true, 200), (false, 401)] {
        let mut stream = house.connect().await;
        let headers = format!("{}{JSON}", bearer(|video| video.room_list = right));
        let head =
            format!("POST {LIST} HTTP/1.1\r\nhost: test\r\n{headers}content-length: 2\r\n\r\n{{}}");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut stream).await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
    }
}

/// A connection on which a request to list rooms was begun, of which the body does not come.
async fn unfinished(house: &House, bearer: &str) -> TcpStream {
    let mut stream = house.connect().await;
    let headers = format!("{bearer}{JSON}content-length: 2\r\n\r\n");
    let head = format!("POST {LIST} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { body_time: Duration::from_millis(50), ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let mut stream = unfinished(&house, &bearer(|_| {})).await;
    assert_eq!(code(&Answer::read(&mut stream).await), (408, "deadline_exceeded"));
}

#[tokio::test]
async fn a_back_end_that_asks_for_too_much_at_once_is_refused_until_it_asks_for_less() {
    let house = House::open().await;
    // As many tokens as it takes to have every place, and one more.
    let tokens: Vec<String> = (0..=API_REQUESTS_MAX / API_REQUESTS_EACH_MAX)
        .map(|number| bearer(|video| video.room = format!("room-{number}")))
        .collect();
    let (last, others) = tokens.split_last().unwrap();
    let mut waiting = Vec::new();
    for token in others {
        let request = format!("{token}{JSON}");
        assert_eq!(house.post(LIST, &request, b"{}").await.status, 200, "others do not cost it");
        for _ in 0..API_REQUESTS_EACH_MAX {
            waiting.push(unfinished(&house, token).await);
        }
        // Each of them has its place once it has been read.
        while house.post(LIST, &request, b"{}").await.status != 429 {}
    }
    let last = format!("{last}{JSON}");
    assert_eq!(code(&house.post(LIST, &last, b"{}").await), (429, "resource_exhausted"));
    let mut first = waiting.pop().unwrap();
    first.write_all(b"{}").await.unwrap();
    assert_eq!(Answer::read(&mut first).await.status, 200);
    assert_eq!(house.post(LIST, &last, b"{}").await.status, 200);
}

#[tokio::test]
async fn a_stopping_node_serves_no_back_end_and_says_so() {
    let house = House::open().await;
    assert_eq!(house.ask("GET", "/readyz").await.status, 200);
    house.phase.send_replace(Phase::Stopping);
    let admin = format!("{}{JSON}", bearer(|_| {}));
    assert_eq!(code(&house.post(LIST, &admin, b"{}").await), (503, "unavailable"));
    let ready = house.ask("GET", "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "stopping\n"));
    assert_eq!(house.ask("GET", "/livez").await.status, 200);
    assert_eq!(house.ask("GET", "/").await.status, 200);
}

#[tokio::test]
async fn a_node_whose_hub_is_silent_lives_and_is_not_ready() {
    let origin = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    let house = House::since(origin, Limits::STANDARD, Hub::Admits).await;
    let ready = house.ask("GET", "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "the hub does not answer\n"));
    assert_eq!(house.ask("GET", "/").await.status, 406);
    let alive = house.ask("GET", "/livez").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "alive\n"));
    assert_eq!(house.ask("HEAD", "/readyz").await.status, 503);
    // HAProxy's check, if it is told nothing else.
    assert_eq!(house.ask("OPTIONS", "/").await.status, 406);
    assert_eq!(house.ask("OPTIONS", "/readyz").await.status, 503);
    assert_eq!(house.ask("POST", "/livez").await.status, 405);
}

#[tokio::test]
async fn a_full_node_is_not_ready() {
    let limits = Limits { participants: 0, ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let ready = house.ask("GET", "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("full"), "{}", ready.body);
}
