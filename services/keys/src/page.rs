//! The log page for people, at `/`: complete without scripts, except for the button that verifies.

mod html;
mod keys;
mod timeline;

use std::time::Duration;

use axum::{
    http::{
        HeaderName, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    },
    response::{IntoResponse, Response},
};
use hsmd_chain::{KeyLog, Timestamp};
use hsmd_service::log_problem;
use serde::Deserialize;

use crate::{Keys, assets, caching::REVALIDATE};
use html::{Html, ago, day};

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
const DEFAULT_WINDOW: &str = "12h";

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

/// What a page is about.
struct View<'a> {
    log: &'a KeyLog,
    now: Timestamp,
    window: Duration,
    /// The look-back as it was asked for.
    window_text: &'a str,
    before: Option<u32>,
}

pub(crate) async fn page(keys: &Keys, query: &Query) -> Response {
    let mut html = Html::begin("Key log", &assets::VERSION);
    html.raw("<header><h1>Key log</h1>");
    let log = keys.log.snapshot();
    match &log {
        Some(log) => body(&mut html, keys, log, query).await,
        None => html.raw("</header><p>No key log has been read yet.</p>"),
    }
    let status = if log.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, html.finish()).into_response();
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn body(html: &mut Html, keys: &Keys, log: &KeyLog, query: &Query) {
    let asked = query.window.as_deref().unwrap_or(DEFAULT_WINDOW);
    let (window, window_text, understood) = match humantime::parse_duration(asked) {
        Ok(window) => (window, asked, true),
        Err(_) => (Duration::from_secs(12 * 3600), DEFAULT_WINDOW, false),
    };
    let now = keys.clock.now();
    let view = View { log, now, window, window_text, before: query.before };
    view.head(html, log_problem(&keys.log).as_deref(), understood);
    html.raw("</header>");
    view.verification(html);
    timeline::section(html, &view);
    keys::section(html, &view, keys).await;
    html.raw("<footer><p>As of ");
    html.text(&now.to_string());
    html.raw(
        ". This page, like the log, is only as good as its source: the identity has to come to you by \
         another way. The log itself: <a href=\"/hsm/keys\">/hsm/keys</a>, the keys: \
         <a href=\"/keys\">/keys</a>.</p></footer>",
    );
}

impl View<'_> {
    /// Identity, facts, look-back.
    fn head(&self, html: &mut Html, problem: Option<&str>, understood: bool) {
        html.raw("<p class=\"muted\">of the HSM <code>");
        html.text(self.log.identity().as_str());
        html.raw("</code></p>");
        if let Some(problem) = problem {
            html.raw("<p class=\"warning\" role=\"alert\">Not to be relied on: ");
            html.text(problem);
            html.raw(". What follows is the last verified state.</p>");
        }
        let events = self.log.events();
        let tainted = events.iter().filter(|event| event.event().taint_previous()).count();
        let live = self.log.live(self.now, self.window).count();
        let since = self.log.head().event().created_at();
        html.raw("<dl class=\"facts\">");
        html.fact("generations", &events.len().to_string());
        html.fact("live at this look-back", &live.to_string());
        html.fact("tainted", &tainted.to_string());
        html.fact(&format!("head since {}", day(since)), &ago(since, self.now));
        html.raw("</dl>");
        self.windows(html, understood);
    }

    fn windows(&self, html: &mut Html, understood: bool) {
        html.raw("<nav class=\"windows\" aria-label=\"Look-back\"><span>Look-back</span>");
        for (window, who) in WINDOWS {
            html.raw("<a href=\"/?window=");
            html.text(window);
            html.raw(if window == self.window_text { "\" aria-current=\"true\">" } else { "\">" });
            html.text(who);
            html.raw("</a>");
        }
        html.raw(
            "<form method=\"get\" action=\"/\"><input name=\"window\" aria-label=\"Another look-back\" \
             placeholder=\"e.g. 36h\" value=\"",
        );
        if WINDOWS.iter().all(|(window, _)| *window != self.window_text) {
            html.text(self.window_text);
        }
        html.raw("\"><button>Show</button></form></nav>");
        if !understood {
            html.raw("<p class=\"muted\">That look-back was not understood; this is 12h.</p>");
        }
    }

    /// The section of the button, which a script shows.
    fn verification(&self, html: &mut Html) {
        html.raw("<section id=\"verify\" data-head=\"");
        html.text(self.log.position().id.as_str());
        html.raw(
            "\"><h2>Verify it yourself</h2><p>Every event names the key before it, commits to the key \
             after it and is signed. Your browser can check all of that without this server: it fetches \
             the log, recomputes each digest and verifies each signature.</p>\
             <noscript><p class=\"muted\">That needs JavaScript; nothing else on this page does.</p>\
             </noscript><form hidden><label for=\"identity\">The identity that you expect</label>\
             <input id=\"identity\" spellcheck=\"false\" autocomplete=\"off\" value=\"",
        );
        html.text(self.log.identity().as_str());
        html.raw(
            "\"><button>Verify the whole log</button></form>\
             <output aria-live=\"polite\"></output></section>",
        );
    }
}
