//! What no request may be: a web page's, one of another name that leads here (DNS rebinding), or a form.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, Method, StatusCode, Uri,
        header::{CONTENT_TYPE, HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::error::Refusal;

/// What every browser of today sends, also without an Origin. Of its family `Sec-Fetch-Mode` comes from Node's
/// `fetch` as well.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(crate) async fn guard(request: Request, next: Next) -> Response {
    match check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let forbidden = |sentence| Err(Refusal::new(StatusCode::FORBIDDEN, sentence));
    if headers.contains_key(ORIGIN) || headers.contains_key(FETCH_SITE) {
        return forbidden("web pages are not served here");
    }
    let named = headers.get(HOST).map(|host| host.to_str().unwrap_or("?"));
    if !is_local(uri.authority().map(|it| it.as_str()).or(named).unwrap_or_default()) {
        return forbidden("the Host is not this machine: use localhost or a loopback address");
    }
    if method == Method::POST {
        let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.and_then(|value| value.split(';').next()).unwrap_or_default();
        if !media.trim().eq_ignore_ascii_case("application/json") {
            let sentence = "the Content-Type must be application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence));
        }
    }
    Ok(())
}

/// Whether a host, perhaps with a port, is a name of this machine, or none as over a Unix socket.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for host in
            ["", "localhost", "localhost:8012", "127.0.0.1:1", "127.1.2.3", "[::1]", "[::1]:80"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "192.0.2.1",
            "[::2]",
            "?",
            "user@evil.example:80",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn what_a_browser_adds_is_refused_and_what_a_runtime_adds_is_not() {
        let judged = |name: &str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            check(&Method::POST, &Uri::from_static("/sign"), &headers).is_ok()
        };
        for (name, value) in [
            ("origin", "null"),
            ("origin", "http://localhost:8012"),
            ("sec-fetch-site", "none"),
            ("host", "evil.example"),
            ("content-type", "text/plain"),
            ("content-type", "application/x-www-form-urlencoded"),
        ] {
            assert!(!judged(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("sec-fetch-mode", "cors"),
            ("host", "localhost"),
            ("content-type", "Application/JSON; charset=utf-8"),
        ] {
            assert!(judged(name, value), "{name}: {value}");
        }
    }
}
