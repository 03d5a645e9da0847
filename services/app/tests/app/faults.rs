//! Neighbours that fail: what a user sees, and that nothing used, revoked or tainted becomes valid.

use hsmd_tests::until;

use crate::stack::Stack;

#[tokio::test]
async fn a_flushed_redis_forgets_nothing_that_matters() {
    let stack = Stack::start().await;
    let app = stack.app().await;
    let used = stack.session();
    let request = used.request();
    assert_eq!(app.post(request.clone()).await.status, 200);

    stack.redis.flush().await.unwrap();
    assert_ne!(app.post(request.clone()).await.status, 200, "its nonce was forgotten");
    // Our own key comes back by itself; the auth server is us here.
    stack.publish(&stack.server, "access").await;
    until("the app to say so", async || {
        app.status("/ready").await.text.contains("all revocations")
    })
    .await;
    let answer = app.post(stack.session().request()).await;
    assert_eq!(answer.refusal(), (503, "BA000".to_owned()), "revocations are unknown");

    stack.vouch_for_revocations().await;
    app.until_ready().await;
    assert_eq!(app.post(stack.session().request()).await.status, 200);
    assert_eq!(app.post(request).await.status, 503, "the old request is never judged again");
}

#[tokio::test]
async fn without_redis_there_is_no_answer_and_after_it_there_is() {
    let mut stack = Stack::start().await;
    let app = stack.app().await;
    assert_eq!(app.post(stack.session().request()).await.status, 200);
    stack.redis.kill().await.unwrap();
    assert_eq!(app.post(stack.session().request()).await.refusal(), (503, "BA000".to_owned()));
    assert_eq!(app.status("/live").await.status, 200);
    until("the app to notice", async || app.status("/ready").await.status == 503).await;

    stack.redis.restart().await.unwrap();
    stack.publish(&stack.server, "access").await;
    stack.vouch_for_revocations().await;
    app.until_ready().await;
    assert_eq!(app.post(stack.session().request()).await.status, 200);
}

#[tokio::test]
async fn a_taint_kills_tokens_at_once_and_the_app_gets_a_new_endorsement() {
    let stack = Stack::start().await;
    let app = stack.app().await;
    let session = stack.session();
    assert_eq!(app.post(session.request()).await.status, 200);
    stack.hsm.daemon().taint_head().await;
    until("the tainted server key to be refused", async || {
        app.post(session.request()).await.refusal() == (401, "BA000".to_owned())
    })
    .await;
    stack.publish(&stack.server, "access").await;
    assert_eq!(app.post(session.request()).await.status, 200, "endorsed again, the token lives");
    app.until_ready().await;
}

#[tokio::test]
async fn hsmd_may_be_away_for_a_while_and_no_longer() {
    let mut stack = Stack::start().await;
    let app = stack.app().await;
    stack.hsm.kill().await;
    assert_eq!(app.post(stack.session().request()).await.status, 200, "nobody needs it just now");
    until("the key log to be stale", async || {
        app.post(stack.session().request()).await.refusal() == (503, "BA000".to_owned())
    })
    .await;
    let answer = app.status("/ready").await;
    assert!(answer.status == 503 && answer.text.contains("key log is stale"), "{}", answer.text);
    stack.hsm.serve().await;
    app.until_ready().await;
    assert_eq!(app.post(stack.session().request()).await.status, 200);
}

#[tokio::test]
async fn a_start_while_all_is_down_waits_and_a_stop_is_clean() {
    let mut stack = Stack::start().await;
    stack.hsm.kill().await;
    stack.redis.kill().await.unwrap();
    let mut app = stack.unready_app().await;
    assert_eq!(app.post(stack.session().request()).await.refusal(), (503, "BA000".to_owned()));
    stack.redis.restart().await.unwrap();
    stack.hsm.serve().await;
    stack.vouch_for_revocations().await;
    app.until_ready().await;

    app.process.terminate();
    app.process.ended().await;
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_makes_it_unready() {
    let stack = Stack::start().await;
    let app = stack.app().await;
    let set = async |value| {
        stack.redis.command(&["CONFIG", "SET", "min-replicas-to-write", value]).await.unwrap();
    };
    set("1").await;
    until("it is not ready", async || {
        let ready = app.status("/ready").await;
        (ready.status == 503 && ready.text.contains("Redis refused")).then_some(())
    })
    .await;
    set("0").await;
    app.until_ready().await;
    assert_eq!(app.post(stack.session().request()).await.status, 200);
}

#[tokio::test]
async fn check_tries_what_serving_needs() {
    let mut stack = Stack::start().await;
    let said = stack.check("", "").await.good();
    for line in ["ok   configuration", "ok   key log", "ok   endorsement", "ok   redis"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // What hsmd's policy does not give is named with what to do.
    let longer = "[keys]\nresponse = \"900h\"\n[access]";
    stack.check("[access]", longer).await.refused("BAD  endorsement");
    stack.check("timeout", "timeouts").await.ended(64, "unknown field");
    stack.redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    stack.check("", "").await.refused("BAD  redis");
    stack.redis.kill().await.unwrap();
    stack.check("", "").await.refused("Redis can't be reached");
    stack.hsm.kill().await;
    stack.check("", "").await.refused("BAD  key log");
}
