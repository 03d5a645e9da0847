//! A request is served once: by one replica or two, one after the other or all at once.

use std::{collections::HashSet, sync::Arc};

use hsmd_service::random;
use tokio::task::JoinSet;

use crate::{
    session::{REQUEST, now},
    stack::Stack,
};

#[tokio::test]
async fn a_copy_of_a_request_is_refused_by_every_replica() {
    let stack = Stack::start().await;
    let (one, two) = (stack.app().await, stack.app().await);
    let session = stack.session();
    let request = session.request();
    assert_eq!(one.post(request.clone()).await.status, 200);
    for app in [&one, &two, &one] {
        assert_eq!(app.post(request.clone()).await.refusal(), (422, "BA501".to_owned()));
    }
    // The same nonce under another time, by the same device: still used.
    let nonce = random::nonce();
    let again = || session.request_with(nonce, now(), session.token_text(), REQUEST);
    assert_eq!(two.post(again()).await.status, 200);
    assert_eq!(one.post(again()).await.refusal(), (422, "BA501".to_owned()));
}

#[tokio::test]
async fn of_many_copies_at_once_one_is_served() {
    let stack = Stack::start().await;
    let apps = [Arc::new(stack.app().await), Arc::new(stack.app().await)];
    for _ in 0..5 {
        let request = stack.session().request();
        let mut copies = JoinSet::new();
        for copy in 0..40 {
            let (app, request) = (Arc::clone(&apps[copy % 2]), request.clone());
            copies.spawn(async move { app.post(request).await.status });
        }
        let answers = copies.join_all().await;
        assert_eq!(answers.iter().filter(|&&status| status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().collect::<HashSet<_>>(), HashSet::from([&200, &422]));
    }
}

#[tokio::test]
async fn a_refused_request_uses_no_nonce_up_and_none_is_kept_for_ever() {
    let stack = Stack::start().await;
    let app = stack.app().await;
    let session = stack.session();
    let nonce = random::nonce();
    let good = session.request_with(nonce, now(), session.token_text(), REQUEST);
    let forged = good.replace("foo-y", "foo-z");
    assert_eq!(app.post(forged).await.status, 401);
    assert_eq!(app.post(good).await.status, 200);
    let script = format!(
        "redis.call('SELECT', 5)
         local left = redis.call('PTTL', '{nonce}')
         if left <= 0 or left > 30500 then return redis.error_reply('kept for ' .. left) end"
    );
    stack.redis.command(&["EVAL", &script, "0"]).await.unwrap();
}
