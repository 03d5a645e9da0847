//! A page as text under construction: what is markup is said to be, everything else is escaped.

use std::time::Duration;

use hsmd_chain::Timestamp;

/// A growing page.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Appends markup.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Appends text, escaped for content and for quoted attributes.
    pub(super) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
    }

    /// A page up to the beginning of its body.
    pub(super) fn begin(title: &str, assets: &str) -> Self {
        let mut html = Self::default();
        html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
        html.text(title);
        html.raw(
            "</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">",
        );
        for (before, name, after) in [
            ("<link rel=\"icon\" href=\"", "icon.svg", "\">"),
            ("<link rel=\"stylesheet\" href=\"", "page.css", "\">"),
            ("<script type=\"module\" src=\"", "verify.js", "\"></script>"),
        ] {
            html.raw(before);
            html.raw("/assets/");
            html.text(assets);
            html.raw("/");
            html.raw(name);
            html.raw(after);
        }
        html.raw("</head><body>");
        html
    }

    /// One of the facts at a glance.
    pub(super) fn fact(&mut self, what: &str, value: &str) {
        self.raw("<div><dt>");
        self.text(what);
        self.raw("</dt><dd>");
        self.text(value);
        self.raw("</dd></div>");
    }

    /// An instant, readable, with its exact form for machines and on hovering.
    pub(super) fn time(&mut self, time: Timestamp) {
        let exact = time.to_string();
        self.raw("<time datetime=\"");
        self.text(&exact);
        self.raw("\" title=\"");
        self.text(&exact);
        self.raw("\">");
        self.text(&minute(time));
        self.raw("</time>");
    }

    /// The whole page.
    pub(super) fn finish(mut self) -> String {
        self.raw("</body></html>");
        self.0
    }
}

/// The day of an instant: `2026-11-22`.
pub(super) fn day(time: Timestamp) -> String {
    time.to_string()[..10].to_owned()
}

/// `2026-11-22 11:22 UTC`.
fn minute(time: Timestamp) -> String {
    let exact = time.to_string();
    format!("{} {} UTC", &exact[..10], &exact[11..16])
}

/// How long ago an instant was, in its largest unit: `3 hours`, or `now`.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> String {
    let duration = now.saturating_since(time);
    if duration < Duration::from_secs(1) {
        "now".to_owned()
    } else {
        format!("{} ago", span(duration))
    }
}

/// A length of time in its largest unit: `3 hours`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut html = Html::default();
        html.text("<b a=\"x\" b='y'>&</b>");
        assert_eq!(html.0, "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;&lt;/b&gt;");
    }

    #[test]
    fn lengths_of_time_are_for_people() {
        for (seconds, text) in [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (3599, "59 minutes"),
            (7200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
