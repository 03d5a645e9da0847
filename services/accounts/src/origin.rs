//! Web origins: which pages are trusted, and where a browser may be sent.

use std::{net::IpAddr, sync::Arc};

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::{Host, Url};

/// The longest URL that is accepted from outside.
const LONGEST: usize = 2048;

/// `scheme://host[:port]`, in the one form that browsers send.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

/// A text that is no origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an origin like https://app.example.com")]
pub struct OriginError(String);

/// The trusted origins, the service's own first. CORS and the Origin rule go by the same list. Clones
/// share it.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Arc<[Origin]>);

impl Origin {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers reach it by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether it is this machine only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let url = Url::parse(&self.0).ok();
        match url.as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        match of_url(&text) {
            Some(origin) if text.strip_suffix('/').unwrap_or(&text) == origin => Ok(Self(origin)),
            _ => Err(OriginError(text)),
        }
    }
}

impl Origins {
    pub(crate) fn new(own: Origin, others: &[Origin]) -> Self {
        Self(std::iter::once(own).chain(others.iter().cloned()).collect())
    }

    /// The service's own.
    pub(crate) fn own(&self) -> &Origin {
        &self.0[0]
    }

    /// Whether the value of an `Origin` header is trusted: the whole of it, so scheme and port count.
    pub(crate) fn trusts(&self, origin: &str) -> bool {
        self.0.iter().any(|trusted| trusted.0 == origin)
    }

    /// Whether a page under this URL is trusted.
    pub(crate) fn trusts_url(&self, url: &str) -> bool {
        of_url(url).is_some_and(|origin| self.trusts(&origin))
    }

    /// Whether a browser may be sent here: a path of the service's own origin, or a URL in a trusted one.
    pub(crate) fn allows_redirect(&self, target: &str) -> bool {
        let odd = |byte: u8| byte == b'\\' || byte.is_ascii_control() || byte == b' ';
        if target.len() > LONGEST || target.bytes().any(odd) || target.chars().any(char::is_control)
        {
            return false;
        }
        let path = |whole: &str| whole.split(['?', '#']).next().map(str::to_ascii_lowercase);
        match target.strip_prefix('/') {
            Some(rest) => {
                let path = path(rest).unwrap_or_default();
                // What a proxy or a browser may take for the beginning of a host.
                !path.starts_with('/')
                    && !path.contains("//")
                    && !path.contains("%2f")
                    && !path.contains("%5c")
                    && !percent_decode_str(&path).any(|byte| byte.is_ascii_control())
            }
            None => self.trusts_url(target),
        }
    }
}

/// The origin of an http(s) URL without credentials in it.
fn of_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        // `https:host` and `https:/host` are the same to the parser.
        && text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"))
        && !text.contains(['@', '*']);
    plain.then(|| url.origin().ascii_serialization())
}

/// A URL with one more parameter in its query.
pub(crate) fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let (address, fragment) = match url.split_once('#') {
        Some((address, fragment)) => (address, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let separator = if address.contains('?') { '&' } else { '?' };
    let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    format!("{address}{separator}{name}={value}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::try_from(text.to_owned()).unwrap()
    }

    fn origins() -> Origins {
        Origins::new(origin("http://127.0.0.1:8031"), &[origin("https://app.example.com")])
    }

    #[test]
    fn origins_are_compared_whole() {
        assert_eq!(origin("https://app.example.com/"), origin("https://app.example.com"));
        for bad in [
            "",
            "*",
            "app.example.com",
            "https://app.example.com/x",
            "https://*.example.com",
            "https://u@example.com",
            "ftp://example.com",
            "https://EXAMPLE.com",
            "https://example.com:443",
            "null",
        ] {
            assert!(Origin::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let origins = origins();
        assert!(origins.trusts("https://app.example.com"));
        for other in [
            "http://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:8031",
            "https://app.example.com.evil.com",
            "null",
            "",
            "https://app.example.com/",
        ] {
            assert!(!origins.trusts(other), "{other}");
        }
    }

    #[test]
    fn where_a_browser_may_be_sent() {
        let origins = origins();
        for good in [
            "/",
            "/a/b?c=d&e=%2Ff#g",
            "https://app.example.com/x?y=//z",
            "http://127.0.0.1:8031/x",
            "https://app.example.com",
            "https://app.example.com:443/x",
        ] {
            assert!(origins.allows_redirect(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil.com",
            "/\\evil.com",
            "\\\\evil.com",
            "/%2fevil.com",
            "/%2Fevil.com",
            "/%5cevil.com",
            "/a//b",
            "/\tevil",
            "/a\nb",
            "/a\u{9f}b",
            "/%0d%0aset-cookie:x",
            "https:evil.com",
            "https:/app.example.com",
            "https://evil.com",
            "https://app.example.com@evil.com",
            "https://u:p@app.example.com",
            "https://app.example.com:8443/",
            "javascript:alert(1)",
            "http://app.example.com",
            "https://app.example.com\\@evil.com",
            "data:text/html,x",
            "https://app.example.com.evil.com/",
            " https://app.example.com",
            "https:///evil.com",
        ] {
            assert!(!origins.allows_redirect(bad), "{bad}");
        }
        assert!(!origins.allows_redirect(&format!("/{}", "a".repeat(2048))));
    }

    #[test]
    fn loopback_is_known() {
        for yes in
            ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "http://a.localhost"]
        {
            assert!(origin(yes).is_loopback(), "{yes}");
        }
        for no in ["http://10.0.0.1", "http://example.com", "http://localhost.evil.com"] {
            assert!(!origin(no).is_loopback(), "{no}");
        }
    }

    #[test]
    fn parameters_join_a_query() {
        assert_eq!(with_parameter("/r", "token", "a b"), "/r?token=a+b");
        assert_eq!(with_parameter("/r?x=1#f", "error", "E"), "/r?x=1&error=E#f");
    }
}
