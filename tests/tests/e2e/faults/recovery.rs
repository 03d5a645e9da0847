//! docs/disaster-recovery.md, performed: what is lost comes back from a copy, or is said to be gone.

use std::sync::Arc;

use hsmd_softhsm::{Class, Tool};
use hsmd_tests::{Hsmd, KEY_LABEL, TestToken, program};
use toml::Value;

use crate::faults::history::{copy, rotated};
use crate::faults::{Seen, faults};

faults! {
    "Disaster and recovery":
    database_lost: "the database is lost", "`hsmd migrate`, starts it";
    database_and_folder_lost: "the database and the state folder are lost", "`hsmd migrate`, `hsmd import` of any published copy";
    token_older: "an older backup of the token is restored", "restores the newest one; without it: a new identity";
    database_older: "an older backup of the database is restored, the journal is lost", "`hsmd import` of the newest copy";
    both_older: "older backups of database and token are restored", "restores the newest token, `hsmd import` of the newest copy";
    two_histories: "two histories: each of two databases has another event of one number", "`hsmctl reconcile`, then `hsmd clear-branch` on the losing branch's host";
    both_lost: "database and token are lost", "a new identity, told to every verifier";
    another_database: "the configuration names another identity's database", "corrects the configuration";
    another_hsm: "the HSM is replaced by another", "configures both, rotates twice, removes the old one";
}

async fn another_database() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let (other, daemon) = rotated(0).await;
    daemon.stop().await;
    let own = Arc::clone(&hsmd.database);
    let mut hsmd = hsmd;
    hsmd.database = Arc::clone(&other.database);
    let words = "the database holds another identity's log";
    hsmd.run(&["check"]).await.refused(words);
    seen.said("check", words);
    hsmd.launch(&[]).refused("the log is that of").await;
    seen.said("exit", "the log is that of E…, not of E…");
    hsmd.database = own;
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 3).await
}

async fn database_lost() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(2).await, Seen::default());
    daemon.stop().await;
    let hsmd = hsmd.into_empty_database().await;
    let words = "the database lacks events that are known here";
    let check = hsmd.run(&["check"]).await.good();
    assert!(check.contains(words), "{check}");
    seen.said("check", words);
    hsmd.run(&["init"]).await.refused("import a copy with `hsmd import FILE`");
    let seen = seen.goes_on_by_a_person(&hsmd, 4).await;
    let records = hsmd.database.admin_rows().await;
    assert_eq!(records[0].action, "recovered", "{records:?}");
    seen
}

async fn database_and_folder_lost() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(2).await, Seen::default());
    seen.signs(&daemon).await;
    // What any follower of the log holds is as good as an export.
    let published = daemon.log().await.to_json();
    daemon.stop().await;
    assert_eq!(published, hsmd.export().await);
    let hsmd = hsmd.into_empty_database().await;
    hsmd.forget_journal();
    let words = "the log is lost or this is the wrong database";
    hsmd.run(&["check"]).await.refused(crate::faults::history::LOST);
    hsmd.run(&["init"]).await.refused("import a copy with `hsmd import FILE`");
    hsmd.launch(&[]).refused(words).await;
    seen.said("check", crate::faults::history::LOST);
    seen.said("exit", words);
    hsmd.run(&["import", &copy(&hsmd, &published)]).await.good();
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 4).await
}

async fn token_older() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let old = hsmd.token.backup();
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let new = hsmd.token.backup();
    hsmd.token.restore(&old);
    let words = "the token is the wrong one, or an older backup of it";
    hsmd.run(&["check"]).await.refused(words);
    seen.said("check", words);
    let words = "the token holds neither the head's key nor the next one";
    hsmd.launch(&[]).refused(words).await;
    seen.said("exit", words);
    hsmd.token.restore(&new);
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 5).await
}

async fn database_older() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let backup = hsmd.database.backup().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let published = daemon.log().await.to_json();
    daemon.stop().await;
    hsmd.database.restore(&backup).await;
    hsmd.forget_journal();
    hsmd.run(&["check"]).await.refused(crate::faults::history::OLDER);
    seen.said("check", crate::faults::history::OLDER);
    let words = "the log is older than the token";
    hsmd.launch(&[]).refused(words).await;
    seen.said("exit", words);
    hsmd.run(&["import", &copy(&hsmd, &published)]).await.good();
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 4).await
}

