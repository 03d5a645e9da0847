//! The page's markup.

use crate::sessions::{Authenticated, Session};

/// For who is not signed in.
pub(super) fn visitor(sign_up: bool, message: Option<&str>) -> String {
    let mut page = Page::begin("Sign in", message);
    page.raw("<section><h2>Sign in</h2><form method=\"post\" action=\"/account/sign-in\">");
    page.field("in-email", "E-mail address", "email", "email", "username");
    page.field("in-password", "Password", "password", "password", "current-password");
    page.raw("<button>Sign in</button></form></section>");
    if sign_up {
        page.raw("<section><h2>Sign up</h2><form method=\"post\" action=\"/account/sign-up\">");
        page.field("up-name", "Name", "name", "text", "name");
        page.field("up-email", "E-mail address", "email", "email", "email");
        page.field(
            "up-password",
            "Password, 8 characters or more",
            "password",
            "password",
            "new-password",
        );
        page.raw("<button>Sign up</button></form></section>");
    }
    page.finish()
}

/// For who is signed in.
pub(super) fn account(
    found: &Authenticated,
    sessions: &[Session],
    message: Option<&str>,
) -> String {
    let mut page = Page::begin("Your account", message);
    page.raw("<section><h2>Signed in</h2><p><strong>");
    page.text(&found.user.name);
    page.raw("</strong> ");
    page.text(&found.user.email);
    page.raw(
        "</p><form method=\"post\" action=\"/account/sign-out\"><button>Sign out</button></form>",
    );
    page.raw("</section><section><h2>Your sessions</h2><ul class=\"sessions\">");
    for session in sessions {
        page.session(session, session.id == found.session.id);
    }
    page.raw("</ul>");
    if sessions.len() > 1 {
        page.raw(
            "<form method=\"post\" action=\"/account/revoke-others\">\
             <button>End all other sessions</button></form>",
        );
    }
    page.raw(
        "</section><section><h2>Change the password</h2><p>Your other sessions end.</p>\
         <form method=\"post\" action=\"/account/change-password\">",
    );
    // For password managers, which do not look at inputs of the type hidden.
    page.raw(
        "<input type=\"text\" name=\"username\" autocomplete=\"username\" readonly hidden value=\"",
    );
    page.text(&found.user.email);
    page.raw("\">");
    page.field("current", "Present password", "currentPassword", "password", "current-password");
    page.field(
        "new",
        "New password, 8 characters or more",
        "newPassword",
        "password",
        "new-password",
    );
    page.raw("<button>Change it</button></form></section>");
    page.finish()
}

/// A growing page: what is markup is said to be, everything else is escaped.
struct Page(String);

impl Page {
    fn begin(title: &str, message: Option<&str>) -> Self {
        let mut page = Self(String::new());
        page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
        page.text(title);
        page.raw(
            "</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <link rel=\"stylesheet\" href=\"/account/style.css\"><link rel=\"icon\" href=\"data:,\">\
             </head><body><main><h1>",
        );
        page.text(title);
        page.raw("</h1>");
        if let Some(message) = message {
            page.raw("<p class=\"problem\" role=\"alert\">");
            page.text(message);
            page.raw("</p>");
        }
        page
    }

    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Text, escaped for content and for quoted attributes.
    fn text(&mut self, text: &str) {
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

    /// A labelled field; the arguments are markup of ours.
    fn field(&mut self, id: &str, label: &str, name: &str, kind: &str, complete: &str) {
        self.raw(&format!(
            "<label for=\"{id}\">{label}</label><input id=\"{id}\" name=\"{name}\" type=\"{kind}\" \
             autocomplete=\"{complete}\" required>"
        ));
    }

    fn session(&mut self, session: &Session, this: bool) {
        let device = device(&session.user_agent);
        self.raw("<li><p title=\"");
        self.text(&session.user_agent);
        self.raw("\">");
        self.text(&device);
        if this {
            self.raw(" <strong>(this one)</strong>");
        }
        self.raw("</p><p class=\"quiet\">");
        self.text(&session.ip_address);
        self.raw(", since ");
        let time = session.created_at.0.to_string();
        self.raw("<time datetime=\"");
        self.text(&time);
        self.raw("\">");
        self.text(&time[..16].replace('T', " "));
        self.raw(" UTC</time></p>");
        if !this {
            self.raw("<form method=\"post\" action=\"/account/revoke\"><input type=\"hidden\" name=\"token\" value=\"");
            self.text(&session.token);
            self.raw("\"><button aria-label=\"End it: ");
            self.text(&device);
            self.raw("\">End it</button></form>");
        }
        self.raw("</li>");
    }

    fn finish(mut self) -> String {
        self.raw("</main></body></html>\n");
        self.0
    }
}

/// What people call a device: the first of these that stands in what its browser says of itself.
fn device(user_agent: &str) -> String {
    const BROWSERS: [(&str, &str); 8] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(word, _)| user_agent.contains(word)).map(|&(_, name)| name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, _) if user_agent.is_empty() => "Unknown device".to_owned(),
        (None, _) => user_agent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_names_that_people_use() {
        for (user_agent, name) in [
            ("", "Unknown device"),
            ("curl/8.5.0", "curl/8.5.0"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
                "Chrome on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36 Edg/156.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
                "Firefox on Android",
            ),
        ] {
            assert_eq!(device(user_agent), name, "{user_agent}");
        }
    }
}
