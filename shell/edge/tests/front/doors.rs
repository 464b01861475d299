//! What HTTP clients are answered, over a real socket.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::house::{
    Answer, Heard, House, Hub, JOIN_REQUEST, SESSION, good_join, soon, token, upgrade,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::config::Limits;
use edge::limits::VISITS_TOKEN_BURST;
use edge::listener::Phase;
use edge::session::Refusal;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use wire::proto::{JoinRequest, WrappedJoinRequest, wrapped_join_request};
use wire::token::Claims;

/// A join request that says `reconnect`.
const RESUME_REQUEST: &str = "EgI4AQ==";

#[tokio::test]
async fn health_answers_get_and_head_to_any_origin() {
    let house = House::open().await;
    let got = house.ask("GET", "/").await;
    assert_eq!((got.status, got.body.as_str()), (200, "OK"));
    assert_eq!(got.header("access-control-allow-origin"), Some("*"));
    let headed = house.ask("HEAD", "/").await;
    assert_eq!((headed.status, headed.body.as_str()), (200, ""));
    assert_eq!(headed.header("content-length"), Some("2"));
    assert_eq!(headed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(house.ask("POST", "/").await.status, 405);
}

#[tokio::test]
async fn preflights_allow_what_sdks_send() {
    let house = House::open().await;
    for path in ["/", "/rtc/v1/validate", "/nothing"] {
        let headers = "origin: https://example.org\r\naccess-control-request-method: GET\r\n\
                       access-control-request-headers: authorization\r\n";
        let answer = house.ask_with("OPTIONS", path, headers).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("*, authorization"));
        assert_eq!(
            answer.header("access-control-allow-methods"),
            Some("options, head, get, post, patch, delete")
        );
        assert_eq!(answer.header("access-control-max-age"), Some("86400"));
    }
}

#[tokio::test]
async fn validate_judges_token_and_room() {
    let house = House::open().await;
    let check = async |target: String, status: u16, body: &str| {
        let answer = house.ask("GET", &target).await;
        assert_eq!((answer.status, answer.body.trim()), (status, body), "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{target}");
    };
    let good = token(|_| {});
    let changed = |change: fn(&mut Claims)| {
        format!("/rtc/v1/validate?access_token={}&join_request={JOIN_REQUEST}", token(change))
    };
    check(format!("/rtc/v1/validate?access_token={good}"), 200, "success").await;
    check(changed(|_| {}), 200, "success").await;
    check(format!("//rtc/v1/validate?access_token={good}"), 200, "success").await;
    let no_token = "no token: send `Authorization: Bearer …` or `?access_token=…`";
    check("/rtc/v1/validate".into(), 401, no_token).await;
    check("/rtc/v1/validate?access_token=a.b.c".into(), 401, "the token is malformed").await;
    check(changed(|claims| claims.expires_at = 1), 401, "the token has expired").await;
    check(changed(|claims| claims.video = None), 401, "permissions denied").await;
    check(changed(|claims| claims.identity.clear()), 400, "identity cannot be empty").await;
    let roomless = |claims: &mut Claims| claims.video.as_mut().unwrap().room.clear();
    check(changed(roomless), 400, "no room name").await;
    let odd = |claims: &mut Claims| claims.room_config = Some([0; 2].as_slice().into());
    check(changed(odd), 400, "the token's roomConfig is malformed or too large").await;
    let recorded = |claims: &mut Claims| {
        claims.room_config = Some([("egress", "all")].into_iter().collect());
    };
    let no_egress = "the token's roomConfig asks for egress, and this server has no Egress";
    check(changed(recorded), 400, no_egress).await;
    let broken = format!("/rtc/v1/validate?access_token={good}&join_request=%21");
    check(broken, 400, "cannot decode the wrapped join request").await;
    let old = "this server speaks /rtc/v1 alone: clients with one peer connection";
    // Of a 404 livekit-client takes that it should ask there, and asks there without end.
    check(format!("/rtc/validate?access_token={good}"), 403, old).await;
    check(format!("/rtc?access_token={good}"), 404, old).await;
    let old_door = format!("/rtc/validate?access_token={good}&join_request={JOIN_REQUEST}");
    check(old_door, 200, "success").await;
}