async fn both_older() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let (database, token) = (hsmd.database.backup().await, hsmd.token.backup());
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let published = daemon.log().await.to_json();
    daemon.stop().await;
    let newest = hsmd.token.backup();
    hsmd.database.restore(&database).await;
    hsmd.token.restore(&token);
    // Log and token agree with each other: served, the next event 2 would be another one. The journal
    // has it; so has every copy of the log.
    let words = "database and token are older backups";
    hsmd.run(&["check"]).await.refused(words);
    seen.said("check", words);
    let daemon = hsmd.serve().await;
    assert_eq!(
        daemon.head().await.event().sequence_number(),
        2,
        "the journal's event was appended"
    );
    daemon.stop().await;
    seen.said("the log", "which the database lacks");
    hsmd.run(&["check"]).await.refused("the next key is lost");
    hsmd.token.restore(&newest);
    hsmd.run(&["import", &copy(&hsmd, &published)]).await.good();
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 4).await
}

async fn two_histories() -> Seen {
    let (mut seen, hsmd) = (Seen::default(), Hsmd::initialised().await);
    let identity = hsmd.init().await;
    let (token, database) = (hsmd.token.backup(), hsmd.database.backup().await);
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let (losing, first) = (hsmd.export().await, hsmd.observer.history().head().event().id());
    let kept = hsmd.path("kept");
    std::fs::rename(hsmd.state_dir(), &kept).expect("move the state folder away");
    // The other site: an older backup of the token, and a database of its own.
    hsmd.token.restore(&token);
    let hsmd = hsmd.with_database(database).unobserved().set("identity", identity.clone());
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    let right = daemon.rotate_head().await.event().clone();
    daemon.stop().await;
    let winning = hsmd.export().await;

    // The first host comes back with its folder, on the other site's database.
    hsmd.forget_journal();
    std::fs::rename(&kept, hsmd.state_dir()).expect("move it back");
    let words = "two histories of one identity";
    hsmd.run(&["check"]).await.refused(words);
    hsmd.launch(&[]).refused(words).await;
    seen.said("check, exit", words);
    let (one, two) = (copy(&hsmd, &losing), hsmd.path("two.json").display().to_string());
    std::fs::write(&two, &winning).expect("a copy");
    let reconcile = |anchor: &str| {
        let arguments = ["reconcile", "--identity", anchor, "--write", "keep.json", &one, &two];
        arguments.map(str::to_owned)
    };
    let run = async |anchor: &str| {
        let arguments = reconcile(anchor);
        hsmd.hsmctl(&arguments.each_ref().map(String::as_str)).await
    };
    let undecided = run(&identity).await;
    assert!(undecided.stderr.contains("commit to different keys"), "{undecided:?}");
    undecided.ended(2, "Nothing in the logs decides");
    seen.said("hsmctl reconcile", "Nothing in the logs decides");
    // A person has found out which branch the token goes on from.
    let head = format!("{identity}@{}:{}", right.sequence_number(), right.id());
    assert!(run(&head).await.good().contains("the losing branch"));

    let keep = hsmd.path("keep.json").display().to_string();
    hsmd.run(&["clear-branch", &one]).await.refused("the database holds event");
    hsmd.run(&["clear-branch", &keep]).await.refused(&format!("--discard {first}"));
    hsmd.run(&["clear-branch", &keep, "--discard", first.as_str()]).await.good();
    let again = hsmd.run(&["clear-branch", &keep, "--discard", first.as_str()]).await;
    assert!(again.status.success() && again.stderr.contains("nothing to clear"), "{again:?}");
    hsmd.run(&["check"]).await.good();
    seen.goes_on_by_a_person(&hsmd, 4).await
}

