//! The body of a posted request: its type and size, the origin of the page that sent it, its form.

mod fields;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
pub(super) use fields::Fields;
pub(crate) use fields::{NAME, URL};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::{csrf, query::Query};
use crate::{
    Accounts,
    error::{ApiError, INVALID_JSON, TOO_LARGE},
};

/// The longest body.
const LONGEST: usize = 16 * 1024;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// What an endpoint wants of a body. Members that it does not name are ignored.
pub(super) trait Form: Sized {
    /// Whether it makes a session: then it also takes a form's encoding, and the page that sends it is
    /// checked even if no cookie comes with it.
    const LOGIN: bool = false;

    /// Whether there may be no body at all.
    const OPTIONAL: bool = false;

    /// Takes the members. What is wrong with them is noted in `fields`.
    fn read(fields: &mut Fields<'_>) -> Self;
}

/// A body of the form `F`, from a page that may send it.
pub(super) struct Posted<F>(pub(super) F);

impl<F: Form> FromRequest<Accounts> for Posted<F> {
    type Rejection = ApiError;

    async fn from_request(request: Request, accounts: &Accounts) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let media = media_type(&parts.headers);
        // Not a byte is read of what will be refused.
        check_type::<F>(media)?;
        let bytes = read(body).await?;
        if media.is_none() && !bytes.is_empty() {
            return Err(missing_type::<F>());
        }
        let body = parse(media, &bytes, F::OPTIONAL)?;
        csrf::check(&parts.headers, accounts.origins(), F::LOGIN, accounts.requires_origin())
            .inspect_err(|refusal| {
                accounts.counters().refused_origin();
                tracing::info!(reason = "origin", detail = refusal.message, "session refused");
            })?;
        let members = match body {
            Value::Object(members) => members,
            other => return Err(ApiError::Validation(fields::not_an_object(&other))),
        };
        let mut fields = Fields::new(&members, accounts.origins());
        let form = F::read(&mut fields);
        fields.finish()?;
        Query::new(parts.uri.query()).check_callback(accounts.origins())?;
        Ok(Self(form))
    }
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default())
}

fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn allowed<F: Form>() -> &'static [&'static str] {
    if F::LOGIN { &[FORM, JSON] } else { &[JSON] }
}

fn missing_type<F: Form>() -> ApiError {
    let allowed = allowed::<F>().join(", ");
    ApiError::MediaType(format!("Content-Type is required. Allowed types: {allowed}"))
}

fn check_type<F: Form>(media: Option<&str>) -> Result<(), ApiError> {
    let allowed = allowed::<F>();
    let Some(media) = media else {
        return if F::OPTIONAL { Ok(()) } else { Err(missing_type::<F>()) };
    };
    if allowed.contains(&essence(media).as_str()) {
        return Ok(());
    }
    let (shown, allowed) = (media.chars().take(100).collect::<String>(), allowed.join(", "));
    Err(ApiError::MediaType(format!(
        "Content-Type \"{shown}\" is not allowed. Allowed types: {allowed}"
    )))
}

async fn read(body: Body) -> Result<axum::body::Bytes, ApiError> {
    match Limited::new(body, LONGEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(TOO_LARGE.into()),
        // The client has left or broken its encoding.
        Err(_) => Err(INVALID_JSON.into()),
    }
}

fn parse(media: Option<&str>, bytes: &[u8], optional: bool) -> Result<Value, ApiError> {
    if optional && bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if media.map(essence).as_deref() == Some(FORM) {
        let pairs = form_urlencoded::parse(bytes);
        let members = pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into()));
        return Ok(Value::Object(members.collect()));
    }
    // Its recursion is bounded at 128 levels.
    serde_json::from_slice(bytes).map_err(|_| INVALID_JSON.into())
}

/// Endpoints whose body says nothing.
pub(super) struct Empty;

impl Form for Empty {
    const OPTIONAL: bool = true;

    fn read(_: &mut Fields<'_>) -> Self {
        Self
    }
}
