//! The log page for people, at `/`: complete without scripts, except for the button that verifies. What
//! it looks like is in `templates/`, which escape what they are given.

mod filters;
mod keys;
mod timeline;

use std::time::Duration;

use askama::Template;
use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    },
    response::{IntoResponse, Response},
};
use hsmd_chain::{KeyLog, Timestamp};
use hsmd_service::{caching::REVALIDATE, log_problem};
use hsmd_store::{Purpose as _, Response as ResponseKeys};
use serde::Deserialize;

use crate::{Keys, assets};
use keys::Found;
use timeline::End;

/// Nothing but what this server sends, and no scripts in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, REVALIDATE),
];

/// Look-backs to choose from, and who uses them.
const WINDOWS: [(&str, &str); 4] = [
    ("0s", "now"),
    ("12h", "12 h · clients"),
    ("12h15m", "12 h 15 min · applications"),
    ("24h", "24 h · auth"),
];

/// The look-back if none was chosen.
const DEFAULT_WINDOW: (&str, Duration) = ("12h", Duration::from_secs(12 * 3600));

/// What the address asks for: a look-back, and where the timeline begins.
#[derive(Default, Deserialize)]
pub(crate) struct Query {
    /// In the syntax of humantime.
    window: Option<String>,
    /// Only generations with a smaller number.
    before: Option<u32>,
}

impl Query {
    /// A query that makes no sense is no query: the page is for people.
    pub(crate) fn of(uri: &Uri) -> Self {
        axum::extract::Query::try_from_uri(uri).map(|query| query.0).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    /// The assets' folder.
    assets: &'a str,
    /// Nothing while no log has been read.
    view: Option<View<'a>>,
}

/// What a page is about.
struct View<'a> {
    log: &'a KeyLog,
    /// Why the log is not to be relied on.
    problem: Option<String>,
    now: Timestamp,
    /// When the head's key last stated that it is the head; nothing when that is too long ago.
    stated: Option<Timestamp>,
    window: Duration,
    /// The look-back as it was asked for.
    window_text: &'a str,
    /// Whether it made sense.
    understood: bool,
    before: Option<u32>,
    /// Nothing while Redis does not answer.
    keys: Option<Found>,
}

pub(crate) async fn page(keys: &Keys, query: &Query) -> Response {
    let log = keys.log.snapshot();
    let view = match &log {
        Some(log) => Some(View::new(keys, log, query).await),
        None => None,
    };
    let status = if log.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match (Page { assets: &assets::VERSION, view }).render() {
        Ok(html) => {
            let mut response = (status, html).into_response();
            for (name, value) in HEADERS {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
        Err(error) => {
            tracing::error!(%error, "cannot render the page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl<'a> View<'a> {
    async fn new(keys: &Keys, log: &'a KeyLog, query: &'a Query) -> Self {
        let asked = query.window.as_deref().map(|text| (text, humantime::parse_duration(text)));
        let (window_text, window, understood) = match asked {
            Some((text, Ok(window))) => (text, window, true),
            Some((_, Err(_))) => (DEFAULT_WINDOW.0, DEFAULT_WINDOW.1, false),
            None => (DEFAULT_WINDOW.0, DEFAULT_WINDOW.1, true),
        };
        let now = keys.clock.now();
        Self {
            log,
            problem: log_problem(&keys.log),
            now,
            stated: keys.log.head_statement().map(|statement| statement.issued_at()),
            window,
            window_text,
            understood,
            before: query.before,
            keys: Found::read(keys, log, now, window).await,
        }
    }

    fn live(&self) -> usize {
        self.log.live(self.now, self.window).count()
    }

    fn tainted(&self) -> usize {
        self.log.events().iter().filter(|event| event.event().taint_previous()).count()
    }

    /// When the head became it.
    fn since(&self) -> Timestamp {
        self.log.head().event().created_at()
    }

    /// Whether the look-back is one of those to choose from.
    fn is_listed(&self) -> bool {
        WINDOWS.iter().any(|(window, _)| *window == self.window_text)
    }
}
