//! A user as the wire has it.

use serde::Serialize;
use sqlx::{FromRow, PgPool};
use utoipa::ToSchema;

use crate::{random, time::Time};

/// One user. Equal values are equal in every member, so a change of any shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) email_verified: bool,
    #[schema(required)]
    pub(crate) image: Option<String>,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) id: String,
}

impl User {
    /// A user who is not in the database yet.
    pub(crate) fn new(name: String, email: String, image: Option<String>, now: Time) -> Self {
        let id = random::alphanumeric(32);
        Self { name, email, email_verified: false, image, created_at: now, updated_at: now, id }
    }
}

/// A user by their address.
pub(crate) async fn by_email(email: &str, database: &PgPool) -> Result<Option<User>, sqlx::Error> {
    let query = sqlx::query_as("SELECT * FROM users WHERE email = $1");
    query.bind(email).fetch_optional(database).await
}

/// A user by their id.
pub(crate) async fn by_id(id: &str, database: &PgPool) -> Result<Option<User>, sqlx::Error> {
    let query = sqlx::query_as("SELECT * FROM users WHERE id = $1");
    query.bind(id).fetch_optional(database).await
}

/// Whether a text has the form of an e-mail address: the library's rule, which is that of zod.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let in_local = |byte: u8| byte.is_ascii_alphanumeric() || b"_'+-.".contains(&byte);
    let last = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte);
    let Some((top, labels)) = domain.rsplit_once('.').map(|(labels, top)| (top, labels)) else {
        return false;
    };
    text.len() <= 320
        && !text.contains("..")
        && !local.starts_with('.')
        && local.bytes().all(in_local)
        && local.bytes().last().is_some_and(last)
        && top.len() >= 2
        && top.bytes().all(|byte| byte.is_ascii_alphabetic())
        && labels.split('.').all(|label| {
            label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && label.bytes().next().is_some_and(|byte| byte != b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_addresses() {
        let long = format!("{}@example.com", "a".repeat(288));
        for good in ["a@b.co", "A.b'c_+d-e@sub.example.org", "x@1-2.example.com", &long] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "nope",
            " a@b.co ",
            "a@localhost",
            "\"q\"@x.de",
            "a..b@x.de",
            "ä@x.de",
            "a@x.d",
            ".a@x.de",
            "a.@x.de",
            "@x.de",
            "a@.de",
            "a@-x.de",
            "a@x.d3",
            "a@b@x.de",
            "a@x..de",
            "a\0@x.de",
            "a@x.de\n",
            "a@ex ample.de",
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }
}
