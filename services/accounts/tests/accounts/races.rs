//! What must happen once happens once, over two replicas.

use std::{sync::Barrier, thread};

use serde_json::{Value, json};

use crate::{
    client::{Answer, Browser, Http, PASSWORD},
    stack::{Replica, Stack, wait_for},
};

/// Eight requests at once, at the two replicas in turn.
fn eight(replicas: &[Replica; 2], request: impl Fn(&Http) -> Answer + Sync) -> Vec<Answer> {
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (http, barrier, request) =
                    (replicas[number % 2].http.clone(), &barrier, &request);
                scope.spawn(move || {
                    barrier.wait();
                    request(&http)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn good(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

fn last_token(stack: &Stack, count: usize) -> String {
    wait_for("a mail", || {
        let text = std::fs::read_to_string(stack.path("outbox.jsonl")).unwrap_or_default();
        let mail: Value = serde_json::from_str(text.lines().nth(count)?).expect("JSON");
        mail["token"].as_str().map(str::to_owned)
    })
}

#[test]
fn eight_at_once() {
    let stack = Stack::start();
    let replicas = [stack.accounts_with_mail(""), stack.accounts_with_mail("")];
    let body = json!({"name": "Ann", "email": "ann@example.com", "password": PASSWORD});
    let answers = eight(&replicas, |http| http.post("/sign-up/email", &body));
    let known = answers.iter().filter(|answer| answer.status == 422).count();
    assert_eq!((good(&answers), known), (1, 7), "{answers:?}");
    assert_eq!(stack.value("SELECT count(*) FROM users"), "1");

    let http = &replicas[0].http;
    http.post("/request-password-reset", &json!({"email": "ann@example.com"}));
    let body = json!({"token": last_token(&stack, 0), "newPassword": "battery staple"});
    let answers = eight(&replicas, |http| http.post("/reset-password", &body));
    assert_eq!(good(&answers), 1, "{answers:?}");

    let sign_in =
        || Browser::sign_in(http, "ann@example.com", "battery staple").expect("signed in");
    let (ann, other) = (sign_in(), sign_in());
    let token = other.get("/get-session").at("/session/token");
    let answers =
        eight(&replicas, |http| ann.at(http).post("/revoke-session", &json!({"token": token})));
    assert_eq!(good(&answers), 8, "{answers:?}");
    assert_eq!(stack.value("SELECT count(*) FROM sessions WHERE revoked_at IS NULL"), "1");

    ann.post("/delete-user", &json!({}));
    let body = json!({"token": last_token(&stack, 1)});
    let answers = eight(&replicas, |http| ann.at(http).post("/delete-user", &body));
    assert_eq!(good(&answers), 1, "{answers:?}");
    assert_eq!(stack.value("SELECT count(*) FROM users"), "0");
}

/// Whichever comes first: no session that the old password made outlives its change.
#[test]
fn a_change_of_the_password_against_sign_ins() {
    let stack = Stack::start();
    let replicas = [stack.accounts(), stack.accounts()];
    let mut passwords = [PASSWORD, "battery staple"];
    let mut ann = Browser::sign_up(&replicas[0].http, "ann@example.com");
    for _ in 0..5 {
        let [old, new] = passwords;
        let change =
            json!({"currentPassword": old, "newPassword": new, "revokeOtherSessions": true});
        let sign_in = json!({"email": "ann@example.com", "password": old});
        let turn = std::sync::atomic::AtomicUsize::new(0);
        let answers = eight(&replicas, |http| {
            match turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                3 => ann.at(http).post("/change-password", &change),
                _ => http.post("/sign-in/email", &sign_in),
            }
        });
        let is_change = |answer: &&Answer| answer.json().get("redirect").is_none();
        let changed =
            answers.iter().filter(|it| it.status == 200).find(is_change).expect("changed");
        ann.cookie = changed.session_cookie();
        assert!(ann.is_signed_in());
        for answer in answers.iter().filter(|it| it.status == 200).filter(|it| !is_change(it)) {
            let made = Browser { cookie: answer.session_cookie(), ..ann.clone() };
            assert!(!made.is_signed_in(), "by the old password");
        }
        passwords.reverse();
    }
}
