//! The call page, as it was when the binary was built.
//!
//! Owns: which file answers which path, its caching and the headers that confine the page.
//! Guarantees: no script, style, font or connection but this origin's; the page's files never leave
//! with a header that would let another page embed them.
//! Not here: the page itself (`web/`), how it gets into the binary (`build.rs`).

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

include!(concat!(env!("OUT_DIR"), "/page_assets.rs"));

const INDEX: &str = "index.html";

/// Vite names the files in here after a hash of their content.
const HASHED: &str = "assets/";

const NOT_BUILT: &str = "the call page is not in this binary\n\
    run `cargo xtask demo`, or `npm ci && npm run build` in web/ and build the server again\n";

const CONFINEMENT: [(HeaderName, &str); 8] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // The token came to the page in its address.
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (VARY, "accept-encoding"),
];

const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), \
    fullscreen=(self), screen-wake-lock=(self), autoplay=(self), geolocation=(), payment=(), usb=()";

/// One file of the page.
struct Asset {
    /// Below `/call/`, without a slash in front.
    path: &'static str,
    content_type: &'static str,
    /// Of the uncompressed bytes.
    digest: &'static str,
    bytes: &'static [u8],
    gzip: Option<&'static [u8]>,
}

/// Answers a request for `path` below `/call/`; the empty path is the page itself.
pub(crate) fn answer(path: &str, request: &HeaderMap) -> Response {
    let path = if path.is_empty() { INDEX } else { path };
    let mut response = if ASSETS.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, [(CACHE_CONTROL, "no-store")], NOT_BUILT).into_response()
    } else {
        match ASSETS.iter().find(|asset| asset.path == path) {
            Some(asset) => asset.answer(request),
            None => (StatusCode::NOT_FOUND, "no such file in the call page\n").into_response(),
        }
    };
    for (name, value) in CONFINEMENT {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Asset {
    fn answer(&self, request: &HeaderMap) -> Response {
        let (bytes, encoding) = match self.gzip {
            Some(compressed) if takes_gzip(request) => (compressed, Some("gzip")),
            Some(_) | None => (self.bytes, None),
        };
        let etag = format!("\"{}{}\"", self.digest, if encoding.is_some() { "-gz" } else { "" });
        let known = is_known(request, &etag);
        let mut response = Response::new(if known { Body::empty() } else { Body::from(bytes) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.caching()));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Ok(etag) = HeaderValue::try_from(etag) {
            headers.insert(ETAG, etag);
        }
        response
    }

    fn caching(&self) -> &'static str {
        if self.path.starts_with(HASHED) {
            "public, max-age=31536000, immutable"
        } else if self.path == INDEX {
            "no-store"
        } else {
            "no-cache"
        }
    }
}

/// Whether the client takes gzip: named, and not with a weight of zero (RFC 9110 §12.5.3).
fn takes_gzip(request: &HeaderMap) -> bool {
    list(request, &ACCEPT_ENCODING).any(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>() == Ok(0.0))
        });
        named && !refused
    })
}

fn is_known(request: &HeaderMap, etag: &str) -> bool {
    list(request, &IF_NONE_MATCH)
        .any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

/// The members of a comma-separated header.
fn list<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = request.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Asset = Asset {
        path: "assets/main-1a2b.js",
        content_type: "text/javascript; charset=utf-8",
        digest: "00ff",
        bytes: b"let plain",
        gzip: Some(b"gz"),
    };

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_is_served_to_those_who_take_it() {
        for (accepts, compressed) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("", false),
        ] {
            let response = SCRIPT.answer(&headers(ACCEPT_ENCODING, accepts));
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), compressed, "{accepts}");
        }
    }

    #[test]
    fn an_etag_names_one_encoding_of_one_content() {
        let plain = SCRIPT.answer(&HeaderMap::new());
        let compressed = SCRIPT.answer(&headers(ACCEPT_ENCODING, "gzip"));
        assert_eq!(plain.headers()[ETAG], "\"00ff\"");
        assert_eq!(compressed.headers()[ETAG], "\"00ff-gz\"");
        let again = SCRIPT.answer(&headers(IF_NONE_MATCH, "\"other\", \"00ff\""));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let changed = SCRIPT.answer(&headers(IF_NONE_MATCH, "\"00ff-gz\""));
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[test]
    fn only_hashed_files_are_kept_for_ever() {
        let caching = |path| Asset { path, ..SCRIPT }.caching();
        assert!(caching("assets/main-1a2b.js").contains("immutable"));
        assert_eq!(caching("icon.svg"), "no-cache");
        assert_eq!(caching("index.html"), "no-store");
    }

    #[test]
    fn every_answer_confines_the_page() {
        for path in ["", "assets/nothing.js", "../secret"] {
            let response = answer(path, &HeaderMap::new());
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            let directives: Vec<_> = policy.split(';').map(str::trim).collect();
            for directive in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"]
            {
                assert!(directives.contains(&directive), "{path}: {directive}");
            }
            // Every source that is named is the page's own origin, or none.
            let sources = directives.iter().filter_map(|it| it.split_once("-src "));
            for (kind, sources) in sources {
                assert!(["'none'", "'self'"].contains(&sources), "{path}: {kind} {sources}");
            }
            assert_eq!(response.headers()[REFERRER_POLICY], "no-referrer", "{path}");
        }
    }
}
