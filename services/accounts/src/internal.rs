//! `/api/internal`: what gateways and other services ask. Each endpoint is opened by secrets of its own.

use std::{net::SocketAddr, path::Path};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL},
    },
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use hsmd_runtime::ConfigError;
use hsmd_support::{SecretError, secret};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value, json};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::{
    Accounts, api::through_internal, config::InternalConfig, error::ApiError, random, users,
};

const GATEWAY: HeaderName = HeaderName::from_static("x-gateway-auth");
const SERVICE: HeaderName = HeaderName::from_static("x-service-auth");

/// The shortest secret.
const SHORTEST: usize = 32;

/// The longest body.
const LONGEST: usize = 16 * 1024;

/// What opens the endpoints.
pub(crate) struct Internal {
    gateway: Secrets,
    service: Secrets,
    /// A listener of their own.
    pub(crate) listen: Option<SocketAddr>,
}

/// The hashes of the secrets in one file: any of them opens.
struct Secrets(Vec<[u8; 32]>);

/// Why a file of secrets can't be used.
#[derive(Debug, thiserror::Error)]
enum SecretsError {
    #[error("{0}: it is no text")]
    NotText(String),
    #[error("{0}: each secret must have at least {SHORTEST} bytes")]
    Short(String),
    #[error("{0}: there is no secret in it")]
    Empty(String),
    #[error("the gateways' and the services' secrets must differ")]
    Shared,
}

impl Internal {
    pub(crate) fn open(config: &InternalConfig) -> Result<Self, ConfigError> {
        let gateway = Secrets::read(&config.gateway_secrets_file)?;
        let service = Secrets::read(&config.service_secrets_file)?;
        if gateway.0.iter().any(|hash| service.0.contains(hash)) {
            return Err(ConfigError::section("internal", SecretsError::Shared));
        }
        Ok(Self { gateway, service, listen: config.listen })
    }

    /// The first characters of each secret's hash, by which two sides can compare.
    pub(crate) fn fingerprints(&self) -> Vec<(&'static str, String)> {
        let names = [("x-gateway-auth", &self.gateway), ("x-service-auth", &self.service)];
        let named = names.into_iter().flat_map(|(name, secrets)| {
            secrets.0.iter().map(move |hash| (name, fingerprint(hash)))
        });
        named.collect()
    }
}

fn fingerprint(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Secrets {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = || path.display().to_string();
        let wrong = |error: SecretsError| ConfigError::section("internal", error);
        let bytes = secret::bytes(path).map_err(|error: SecretError| ConfigError::from(error))?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong(SecretsError::NotText(shown())))?;
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return Err(wrong(SecretsError::Empty(shown())));
        }
        if lines.iter().any(|line| line.len() < SHORTEST) {
            return Err(wrong(SecretsError::Short(shown())));
        }
        Ok(Self(lines.iter().map(|line| random::hash(line.as_bytes())).collect()))
    }

    /// Whether a header's value is one of them; all are compared, each in constant time.
    fn open(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let Some(value) = headers.get(name) else { return false };
        let hash = random::hash(value.as_bytes());
        let any = self.0.iter().fold(Choice::from(0), |any, known| any | known.ct_eq(&hash));
        any.into()
    }
}

/// The routes.
pub(crate) fn router(accounts: &Accounts) -> Router {
    Router::new()
        .route("/api/internal/validate", post(validate))
        .route("/api/internal/user", get(user))
        .route_layer(middleware::from_fn_with_state(accounts.clone(), through_internal))
        .with_state(accounts.clone())
}

/// Whether a token is good, and what it says.
async fn validate(State(accounts): State<Accounts>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let open = accounts.internal().is_some_and(|it| it.gateway.open(&parts.headers, &GATEWAY));
    // Read in any case: a connection that is closed over an unread body loses its answer.
    let in_body = in_body(body).await;
    if !open {
        return forbidden();
    }
    let token = bearer(&parts.headers).or(in_body);
    let Some(token) = token else { return invalid() };
    match accounts.tokens().verify(&token, accounts.keys(), accounts.now()) {
        Err(error) => uncached(ApiError::from(error).into_response()),
        Ok(Err(reason)) => {
            tracing::info!(%reason, "token refused");
            invalid()
        }
        Ok(Ok(payload)) => {
            let members =
                ["id", "email", "name", "emailVerified", "image", "createdAt", "updatedAt"];
            let user: Map<_, _> = members
                .iter()
                .filter_map(|&name| Some((name.to_owned(), payload.get(name)?.clone())))
                .collect();
            let body = json!({"valid": true, "user": user, "payload": payload});
            uncached(Json(body).into_response())
        }
    }
}

/// The user of a token as they are now.
async fn user(State(accounts): State<Accounts>, headers: HeaderMap) -> Response {
    if !accounts.internal().is_some_and(|it| it.service.open(&headers, &SERVICE)) {
        return forbidden();
    }
    let Some(token) = bearer(&headers) else { return unauthorized() };
    let payload = match accounts.tokens().verify(&token, accounts.keys(), accounts.now()) {
        Err(error) => return uncached(ApiError::from(error).into_response()),
        Ok(Err(reason)) => {
            tracing::info!(%reason, "token refused");
            return unauthorized();
        }
        Ok(Ok(payload)) => payload,
    };
    let id = payload.get("sub").and_then(Value::as_str).unwrap_or_default();
    match users::by_id(id, accounts.database()).await {
        Ok(Some(user)) => uncached(Json(json!({"user": user})).into_response()),
        Ok(None) => refusal(StatusCode::NOT_FOUND, "User not found", "USER_NOT_FOUND"),
        Err(error) => uncached(ApiError::from(error).into_response()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Zeroizing::new(token.trim().to_owned()))
}

async fn in_body(body: Body) -> Option<Zeroizing<String>> {
    let bytes = Limited::new(body, LONGEST).collect().await.ok()?.to_bytes();
    let body: Value = serde_json::from_slice(&bytes).ok()?;
    Some(Zeroizing::new(body.get("token")?.as_str()?.to_owned()))
}

fn invalid() -> Response {
    uncached((StatusCode::UNAUTHORIZED, Json(json!({"valid": false}))).into_response())
}

fn unauthorized() -> Response {
    refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "UNAUTHORIZED")
}

fn forbidden() -> Response {
    refusal(StatusCode::FORBIDDEN, "Forbidden", "FORBIDDEN")
}

fn refusal(status: StatusCode, message: &str, code: &str) -> Response {
    let body = json!({"message": message, "code": code, "error": message});
    uncached((status, Json(body)).into_response())
}

fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
