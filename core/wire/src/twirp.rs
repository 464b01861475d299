//! Twirp: how a request to the server API is encoded, and how it is refused.
//!
//! Owns: error codes with their names and HTTP statuses, the JSON of an error, content types.
//! Guarantees: an error repeats nothing of the request that it refuses.
//! Not here: which methods there are (`room_service`), HTTP itself (`edge`).
//! Source: Twirp wire protocol v7, `https://twitchtv.github.io/twirp/docs/spec_v7.html`.

use std::borrow::Cow;

use crate::frame::Encoding;

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The body cannot be decoded.
    Malformed,
    /// No such method, or not asked by POST in protobuf or JSON.
    BadRoute,
    /// No token, one that is not believed, or one without the right.
    Unauthenticated,
    /// The request breaks a bound or contradicts itself.
    InvalidArgument,
    /// No such room, participant or track.
    NotFound,
    /// It may not be done as things are.
    FailedPrecondition,
    /// Too much at once.
    ResourceExhausted,
    /// The body is longer than is read. On the wire as [`Self::ResourceExhausted`], with 413 for its status.
    TooLarge,
    /// The body did not come in time, or the hub was too busy.
    DeadlineExceeded,
    /// A method of LiveKit's that is not served here.
    Unimplemented,
    /// The node is stopping.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::BadRoute,
        Self::Unauthenticated,
        Self::InvalidArgument,
        Self::NotFound,
        Self::FailedPrecondition,
        Self::ResourceExhausted,
        Self::TooLarge,
        Self::DeadlineExceeded,
        Self::Unimplemented,
        Self::Unavailable,
        Self::Internal,
    ];

    /// As the wire has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadRoute => "bad_route",
            Self::Unauthenticated => "unauthenticated",
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted | Self::TooLarge => "resource_exhausted",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::InvalidArgument => 400,
            Self::Unauthenticated => 401,
            Self::BadRoute | Self::NotFound => 404,
            Self::DeadlineExceeded => 408,
            Self::FailedPrecondition => 412,
            Self::TooLarge => 413,
            Self::ResourceExhausted => 429,
            Self::Internal => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
        }
    }
}

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Of which kind.
    pub code: Code,
    /// A sentence without full stop for the one who asked.
    pub message: Cow<'static, str>,
}

impl Error {
    /// An error whose message is always the same.
    #[must_use]
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "code": self.code.name(), "msg": self.message }).to_string()
    }
}

/// What the addresses of all services begin with.
pub const PREFIX: &str = "twirp/";

/// LiveKit's services, but for `RoomService`. Names come from here and never from an address.
const NOT_HERE: [&str; 10] = [
    "AgentDBService",
    "AgentDispatchService",
    "AgentSimulation",
    "CloudAgent",
    "Connector",
    "Egress",
    "Ingress",
    "PhoneNumberService",
    "Replay",
    "SIP",
];

/// What is answered to a request at an address with [`PREFIX`] that is of no service that is served.
#[must_use]
pub fn unserved(path: &str) -> Error {
    let named = path.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix("livekit."));
    let named = named.and_then(|rest| rest.split_once('/')).map(|(service, _)| service);
    let known = NOT_HERE.into_iter().find(|service| Some(*service) == named);
    known.map_or(Error::new(Code::BadRoute, "no such service"), |service| Error {
        code: Code::Unimplemented,
        message: Cow::Owned(format!("this server has no {service}")),
    })
}

/// How a body of this content type is encoded, and its answer with it.
#[must_use]
pub fn encoding_of(content_type: &str) -> Option<Encoding> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/protobuf") {
        Some(Encoding::Protobuf)
    } else if kind.eq_ignore_ascii_case("application/json") {
        Some(Encoding::Json)
    } else {
        None
    }
}

/// The content type of an answer.
#[must_use]
pub const fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => "application/protobuf",
        Encoding::Json => "application/json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_written_as_twirp_wants_it() {
        let error = Error::new(Code::NotFound, "no \"such\" room");
        assert_eq!(error.to_json(), r#"{"code":"not_found","msg":"no \"such\" room"}"#);
    }

    #[test]
    fn codes_have_the_statuses_of_the_specification() {
        let table: Vec<(&str, u16)> =
            Code::ALL.iter().map(|code| (code.name(), code.status())).collect();
        for expect in [
            ("malformed", 400),
            ("bad_route", 404),
            ("unauthenticated", 401),
            ("invalid_argument", 400),
            ("not_found", 404),
            ("failed_precondition", 412),
            ("resource_exhausted", 429),
            ("deadline_exceeded", 408),
            ("unimplemented", 501),
            ("unavailable", 503),
            ("internal", 500),
        ] {
            assert!(table.contains(&expect), "{expect:?}");
        }
    }

    #[test]
    fn services_that_are_not_here_are_named_if_they_are_livekits() {
        for service in NOT_HERE {
            let error = unserved(&format!("twirp/livekit.{service}/Start"));
            assert_eq!(error.code, Code::Unimplemented);
            assert_eq!(error.message, format!("this server has no {service}"));
        }
        for other in
            ["", "livekit.Egress", "livekit.egress/Start", "livekit.<b>/Start", "Egress/Start"]
        {
            let error = unserved(&format!("twirp/{other}"));
            assert_eq!(
                (error.code, &*error.message),
                (Code::BadRoute, "no such service"),
                "{other}"
            );
        }
    }

    #[test]
    fn content_types_may_have_parameters() {
        assert_eq!(encoding_of("application/json;charset=UTF-8"), Some(Encoding::Json));
        assert_eq!(encoding_of("Application/Protobuf"), Some(Encoding::Protobuf));
        for other in ["", "text/plain", "application/jsonp", "application/x-protobuf"] {
            assert_eq!(encoding_of(other), None, "{other}");
        }
    }
}
