//! Users of the library's server move here with their passwords.

use hsmd_tests::Database;

use crate::{
    client::Browser,
    stack::{Settings, Stack, wait_for},
};

/// What the library stores for the password `password1234`.
const LIBRARY: &str = include_str!("../../src/passwords/library.hash");

/// The tables of 1.7, as its migrations make them.
const TABLES: &str = r#"
CREATE TABLE "user" ("id" text PRIMARY KEY, "name" text NOT NULL, "email" text NOT NULL UNIQUE,
  "emailVerified" boolean NOT NULL, "image" text, "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz NOT NULL);
CREATE TABLE "account" ("id" text PRIMARY KEY, "accountId" text NOT NULL, "providerId" text NOT NULL,
  "userId" text NOT NULL REFERENCES "user" ("id"), "password" text, "createdAt" timestamptz NOT NULL, "updatedAt" timestamptz NOT NULL);
"#;

#[test]
fn users_and_passwords_of_the_librarys_tables() {
    let stack = Stack::start();
    let library = stack.runtime.block_on(Database::create());
    stack.secret("library.url", &library.owner_url());
    let hash = LIBRARY.trim();
    let mut rows = TABLES.to_owned();
    for (id, email, password) in [
        ("first", "Ann@example.com", Some(hash)),
        ("social", "social@example.com", None),
        ("bcrypt", "bcrypt@example.com", Some("$2b$10$abc")),
        ("bad", "nope", Some(hash)),
        ("known", "known@example.com", Some(hash)),
    ] {
        rows.push_str(&format!(
            "INSERT INTO \"user\" VALUES ('{id}', 'Name', '{email}', true, NULL, '2025-01-02T03:04:05.678Z', now());"
        ));
        if let Some(password) = password {
            rows.push_str(&format!(
                "INSERT INTO \"account\" VALUES ('a-{id}', '{id}', 'credential', '{id}', '{password}', now(), now());"
            ));
        }
    }
    let made = stack.runtime.block_on(library.execute(true, &rows));
    made.expect("the library's tables");
    let accounts = stack.accounts();
    let http = &accounts.http;
    Browser::sign_up(http, "known@example.com");

    let path = stack.path("library.url").display().to_string();
    let import = |more: &[&str]| {
        let output = stack.command(&accounts, &[&["import", "--from", &path], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let large = "INSERT INTO \"user\" VALUES ('large', repeat('\u{e9}', 300), 'large@example.com', true, \
        'data:image/png;base64,' || repeat('A', 100000), now(), now())";
    stack.runtime.block_on(library.execute(true, large)).expect("a large user");
    let counts = "3 users, 1 of them with a password; 1 are here already, 2 refused";
    let dry = import(&[]);
    assert!(dry.contains(&format!("would import {counts}")), "{dry}");
    assert!(dry.contains("refused: bcrypt: ") && dry.contains("refused: bad: "), "{dry}");
    assert!(dry.contains("changed: large: the name was cut"), "{dry}");
    assert!(dry.contains("changed: large: the image was left out"), "{dry}");
    assert_eq!(stack.value("SELECT count(*) FROM users"), "1");
    let done = import(&["--write"]);
    assert!(done.contains(&format!("imported {counts}")), "{done}");
    let again = import(&["--write"]);
    assert!(again.contains("imported 0 users, 0 of them with a password; 4 are here"), "{again}");

    let ann = Browser::sign_in(http, "ann@example.com", "password1234").expect("signed in");
    let user = ann.get("/get-session");
    assert_eq!(
        (user.at("/user/id"), user.at("/user/createdAt")),
        ("first".to_owned(), "2025-01-02T03:04:05.678Z".to_owned())
    );
    let stored = "SELECT password_hash LIKE '$argon2id$%' FROM credentials WHERE user_id = 'first'";
    assert_eq!(stack.value(stored), "true", "replaced");
    assert!(Browser::sign_in(http, "social@example.com", "password1234").is_none());
    let large = "SELECT length(name) || ' ' || (image IS NULL) FROM users WHERE id = 'large'";
    assert_eq!(stack.value(large), "256 true");
}

/// A library whose tables answer late: the transaction here waits for them.
#[test]
fn an_import_may_wait_for_the_library() {
    let stack = Stack::start();
    let library = stack.runtime.block_on(Database::create());
    stack.secret("library.url", &library.owner_url());
    stack.runtime.block_on(library.execute(true, TABLES)).expect("the library's tables");
    let accounts =
        stack.accounts_with(&Settings { database: "timeout = \"200ms\"\n", ..Settings::default() });
    let path = stack.path("library.url").display().to_string();
    // Until somebody has waited for it for much longer than the timeout.
    let lock = "BEGIN; LOCK TABLE \"user\"; SELECT pg_sleep(0.1); \
        DO $$ BEGIN FOR i IN 1..1000 LOOP EXIT WHEN EXISTS (SELECT 1 FROM pg_stat_activity \
           WHERE datname = current_database() AND wait_event_type = 'Lock' \
           AND query_start < clock_timestamp() - interval '1 s'); PERFORM pg_sleep(0.05); \
           PERFORM pg_stat_clear_snapshot(); END LOOP; END $$; COMMIT";
    std::thread::scope(|scope| {
        scope.spawn(|| stack.runtime.block_on(library.execute(true, lock)).expect("the lock"));
        let held = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event = 'PgSleep'";
        wait_for("the lock", || stack.runtime.block_on(library.value(held)) == "1");
        let output = stack.command(&accounts, &["import", "--from", &path, "--write"]);
        assert!(output.status.success(), "{output:?}");
    });
}
