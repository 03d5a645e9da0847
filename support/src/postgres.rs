//! Postgres URLs, which live in files because they may carry a password.

use std::path::Path;

use zeroize::Zeroizing;

use crate::{SecretError, secret};

/// Reads the URL from a file, in a form that sqlx understands.
///
/// # Errors
/// The file can't be read, is empty, or may be read by others.
pub fn read_url(file: &Path) -> Result<Zeroizing<String>, SecretError> {
    secret::line(file).map(|url| standard_url(&url))
}

/// libpq allows a user before an empty host (`postgresql://user@/db?host=/run/postgresql`), the URL
/// standard does not: the user moves to the parameters, where sqlx finds it as well.
#[must_use]
pub fn standard_url(url: &str) -> Zeroizing<String> {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (user, place) = rest.split_once("@/")?;
        (!user.contains(['/', ':', '?'])).then_some((scheme, user, place))
    });
    Zeroizing::new(match parts {
        Some((scheme, user, place)) => {
            let separator = if place.contains('?') { '&' } else { '?' };
            format!("{scheme}:///{place}{separator}user={user}")
        }
        None => url.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_before_an_empty_host_becomes_a_parameter() {
        for (url, expected) in [
            ("postgresql://a@/keys?host=/run", "postgresql:///keys?host=/run&user=a"),
            ("postgres://a@/keys", "postgres:///keys?user=a"),
            ("postgresql:///keys?host=/run&user=a", "postgresql:///keys?host=/run&user=a"),
            ("postgresql://a:b@host:5433/keys", "postgresql://a:b@host:5433/keys"),
            ("postgresql://a@host/keys?host=@/run", "postgresql://a@host/keys?host=@/run"),
            ("keys", "keys"),
        ] {
            assert_eq!(*standard_url(url), expected);
        }
    }
}