async fn both_lost() -> Seen {
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    let old = daemon.log().await;
    daemon.stop().await;
    let mut hsmd = hsmd.into_empty_database().await.unobserved();
    hsmd.token = Arc::new(TestToken::provision());
    std::fs::remove_dir_all(hsmd.state_dir()).unwrap();
    let words = "names the identity";
    let both = "database and token hold nothing of this identity";
    hsmd.run(&["check"]).await.refused(both);
    seen.said("check", both);
    hsmd.launch(&[]).refused("run `hsmd init`").await;
    hsmd.run(&["init"]).await.refused(words);
    seen.said("init", "the configuration names the identity …, but the key log is empty");
    // A copy of the log proves itself, but nobody holds its keys.
    let copy = copy(&hsmd, &old.to_json());
    hsmd.run(&["import", &copy]).await.refused("neither the head's key nor the next one");
    let hsmd = hsmd.unset("identity");
    let identity = hsmd.init().await;
    assert_ne!(identity, old.identity().to_string());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    seen.takes_a_person();
    seen.kept = "the old log proves itself for ever; ".into();
    seen.nothing_lost(&hsmd, 2).await
}

/// A `[[token]]` of the configuration.
fn entry(label: &str) -> Value {
    let entry = [
        ("module", hsmd_softhsm::MODULE),
        ("label", label),
        ("pin_file", "@/pin"),
        ("key_label", KEY_LABEL),
    ];
    Value::Table(entry.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

async fn another_hsm() -> Seen {
    let (old, new) = ("hsmd test", "hsmd new");
    let ((hsmd, daemon), mut seen) = (rotated(1).await, Seen::default());
    daemon.stop().await;
    let tool = Tool {
        program: program("hsmd-softhsm"),
        dir: hsmd.token.conf().parent().unwrap().into(),
        label: new.into(),
        pin_file: hsmd.path("pin"),
    };
    tool.provision().unwrap();
    let keys_on_the_new = || {
        let keys = tool.keys().unwrap().into_iter();
        let ours = keys.filter(|key| key.class == Class::Private && key.label == KEY_LABEL);
        let mut ids: Vec<_> = ours.filter_map(|key| key.id?.parse::<u32>().ok()).collect();
        ids.sort_unstable();
        ids
    };

    let hsmd = hsmd.set("token", Value::Array(vec![entry(old), entry(new)]));
    hsmd.run(&["check"]).await.good();
    let mut daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    assert_eq!((hsmd.token.private_keys(), keys_on_the_new()), (vec![2], vec![3]));
    seen.signs(&daemon).await;
    daemon.stop().await;

    // Half way: each alone is not enough, and both together are, also after a death.
    let half = hsmd.set("token", Value::Array(vec![entry(old)]));
    half.run(&["check"]).await.refused("a second token is not configured");
    let half = half.set("token", Value::Array(vec![entry(new)]));
    half.run(&["check"]).await.refused("a second token is not configured");
    let hsmd = half.set("token", Value::Array(vec![entry(old), entry(new)]));
    hsmd.run(&["check"]).await.good();
    daemon = hsmd.launch_until("rotation::committed");
    daemon.ready().await;
    let two = daemon.head().await.event().id();
    daemon.rotate(two.as_str()).await.expect_err("it dies");
    daemon.died().await;
    daemon = hsmd.serve().await;
    let (three, performed) = daemon.rotate(two.as_str()).await.unwrap();
    assert_eq!((three.event().sequence_number(), performed), (3, false));
    seen.signs(&daemon).await;
    assert_eq!((hsmd.token.private_keys(), keys_on_the_new()), (vec![], vec![3, 4]));
    daemon.taint_head().await;
    seen.signs(&daemon).await;
    daemon.stop().await;

    let hsmd = hsmd.set("token", Value::Array(vec![entry(new)]));
    hsmd.run(&["check"]).await.good();
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    daemon.rotate_head().await;
    assert_eq!((hsmd.token.private_keys(), keys_on_the_new()), (vec![], vec![5, 6]));
    seen.takes_a_person();
    // Generation 3 was tainted: what it signed is not to be believed.
    seen.forget_signatures_of(&three);
    seen.nothing_lost(&hsmd, 6).await
}
