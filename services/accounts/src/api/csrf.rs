//! Whether a posted request comes from a page that is trusted. Browsers say where a request is from, and
//! a page can't make them lie.

use axum::http::{
    HeaderMap, HeaderName,
    header::{COOKIE, ORIGIN, REFERER},
};

use super::caller::text;
use crate::{
    error::{CROSS_SITE_LOGIN, INVALID_ORIGIN, MISSING_ORIGIN, Refusal},
    origin::Origins,
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Checks a POST. Without a cookie it can do nothing in a user's name, so only what makes a session is
/// checked then. A request with none of Origin, Referer and Sec-Fetch-Site is no browser's: it goes on
/// unless `strict`.
pub(super) fn check(
    headers: &HeaderMap,
    origins: &Origins,
    login: bool,
    strict: bool,
) -> Result<(), Refusal> {
    let cookie = headers.contains_key(COOKIE);
    if !cookie && !login {
        return Ok(());
    }
    let site = text(headers, &FETCH_SITE);
    if !cookie && site == "cross-site" && text(headers, &FETCH_MODE) == "navigate" {
        return Err(CROSS_SITE_LOGIN);
    }
    if headers.contains_key(ORIGIN) {
        return match text(headers, &ORIGIN) {
            "null" | "" => Err(MISSING_ORIGIN),
            origin if origins.trusts(origin) => Ok(()),
            _ => Err(INVALID_ORIGIN),
        };
    }
    if headers.contains_key(REFERER) {
        let trusted = origins.trusts_url(text(headers, &REFERER));
        return if trusted { Ok(()) } else { Err(INVALID_ORIGIN) };
    }
    if strict || headers.contains_key(FETCH_SITE) { Err(MISSING_ORIGIN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    const GOOD: &str = "https://app.example.com";
    const CRUMB: (&str, &str) = ("cookie", "x=y");

    #[test]
    fn the_table_of_the_wire() {
        let origin = |text: &str| Origin::try_from(text.to_owned()).unwrap();
        let origins = Origins::new(origin("https://accounts.example.com"), &[origin(GOOD)]);
        let checked = |headers: &[(&'static str, &str)], login, strict| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            check(&headers.collect(), &origins, login, strict).err()
        };
        let referer = "https://app.example.com/page?x";
        for (headers, login, expected) in [
            (&[CRUMB, ("origin", GOOD)][..], false, None),
            (&[CRUMB, ("origin", "https://accounts.example.com")], false, None),
            (&[CRUMB, ("referer", referer)], false, None),
            (
                &[CRUMB, ("referer", "https://evil.com/https://app.example.com")],
                false,
                Some(INVALID_ORIGIN),
            ),
            (&[CRUMB, ("origin", "https://evil.com")], false, Some(INVALID_ORIGIN)),
            (
                &[CRUMB, ("origin", "https://evil.com"), ("referer", referer)],
                false,
                Some(INVALID_ORIGIN),
            ),
            (&[CRUMB, ("origin", "null")], false, Some(MISSING_ORIGIN)),
            (&[CRUMB], false, None),
            (&[CRUMB, ("sec-fetch-site", "same-origin")], false, Some(MISSING_ORIGIN)),
            (&[CRUMB, ("sec-fetch-mode", "cors")], false, None),
            (&[("origin", "https://evil.com")], true, Some(INVALID_ORIGIN)),
            (&[("origin", GOOD)], true, None),
            (&[], true, None),
            (&[("sec-fetch-mode", "cors")], true, None),
            (&[("sec-fetch-site", "none")], true, Some(MISSING_ORIGIN)),
            (
                &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
                true,
                Some(CROSS_SITE_LOGIN),
            ),
            (&[("origin", "https://evil.com")], false, None),
            (&[("origin", "null")], false, None),
        ] {
            assert_eq!(checked(headers, login, false), expected, "{headers:?} {login}");
        }
        assert_eq!(checked(&[CRUMB], false, true), Some(MISSING_ORIGIN));
        assert_eq!(checked(&[], true, true), Some(MISSING_ORIGIN));
        assert_eq!(checked(&[], false, true), None);
    }
}
