//! The example, and what is refused.

use super::*;

const EXAMPLE: &str = include_str!("../../accounts.example.toml");

fn parsed(text: &str) -> Result<Config, String> {
    let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
    let checked = config.check().map_err(|error| format!("[{}] {error}", error.section()));
    checked.map(|()| config)
}

/// The example with its commented sections switched on.
fn full() -> String {
    let on = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') && rest.ends_with(']') => rest.to_owned(),
        Some(rest)
            if rest.split(" = ").next().is_some_and(|it| it != rest && !it.contains(' ')) =>
        {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let config = parsed(EXAMPLE).unwrap();
    assert_eq!(config.http.listen.port(), 8031);
    let without: Vec<_> = EXAMPLE
        .split("\n\n")
        .filter(|part| !["[sessions]", "[users]", "[tokens]"].iter().any(|it| part.starts_with(it)))
        .filter(|part| !part.contains("\n[passwords]") && !part.contains("\n[limits]"))
        .collect();
    let defaults = parsed(&without.join("\n\n")).unwrap();
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    assert!(without.len() + 5 <= EXAMPLE.split("\n\n").count(), "the sections were left out");
}

#[test]
fn what_the_example_has_in_comments_is_valid_too() {
    let text = full().replace("outbox = ", "# outbox = ");
    let config = parsed(&text).unwrap();
    assert!(config.internal.is_some() && config.hsm.tls.is_some());
    assert_eq!(config.mail.unwrap().smtp.unwrap().port, Some(465));
}

#[test]
fn contradictions_are_named() {
    let change = |from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        parsed(&EXAMPLE.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to, hint) in [
        ("\"https://accounts.example.com\"", "\"http://accounts.example.com\"", "allow_http"),
        ("\"https://accounts.example.com\"", "\"https://accounts.example.com/x\"", "not an origin"),
        ("\"https://app.example.com\"", "\"*\"", "not an origin"),
        ("\"ES256\"", "\"RS256\"", "RS256"),
        ("lifetime = \"15m\"", "lifetime = \"25m\"", "renewed"),
        ("change_email = false", "change_email = true", "[mail]"),
        ("require_email_verification = false", "require_email_verification = true", "[mail]"),
        ("schema = \"accounts\"", "schema = \"a b\"", "schema"),
        ("update_age = \"1d\"", "update_age = \"8d\"", "update_age"),
        ("max = 3,", "max = 0,", "nonzero"),
        ("stop_grace", "stop_grase", "stop_grase"),
        ("timeout = \"3s\"", "timeout = 3", "string"),
    ] {
        let error = change(from, to);
        assert!(error.contains(hint), "{to}: {error}");
    }
    assert!(parsed(&full()).unwrap_err().contains("outbox or smtp"));
    for http in ["http://127.0.0.1:8031", "http://localhost:8031"] {
        parsed(&EXAMPLE.replace("https://accounts.example.com", http)).unwrap();
    }
}
