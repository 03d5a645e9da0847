//! The session cookie: how it is found, set and cleared.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::Cookie;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::sessions::{Session, SessionCookie};

/// What `encodeURIComponent` leaves as it is.
pub(crate) const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The cookies that a browser is told to forget: the session's, and two that the library sets besides.
const CLEARED: [&str; 3] = ["session_token", "session_data", "dont_remember"];

/// The value of the request's session cookie, percent-decoded: of several the first. With `secure` only
/// a cookie with the prefix counts, without it only one that has none.
pub(super) fn session(headers: &HeaderMap, secure: bool) -> Option<String> {
    let wanted = session_name(secure);
    // Bytes, since another application's cookie in the same line may hold any.
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let mut cookies = pairs.filter_map(|pair| Cookie::parse(str::from_utf8(pair).ok()?).ok());
    let cookie = cookies.find(|cookie| cookie.name() == wanted)?;
    Some(percent_decode_str(cookie.value()).decode_utf8().ok()?.into_owned())
}

/// Adds the line that sets a session's cookie. One that is not remembered ends with the browser.
pub(super) fn set(
    headers: &mut HeaderMap,
    session: &Session,
    cookie: &SessionCookie,
    lifetime: u64,
    secure: bool,
) {
    let value = cookie.value();
    let value = utf8_percent_encode(&value, COMPONENT);
    let age = if session.remember { format!("Max-Age={lifetime}; ") } else { String::new() };
    let name = session_name(secure);
    append(headers, &format!("{name}={value}; {age}{}", attributes(secure)));
}

/// Adds the lines that make a browser forget its session.
pub(super) fn clear(headers: &mut HeaderMap, secure: bool) {
    for cleared in CLEARED {
        let name = name(cleared, secure);
        append(headers, &format!("{name}=; Max-Age=0; {}", attributes(secure)));
    }
}

/// What the session's cookie is called.
pub(crate) fn session_name(secure: bool) -> String {
    name("session_token", secure)
}

fn name(name: &str, secure: bool) -> String {
    format!("{}better-auth.{name}", if secure { "__Secure-" } else { "" })
}

fn attributes(secure: bool) -> String {
    format!("Path=/; HttpOnly; {}SameSite=Lax", if secure { "Secure; " } else { "" })
}

fn append(headers: &mut HeaderMap, line: &str) {
    // All parts are ASCII without control characters.
    if let Ok(value) = HeaderValue::from_str(line) {
        headers.append(header::SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&'static str], secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        session(&headers, secure)
    }

    #[test]
    fn which_cookie_counts() {
        for (lines, secure, expected) in [
            (&["better-auth.session_token=a.b%3D"][..], false, Some("a.b=")),
            (&["better-auth.session_token=a.b="], false, Some("a.b=")),
            (
                &["x=1; better-auth.session_token=one; better-auth.session_token=two"],
                false,
                Some("one"),
            ),
            (&["x=1", "better-auth.session_token=one"], false, Some("one")),
            (&["better-auth.session_token=one"], true, None),
            (&["__Secure-better-auth.session_token=one"], true, Some("one")),
            (&["__Secure-better-auth.session_token=one"], false, None),
            (&["Better-Auth.session_token=one"], false, None),
            (&["better-auth.session_token=%ff"], false, None),
            (&["better-auth.session_token"], false, None),
            (&[""], false, None),
        ] {
            assert_eq!(found(lines, secure).as_deref(), expected, "{lines:?}");
        }
    }

    /// Another application's cookie may hold any bytes, and says nothing of ours.
    #[test]
    fn bytes_beyond_ascii_hide_no_cookie() {
        for crumb in
            ["name=J\u{fc}rgen", "\u{fc}=1"].map(str::as_bytes).into_iter().chain([&b"x=\xff"[..]])
        {
            let line = [crumb, b"; better-auth.session_token=one; ", crumb].concat();
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_bytes(&line).unwrap());
            assert_eq!(session(&headers, false).as_deref(), Some("one"), "{line:?}");
        }
    }

    #[test]
    fn clearing_has_three_lines_with_the_attributes_in_order() {
        let mut headers = HeaderMap::new();
        clear(&mut headers, true);
        let lines: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        let rest = "=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax";
        let expected = CLEARED.map(|name| format!("__Secure-better-auth.{name}{rest}"));
        assert_eq!(lines, expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
