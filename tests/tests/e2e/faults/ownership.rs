//! Two daemons that know nothing of each other but the token: its one owner, and what the other is told.

use hsmd_chain::SignedEvent;
use hsmd_tests::{Daemon, Hsmd, Toll, until};

use crate::DOCUMENT;
use crate::faults::database::behind_a_proxy;
use crate::faults::seen::{LOCK_PASSES, SOON, is_not_ready};
use crate::faults::{Seen, faults};
use crate::system::ownership::promotion::{Pair, pair};
use crate::system::ownership::{LEASE, OWNED, other_site};

faults! {
    "The token's owner":
    copied: "a second site is started on the token, with a database of its own", "stops one of the two; if the other is lost for good: `serve --take-over-token`";
    taken_over: "a person takes the token over for a second site while the first one serves", "stops the first one";
    promoted: "a replica is promoted while the old primary lives on, with a daemon on each", "stops the old primary and its daemon";
    older_beside: "a daemon with an older copy of the database is started beside the owner", "corrects its database";
    record_removed: "somebody removes the owner's record from the token", "nothing";
    record_removed_alone: "somebody removes the owner's record while Postgres is away", "starts Postgres";
}

async fn copied() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let other = other_site(&hsmd, false).await;
    let daemon = hsmd.serve().await;
    other.launch(&[]).refused(OWNED).await;
    seen.said("exit of the second", OWNED);
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 2).await
}

async fn taken_over() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await.set("lock_grace", LEASE), Seen::default());
    let other = other_site(&hsmd, false).await;
    let first = hsmd.serve().await;
    seen.signs(&first).await;
    let mut second = other.launch(&["--take-over-token"]);
    second.ready().await;
    is_silent(&mut seen, &first).await;
    first.stop().await;
    seen.signs(&second).await;
    second.rotate_head().await;
    seen.takes_a_person();
    seen.nothing_lost(&other, 2).await
}

/// It does nothing with the token any more, and says whose it is.
async fn is_silent(seen: &mut Seen, daemon: &Daemon) {
    daemon.problem(OWNED).await;
    let head = daemon.status().await.unwrap().head.unwrap();
    let head = SignedEvent::parse(&head.text, &head.signature).unwrap().event().id();
    is_not_ready(daemon).await;
    seen.refuses_to_sign(daemon, "LOCK_LOST").await;
    seen.refuses_to_rotate(daemon, head.as_str(), "LOCK_LOST").await;
    seen.refuses_to_taint(daemon, head.as_str(), "LOCK_LOST").await;
    seen.said("Status", OWNED);
}

async fn promoted() -> Seen {
    let Pair { hsmd, other, first, second } = pair().await;
    let mut seen = Seen::default();
    seen.signs(&first).await;
    other.database.promote().await;
    seen.signs_within(LOCK_PASSES, &second).await;
    is_silent(&mut seen, &first).await;
    second.rotate_head().await;
    assert_eq!(hsmd.database.events().await.len(), 1, "the old primary has nothing new");
    seen.nothing_lost(&other, 2).await
}

async fn older_beside() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await, Seen::default());
    let old = other_site(&hsmd, true).await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    let words = "the log ends at event 0, the journal knows event 2";
    old.launch(&[]).refused(words).await;
    seen.said("exit of the second", words);
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 4).await
}

async fn record_removed() -> Seen {
    let (hsmd, mut seen) = (Hsmd::initialised().await.set("lock_grace", LEASE), Seen::default());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    hsmd.token.forget_journal();
    let claimed = async || {
        (hsmd.token.records() == 1).then_some(())?;
        daemon.sign(DOCUMENT).await.ok().map(drop)
    };
    seen.heals_within(SOON, claimed).await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.nothing_lost(&hsmd, 2).await
}

async fn record_removed_alone() -> Seen {
    let ((hsmd, proxy), mut seen) = (behind_a_proxy().await, Seen::default());
    let hsmd = hsmd.set("lock_grace", LEASE);
    let daemon = hsmd.serve().await;
    let zero = daemon.head().await;
    proxy.take(Toll::Connections);
    hsmd.token.forget_journal();
    until("it has a record again", async || hsmd.token.records() == 1).await;
    until("it is the owner's again", async || daemon.is_serving("").await).await;
    let one = seen.taints(&daemon, zero.event().id().as_str(), true).await;
    seen.signs(&daemon).await;
    proxy.take(Toll::Nothing);
    seen.rotates_within(SOON, &daemon, one.event().id().as_str()).await;
    seen.nothing_lost(&hsmd, 3).await
}
