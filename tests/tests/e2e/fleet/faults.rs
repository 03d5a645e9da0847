//! Neighbours that fail while users ask: what they see, and that nothing unendorsed is ever believed.

use std::time::Instant;

use hsmd_tests::{Database, until};

use crate::fleet::load::{ALL, Answer, Asked, accepted_again, saw, under_load};
use crate::fleet::stack::Fleet;
use crate::fleet::user::{Outcome, User};

/// How a service says that it can't decide now.
fn unavailable() -> Outcome {
    Outcome::Refused(503, "BA000".into())
}

/// Asserts that of the services `asked` nothing was seen but acceptance and these.
#[track_caller]
pub(crate) fn only(answers: &[Answer], asked: &[Asked], allowed: &[Outcome]) {
    for answer in answers.iter().filter(|answer| asked.contains(&answer.asked)) {
        let good = answer.outcome == Outcome::Accepted || allowed.contains(&answer.outcome);
        assert!(good, "{answer:?}");
    }
}

/// As [`only`], of all services while Redis is not there or empty. A server notices within a second that its
/// key is not published any more; until then users find no endorsement of it. A token's server key is unknown
/// at once.
#[track_caller]
fn only_without_redis(answers: &[Answer]) {
    let unknown_token = Outcome::Refused(401, "BA000".into());
    let allowed = [unavailable(), unknown_token, Outcome::Unendorsed, Outcome::Unknown];
    only(answers, &ALL, &allowed);
}

/// Asks with a revoked device until it is refused as that, which Redis has forgotten: it is never served.
async fn stays_revoked(user: &User, fleet: &Fleet) {
    let revoked = Outcome::Refused(403, String::new());
    until("Redis holds the revocation again", async || {
        let outcome = user.access(&fleet.face).await;
        assert_ne!(outcome, Outcome::Accepted, "a revoked device is served");
        (outcome == revoked).then_some(())
    })
    .await;
}

const AUTH: [Asked; 2] = [Asked::Auth(0), Asked::Auth(1)];

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_flushed() {
    let mut fleet = Fleet::start().await;
    let revoked = User::revoked(&fleet.face).await;
    let (used, _) = User::enrol(&fleet.face).await.request();
    let app = fleet.face.app.clone();
    assert_eq!(app.post("/foo/bar", used.clone()).await.0, 200);
    let (answers, _) = under_load("Redis flushed", &mut fleet, async |fleet, _| {
        fleet.redis.flush().await.unwrap();
        let over = Instant::now();
        assert_ne!(app.post("/foo/bar", used.clone()).await.0, 200, "its nonce is forgotten");
        stays_revoked(&revoked, fleet).await;
        over
    })
    .await;
    only_without_redis(&answers);
    assert_ne!(app.post("/foo/bar", used).await.0, 200, "it is never judged again");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_down_and_comes_back() {
    let mut fleet = Fleet::start().await;
    let revoked = User::revoked(&fleet.face).await;
    let (answers, _) = under_load("Redis down and back", &mut fleet, async |fleet, answers| {
        fleet.redis.kill().await.unwrap();
        for asked in ALL {
            saw(answers, asked, &unavailable()).await;
        }
        fleet.redis.restart().await.unwrap();
        let over = Instant::now();
        stays_revoked(&revoked, fleet).await;
        over
    })
    .await;
    only_without_redis(&answers);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_restarted() {
    let (key_log, accounts) = tokio::join!(Database::create_alone(), Database::create_alone());
    let mut fleet = Fleet::over(key_log, accounts).await;
    let (answers, _) = under_load("Postgres restarted", &mut fleet, async |fleet, answers| {
        fleet.accounts.stop_server();
        fleet.hsmd.database.stop_server();
        for asked in AUTH {
            saw(answers, asked, &unavailable()).await;
        }
        fleet.accounts.start_server();
        fleet.hsmd.database.start_server();
        Instant::now()
    })
    .await;
    only(&answers, &[Asked::App], &[]);
    only(&answers, &AUTH, &[unavailable()]);
    let head = fleet.daemon().head().await.event().id();
    until("the daemon rotates again", async || fleet.daemon().rotate(head.as_str()).await.ok())
        .await;
    assert_eq!(fleet.hsmd.history().await.events().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hsmd_is_down_and_comes_back() {
    let mut fleet = Fleet::start().await;
    let (answers, _) = under_load("hsmd down and back", &mut fleet, async |fleet, answers| {
        fleet.daemon.take().unwrap().kill().await;
        accepted_again(answers, Instant::now()).await;
        fleet.daemon = Some(fleet.hsmd.serve().await);
        Instant::now()
    })
    .await;
    only(&answers, &ALL, &[]);
    fleet.daemon().taint_head().await;
    fleet.face.ready().await;
    assert_eq!(fleet.hsmd.history().await.events().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hsmd_is_tainted_under_load() {
    let mut fleet = Fleet::start().await;
    let (answers, endorsed) = under_load("hsmd tainted", &mut fleet, async |fleet, _| {
        fleet.daemon().taint_head().await;
        Instant::now()
    })
    .await;
    let dead_token = Outcome::Refused(401, "BA000".into());
    only(&answers, &ALL, &[unavailable(), dead_token, Outcome::Unendorsed]);
    let late = |it: &&Answer| it.begun > endorsed && it.outcome != Outcome::Accepted;
    assert_eq!(answers.iter().find(late), None);
    // Sessions outlive it: nobody had to begin a new one.
    let (_, response) = fleet.face.app.get("/health").await;
    let head = fleet.daemon().head().await.event().id();
    assert!(String::from_utf8(response).unwrap().contains(head.as_str()));
    assert_eq!(User::enrol(&fleet.face).await.access(&fleet.face).await, Outcome::Accepted);
}
