//! The database itself refuses to change history, to the daemon's role and to the owner alike.

use hsmd_tests::Hsmd;

#[tokio::test]
async fn nobody_changes_history() {
    let hsmd = Hsmd::initialised().await;
    let before = (hsmd.database.events().await, hsmd.database.admin_rows().await);
    for statement in [
        "UPDATE event SET signature = signature",
        "DELETE FROM event",
        "TRUNCATE event CASCADE",
        "UPDATE admin_action SET reason = 'none'",
        "DELETE FROM admin_action",
        "TRUNCATE admin_action",
    ] {
        let refused = |as_owner| hsmd.database.execute(as_owner, statement);
        let writer = refused(false).await.unwrap_err().to_string();
        assert!(writer.contains("permission denied"), "{statement}: {writer}");
        let owner = refused(true).await.unwrap_err().to_string();
        assert!(owner.contains("append-only"), "{statement}: {owner}");
    }
    assert_eq!((hsmd.database.events().await, hsmd.database.admin_rows().await), before);
}

#[tokio::test]
async fn the_table_takes_nothing_but_the_next_event() {
    let hsmd = Hsmd::initialised().await;
    let other = Hsmd::initialised().await;
    let text = |event: &hsmd_chain::SignedEvent| event.text().to_owned();
    let (ours, theirs) = (hsmd.database.events().await, other.database.events().await);
    let event = text(&ours[0]);
    for (text, constraint) in [
        (text(&theirs[0]), "event_one_per_number"),
        (event.replace(":0,", ":1,"), "event_first"),
        (event.replace(":0,", ": 0,"), "event_canonical"),
        (event.replace(":0,", ":0,\"sequenceNumber\":1,"), "event_canonical"),
        (event.replace(":0,", ":00,"), "event_canonical"),
        (format!("{event}\n"), "event_canonical"),
    ] {
        let signature = ours[0].signature();
        let sql = format!("INSERT INTO event VALUES ('{text}', '{signature}')");
        let error = hsmd.database.execute(false, &sql).await.unwrap_err().to_string();
        assert!(error.contains(constraint), "{text}: {error}");
    }
    let sql = format!("INSERT INTO event VALUES ('{event}', '0I')");
    let error = hsmd.database.execute(false, &sql).await.unwrap_err().to_string();
    assert!(error.contains("event_signature_shape"), "{error}");
    assert_eq!(hsmd.history().await.events().len(), 1);
}

#[tokio::test]
async fn a_writer_that_may_do_more_is_reported() {
    let hsmd = Hsmd::initialised().await;
    let grant = "GRANT DELETE ON event TO PUBLIC";
    hsmd.database.execute(true, grant).await.unwrap();
    hsmd.run(&["check"]).await.refused("event: DELETE");
    hsmd.migrate().await;
    hsmd.run(&["check"]).await.good();
}

#[tokio::test]
async fn without_a_schema_it_says_what_to_run() {
    let hsmd = Hsmd::fresh().await;
    for command in ["init", "export", "check"] {
        hsmd.run(&[command]).await.refused("run `hsmd migrate`");
    }
    hsmd.launch(&[]).refused_until_a_person_acts("run `hsmd migrate`").await;
}