/// Its buffers would hold the token for as long as a proxy asks for others over it.
#[tokio::test]
async fn a_connection_over_which_a_token_of_ours_came_ends_with_its_answer() {
    let house = House::open().await;
    let good = token(|_| {});
    let late = token(|claims| claims.expires_at = 1);
    let forged = format!("{}.AAAA", good.rsplit_once('.').unwrap().0);
    for (target, status, ends) in [
        (format!("/rtc/v1/validate?access_token={good}"), 200, Some("close")),
        (format!("/rtc/v1?access_token={good}"), 426, Some("upgrade, close")),
        (format!("/rtc?access_token={good}"), 404, Some("close")),
        (format!("/rtc/v1/validate?access_token={late}"), 401, Some("close")),
        (format!("/twirp/livekit.Egress/ListEgress?access_token={good}"), 501, Some("close")),
        (format!("/rtc/v1/validate?access_token={forged}"), 401, None),
        ("/rtc/v1/validate".to_owned(), 401, None),
    ] {
        let mut stream = house.connect().await;
        let head = format!("GET {target} HTTP/1.1\r\nhost: test\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // One that goes on would have a second answer, which ends it.
        let more = "\r\nGET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        stream.write_all(more.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut stream).await;
        assert_eq!((answer.status, answer.header("connection")), (status, ends), "{target}");
    }
}

#[tokio::test]
async fn a_bearer_is_as_good_as_a_parameter() {
    let house = House::open().await;
    let bearer = format!("authorization: Bearer {}\r\n", token(|_| {}));
    assert_eq!(house.ask_with("GET", "/rtc/v1/validate", &bearer).await.status, 200);
    let basic = format!("authorization: Basic {}\r\n", token(|_| {}));
    assert_eq!(house.ask_with("GET", "/rtc/v1/validate", &basic).await.status, 401);
}

#[tokio::test]
async fn refusals_repeat_nothing_of_a_token() {
    let house = House::open().await;
    let good = token(|_| {});
    let (signed, _) = good.rsplit_once('.').unwrap();
    for wrong in [format!("{signed}.AAAA"), signed.to_owned(), "secretword".to_owned()] {
        let answer = house.ask("GET", &format!("/rtc/v1/validate?access_token={wrong}")).await;
        assert_eq!(answer.status, 401);
        assert!(!answer.body.contains("ada") && !answer.body.contains(&wrong), "{}", answer.body);
    }
}

#[tokio::test]
async fn only_websockets_pass_the_doors_and_only_with_a_join_request() {
    let house = House::open().await;
    for target in [good_join(), good_join().replace("/rtc/v1?", "/rtc?"), "/rtc/v1".into()] {
        let answer = house.ask("GET", &target).await;
        assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")), "{target}");
        assert!(answer.body.contains("leave out `Upgrade`"), "{}", answer.body);
    }
    let check = async |target: String, status: u16| {
        let mut stream = house.connect().await;
        let head = upgrade(&target).replace("host: test", "host: test\r\nx: y");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, status, "{target}");
    };
    let good = token(|_| {});
    check(format!("/rtc/v1?access_token={good}"), 400).await;
    check(format!("/rtc?access_token={good}"), 404).await;
    check(format!("/rtc/v1?join_request={JOIN_REQUEST}"), 401).await;
    check(format!("/rtc/v2?access_token={good}"), 404).await;
    assert_eq!(house.metrics.joins_refused_token.total(), 1);
    assert_eq!(house.metrics.joins_refused_request.total(), 1);
}

