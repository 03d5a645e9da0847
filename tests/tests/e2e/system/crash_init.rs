//! kill -9 between any two steps of `init` and `import`: run it again, and there is one identity.

use std::collections::BTreeSet;
use std::path::Path;

use hsmd_tests::{Hsmd, for_each_case};

use crate::system::{crash_rotation, ownership, standby};

/// Each kill point on the way of `init`, and whether the intent holds event 0 when it is passed.
const POINTS: [(&str, bool); 10] = [
    ("pin::before-login", false),
    ("init::intent", false),
    ("init::key-0", false),
    ("init::key-1", false),
    ("init::signed", false),
    ("init::journaled", true),
    ("rotation::before-commit", true),
    ("init::committed", true),
    ("init::journal", true),
    ("init::done", false),
];

#[tokio::test]
async fn init_finishes_what_a_killed_one_began() {
    for_each_case(POINTS, |(point, holds_event)| async move {
        let hsmd = Hsmd::fresh().await;
        hsmd.migrate().await;
        hsmd.run_until(point, &["init"]).await;
        let signed = std::fs::read_to_string(hsmd.state_dir().join("init.json"))
            .is_ok_and(|intent| intent.contains(r#""event""#));
        assert_eq!(signed, holds_event, "{point}");
        let in_the_log = hsmd.database.events().await.pop().map(|event| event.event().prefix());

        let identity = hsmd.init().await;
        if let Some(in_the_log) = in_the_log {
            assert_eq!(identity, in_the_log.to_string(), "{point}: another identity");
        }
        assert_eq!(hsmd.init().await, identity, "{point}");
        assert!(!hsmd.state_dir().join("init.json").exists(), "{point}: the intent is left");
        assert_eq!(hsmd.token.private_keys(), [0, 1], "{point}");
        let daemon = hsmd.serve().await;
        daemon.rotate_head().await;
        let log = hsmd.history().await;
        assert_eq!((log.events().len(), log.identity().to_string()), (2, identity), "{point}");
    })
    .await;
}

#[tokio::test]
async fn init_survives_being_killed_at_every_step_in_turn() {
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    for (point, _) in POINTS {
        hsmd.run_until(point, &["init"]).await;
    }
    let identity = hsmd.init().await;
    assert_eq!(hsmd.history().await.identity().to_string(), identity);
    assert_eq!(hsmd.token.private_keys(), [0, 1]);
    hsmd.serve().await.rotate_head().await;
}

#[tokio::test]
async fn a_daemon_serves_what_a_killed_init_had_committed() {
    let hsmd = Hsmd::fresh().await;
    hsmd.migrate().await;
    hsmd.run_until("init::committed", &["init"]).await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    daemon.stop().await;
    let identity = hsmd.init().await;
    let log = hsmd.history().await;
    assert_eq!((log.identity().to_string(), log.events().len()), (identity, 2));
    hsmd.serve().await.rotate_head().await;
}

#[tokio::test]
async fn a_killed_import_has_changed_nothing() {
    let hsmd = Hsmd::initialised().await;
    let identity = hsmd.init().await;
    hsmd.serve().await.rotate_head().await;
    std::fs::write(hsmd.path("copy"), hsmd.export().await).unwrap();
    let hsmd = hsmd.into_empty_database().await.set("identity", identity);
    let copy = hsmd.path("copy").display().to_string();
    hsmd.run_until("rotation::before-commit", &["import", &copy]).await;
    assert!(hsmd.database.events().await.is_empty());
    hsmd.run(&["import", &copy]).await.good();
    assert_eq!(hsmd.history().await.events().len(), 2);
}

/// A kill point that no table names would be a step that nobody tests.
#[test]
fn every_kill_point_in_the_sources_is_tested() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hsmd/src");
    let mut named = BTreeSet::new();
    collect(&sources, &mut named);
    let rotation = crash_rotation::CASES.iter().flat_map(|case| case.dies_at);
    let init = POINTS.iter().map(|(point, _)| *point);
    let tested = rotation.copied().chain(init).chain([standby::KILL_POINT]);
    let tested = tested.chain(ownership::KILL_POINTS);
    let tested = tested.map(|point| point.split('=').next().unwrap_or(point).to_owned());
    assert_eq!(named, tested.collect::<BTreeSet<_>>());
}

fn collect(folder: &Path, named: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, named);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            let calls = text.split("crash_point!(\"").skip(1);
            named.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
        }
    }
}