#[tokio::test]
async fn what_the_hub_refuses_has_a_status() {
    for (refusal, status, body) in [
        (Refusal::BadRequest("the offer does not parse"), 400, "the offer does not parse"),
        (Refusal::NotAllowed("removed"), 401, "removed"),
        (Refusal::NoRoom, 404, "requested room does not exist"),
        (Refusal::RoomFull, 403, "the room is full"),
        (Refusal::Unavailable("the node is full"), 503, "the node is full"),
    ] {
        let house = House::with(Limits::STANDARD, Hub::Refuses(refusal)).await;
        let mut stream = house.connect().await;
        stream.write_all(upgrade(&good_join()).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = Answer::read(&mut stream).await;
        assert_eq!((answer.status, answer.body.trim()), (status, body));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn a_request_line_may_have_16_kib() {
    let house = House::open().await;
    let target = |length: usize| {
        let head = format!("/rtc/v1/validate?access_token={}&x=", token(|_| {}));
        let padding = "y".repeat(length - "GET ".len() - head.len() - " HTTP/1.1\r".len());
        head + &padding
    };
    assert_eq!(house.ask("GET", &target(16 << 10)).await.status, 200);
    for length in [(16 << 10) + 1, 40 << 10, 1 << 20] {
        let answer = house.ask("GET", &target(length)).await;
        assert_eq!(answer.status, 414, "{length}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn a_later_request_line_is_measured_too() {
    let house = House::open().await;
    let mut stream = house.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    soon(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let line = format!("GET /?{} HTTP/1.1\r\n", "y".repeat(17 << 10));
    stream.write_all(line.as_bytes()).await.unwrap();
    stream.write_all(b"host: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("HTTP/1.1 414 "), "{rest}");
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let house = House::open().await;
    let head = |length: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx: ", "\r\n\r\n");
        format!("{start}{}{end}", "y".repeat(length - start.len() - end.len()))
    };
    let max = 32 << 10;
    for (length, status) in [(max, "200"), (max + 1, "431"), (40_000, "431"), (1 << 20, "431")] {
        for piece in [length, 1000] {
            let mut stream = house.connect().await;
            for bytes in head(length).as_bytes().chunks(piece) {
                // It is refused before it is read.
                drop(stream.write_all(bytes).await);
                tokio::task::yield_now().await;
            }
            let mut answer = [0; 12];
            soon(stream.read_exact(&mut answer)).await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(answer, format!("HTTP/1.1 {status}"), "{length} in {piece}");
        }
    }
    let many = "x: y\r\n".repeat(65);
    assert_eq!(house.ask_with("GET", "/", &many).await.status, 431);
}

#[tokio::test]
async fn an_unfinished_head_is_cut() {
    let limits = Limits { head_time: Duration::from_millis(50), ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    for start in ["", "GET / HTTP/1.1\r\n"] {
        let mut stream = house.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        soon(stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "{start}");
    }
    assert_eq!(house.metrics.connections_malformed.total(), 2);
}

#[tokio::test]
async fn whoever_asks_and_never_reads_is_cut() {
    let (unread_time, network_later_requests) = (Duration::from_millis(50), u64::MAX);
    let limits = Limits { unread_time, network_later_requests, ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let mut stream = house.connect().await;
    let asked = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(512);
    // As many as the buffers of both ends take, until nobody is there.
    soon(async { while stream.write_all(&asked).await.is_ok() {} }).await;
    soon(async {
        while house.metrics.connections_unread.total() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(house.metrics.connections_malformed.total(), 0);
}

#[tokio::test]
async fn a_full_node_says_so() {
    let limits = Limits { connections: 1, ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let mut first = house.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    soon(first.read_u8()).await.unwrap();
    let mut second = house.connect().await;
    let refused = Answer::read(&mut second).await;
    assert_eq!((refused.status, refused.body.as_str()), (503, "node is full\n"));
    assert_eq!(house.metrics.connections_refused.total(), 1);
}

#[tokio::test]
async fn a_busy_node_says_so_and_when_to_come_back() {
    let house = House::with(Limits::STANDARD, Hub::Refuses(Refusal::Busy)).await;
    let mut stream = house.connect().await;
    stream.write_all(upgrade(&good_join()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let refused = Answer::read(&mut stream).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("too busy"), "{}", refused.body);
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    assert_eq!(house.metrics.joins_refused_busy.total(), 1);
    assert_eq!(house.metrics.joins_refused_unavailable.total(), 0);

    let target = format!("/rtc/v1/validate?access_token={}", token(|_| {}));
    let answer = house.ask("GET", &target).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    house.pulse.answer_hub(7, true, Instant::now());
    let ready = house.ask("GET", "/readyz").await;
    assert!(ready.status == 503 && ready.body.starts_with("busy"), "{}", ready.body);
    assert_eq!(house.ask("GET", "/").await.status, 200, "whoever is in it is well");
}

#[tokio::test]
async fn who_asks_why_there_is_no_place_is_told_as_who_joins() {
    for (refusal, status, words) in [
        (Refusal::RoomFull, 403, "the room is full"),
        (Refusal::Unavailable("the node is full"), 503, "the node is full"),
        (
            Refusal::Busy,
            503,
            "the node is too busy for newcomers: try again in a while, or another one",
        ),
    ] {
        no_place(refusal, status, words).await;
    }
}

async fn no_place(refusal: Refusal, status: u16, words: &str) {
    let house = House::with(Limits::STANDARD, Hub::Refuses(refusal)).await;
    let check = async |target: String, status: u16| {
        let answer = house.ask("GET", &target).await;
        assert_eq!(answer.status, status, "{target}");
        let words = if status == 200 { "success" } else { words };
        assert_eq!(answer.body.trim(), words, "{target}");
    };
    let validate = |identity: &str, room: &str, more: &str| {
        let token = token(|claims| {
            claims.identity = identity.to_owned();
            claims.video.as_mut().unwrap().room = room.to_owned();
        });
        format!("/rtc/v1/validate?access_token={token}{more}")
    };
    let joins = format!("&join_request={JOIN_REQUEST}");
    let resumes = format!("&join_request={RESUME_REQUEST}");
    check(validate("ada", "den", ""), status).await;
    check(validate("ada", "den", &joins), status).await;
    // Who is here comes instead of itself.
    check(validate("eve", "den", ""), 200).await;
    check(validate("eve", "den", &joins), 200).await;
    check(validate("eve", "attic", &joins), status).await;
    // As the join would be: it is told to come afresh, not that the node is busy.
    check(validate("ada", "den", &resumes), 200).await;
}

#[tokio::test]
async fn a_network_has_a_share_of_the_connections() {
    let limits = Limits { network_connections: 2, ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = house.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        soon(stream.read_u8()).await.unwrap();
        held.push(stream);
    }
    let refused = Answer::read(&mut house.connect().await).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")));
    assert_eq!(refused.body, "too many connections from your network\n");
    assert_eq!(house.metrics.connections_over_budget.total(), 1);
    held.pop();
    // Its task ends once it has read that.
    while house.ask("GET", "/").await.status != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn wrong_tokens_are_looked_at_so_often_and_no_more() {
    let limits = Limits { network_wrong_tokens: 3, ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let validate = async |token: &str| {
        house.ask("GET", &format!("/rtc/v1/validate?access_token={token}")).await
    };
    let good = token(|_| {});
    for _ in 0..9 {
        assert_eq!(validate(&good).await.status, 200, "good ones are not counted");
    }
    let mut answers = Vec::new();
    while answers.len() < 100 && house.metrics.tokens_over_budget.total() == 0 {
        answers.push(validate("a.b.c").await.status);
    }
    // Some are given back meanwhile, a hundred a second.
    let (last, before) = answers.split_last().unwrap();
    assert!(*last == 429 && before.len() >= 3 && before.iter().all(|status| *status == 401));
    assert_eq!(house.metrics.tokens_over_budget.total(), 1);
    // And then they are looked at again.
    while validate(&good).await.status != 200 {}
}

#[tokio::test]
async fn a_network_may_ask_so_often_over_connections_that_it_has() {
    let limits = Limits { network_later_requests: 40, ..Limits::STANDARD };
    let house = House::with(limits, Hub::Admits).await;
    let mut stream = tokio::io::BufReader::new(house.connect().await);
    let mut answered = 0;
    let refused = loop {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut answer = vec![soon(stream.read_u8()).await.unwrap()];
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon(stream.read_u8()).await.unwrap());
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            break String::from_utf8(answer).unwrap();
        }
        soon(stream.read_u16()).await.unwrap();
        answered += 1;
        // Some are given back meanwhile, one each two milliseconds.
        assert!(answered < 10_000);
    };
    assert!(answered > 40, "{answered}");
    assert!(
        refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 5"),
        "{refused}"
    );
    let mut said = String::new();
    soon(stream.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "too many requests came from your network: try again in a while\n", "the end");
    assert_eq!(house.metrics.http_over_budget.total(), 1);
    assert_eq!(house.ask("GET", "/").await.status, 200, "a connection's first is paid for");
}

/// Nobody could join with it, and each time its signature is judged.
#[tokio::test]
async fn a_good_token_that_admits_nowhere_may_ask_as_often_as_others() {
    for (change, status) in [
        (
            (|claims: &mut Claims| claims.video.as_mut().unwrap().room_join = false) as fn(&mut _),
            401,
        ),
        (|claims: &mut Claims| claims.video.as_mut().unwrap().room.clear(), 400),
        (|claims: &mut Claims| claims.video = None, 401),
    ] {
        let house = House::open().await;
        let target = format!("/rtc/v1/validate?access_token={}", token(change));
        let most = usize::try_from(VISITS_TOKEN_BURST).unwrap();
        let mut asked = 0;
        while house.ask("GET", &target).await.status == status {
            asked += 1;
            assert!(asked < 10 * most);
        }
        assert!(asked >= most, "{asked}");
        assert_eq!(house.metrics.validations_refused_rate.total(), 1);
    }
}

/// Of some hundred requests with one token the rest is refused before anything of it is decompressed.
#[tokio::test]
async fn a_good_token_may_ask_so_often_and_no_more() {
    let house = House::open().await;
    let good = token(|_| {});
    let plain = format!("/rtc/v1/validate?access_token={good}");
    let most = usize::try_from(VISITS_TOKEN_BURST).unwrap();
    let mut answered = 0;
    while house.ask("GET", &plain).await.status == 200 {
        answered += 1;
        assert!(answered < 10 * most);
    }
    assert!(answered >= most, "{answered}");
    assert_eq!(house.metrics.validations_refused_rate.total(), 1);
    // The connection ends, though the client would go on.
    let mut stream = house.connect().await;
    let request = format!("GET {plain} HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut refused = Answer::read(&mut stream).await;
    while refused.status == 200 {
        // A tenth of a second has gone by.
        stream.write_all(request.as_bytes()).await.unwrap();
        refused = Answer::read(&mut stream).await;
    }
    let reason = "too many requests to join with this token: try again in a while\n";
    assert_eq!((refused.status, refused.body.as_str()), (429, reason));
    assert_eq!(refused.header("retry-after"), Some("5"));
    // Nothing of a request over budget is decompressed: what is no join request at all is not noticed.
    let broken = house.ask("GET", &format!("{plain}&join_request=!")).await.status;
    assert!(broken == 429 || broken == 400 && house.ask("GET", &plain).await.status == 429);
    // Others, of two of whom one may share its row.
    let others = ["bea", "carl"].map(|identity| token(|claims| claims.identity = identity.into()));
    let mut welcome = 0;
    for other in others {
        let target = format!("/rtc/v1/validate?access_token={other}");
        welcome += usize::from(house.ask("GET", &target).await.status == 200);
    }
    assert!(welcome > 0);
}

#[tokio::test]
async fn what_a_request_inflates_to_counts() {
    let house = House::open().await;
    let good = token(|_| {});
    let large = JoinRequest { metadata: "m".repeat(500_000), ..JoinRequest::default() };
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&large.encode_to_vec()).unwrap();
    let wrapped = WrappedJoinRequest {
        compression: wrapped_join_request::Compression::Gzip.into(),
        join_request: packed.finish().unwrap(),
    };
    let wrapped = URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec());
    let target = format!("/rtc/v1/validate?access_token={good}&join_request={wrapped}");
    let mut asked = 0;
    while house.ask("GET", &target).await.status != 429 {
        asked += 1;
        assert!(asked < 20, "half a megabyte counts as thirty requests");
    }
}

#[tokio::test]
async fn a_stopping_node_takes_no_joins() {
    let house = House::open().await;
    house.phase.send(Phase::Stopping).unwrap();
    let mut stream = house.connect().await;
    stream.write_all(upgrade(&good_join()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.status, 503);
    let target = format!("/rtc/v1/validate?access_token={}", token(|_| {}));
    assert_eq!(house.ask("GET", &target).await.status, 503);
    assert_eq!(house.ask("GET", "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_while_the_hub_ponders_leaves_no_session() {
    let (say, word) = oneshot::channel();
    let mut house = House::with(Limits::STANDARD, Hub::Ponders(word)).await;
    let mut stream = house.connect().await;
    stream.write_all(upgrade(&good_join()).as_bytes()).await.unwrap();
    assert!(matches!(house.hear().await, Heard::Knock));
    drop(stream);
    // The connection's task, and with it the future that waits for the hub, ends before the answer.
    while house.metrics.connections_malformed.total() == 0 {
        tokio::task::yield_now().await;
    }
    say.send(()).unwrap();
    let Heard::Closed(session) = house.hear().await else { panic!("no close") };
    assert_eq!(session, SESSION);
}

#[tokio::test]
async fn the_page_is_confined_and_other_origins_do_not_see_it() {
    let house = House::open().await;
    for path in ["/call", "/call/", "/call/assets/none.js"] {
        let answer = house.ask("GET", path).await;
        assert!(answer.header("content-security-policy").is_some(), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    // Whichever this was built with, the page or none.
    let answer = house.ask("GET", "/call").await;
    match answer.status {
        200 => assert!(answer.body.starts_with("<!doctype html>")),
        status => assert!(status == 503 && answer.body.contains("cargo xtask demo")),
    }
    assert_eq!(house.ask("GET", "/callers").await.status, 404);
    assert_eq!(house.ask("POST", "/call").await.status, 405);
}
