//! Modules that behave as some real ones do, played by the fault module before a SoftHSM token.

use std::time::Instant;

use hsmd_fault::{Control, Quirk, Refusal, Times};
use hsmd_tests::{Daemon, Hsmd, until, within};

use crate::faults::seen::SOON;
use crate::faults::{Seen, faults};

faults! {
    "Quirks of modules":
    handle_reuse: "the module gives a handle that is in use (tpm2-pkcs11)", "nothing";
    misdirected_finds: "the handle of the journal's copy means a private key (tpm2-pkcs11)", "nothing";
    hidden_objects: "other processes' objects show only after C_Initialize (tpm2-pkcs11)", "nothing";
    overwritten_ids: "a new pair overwrites keys with its CKA_ID (NSS)", "nothing";
    short_ids: "the module cuts CKA_ID to two bytes (yubihsm_pkcs11 before 2.4)", "takes a newer module";
    template_refused: "the module refuses an attribute of a new key", "nothing";
    kept_lock: "the module refuses the journal's copy and keeps its lock", "nothing: the watchdog ends the process, the supervisor starts it";
    undestroyable: "the token does not destroy keys: CKR_ACTION_PROHIBITED", "allows it, or destroys them with the vendor's tool";
    foreign_slot: "another slot's token can't be described", "nothing";
}

async fn with_quirk(quirk: Quirk) -> (Hsmd, Control) {
    let (hsmd, control) = Hsmd::initialised().await.with_faults();
    control.quirk(quirk, true).unwrap();
    (hsmd, control)
}

/// Nothing is seen of it, through rotations, a taint and a restart.
async fn unnoticed(quirk: Quirk) -> Seen {
    let ((hsmd, _control), mut seen) = (with_quirk(quirk).await, Seen::default());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    for _ in 0..3 {
        rotate(&daemon).await;
        seen.signs(&daemon).await;
    }
    daemon.kill().await;
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    let tainted = daemon.head().await;
    daemon.taint_head().await;
    seen.forget_signatures_of(&tainted);
    seen.signs(&daemon).await;
    rotate(&daemon).await;
    seen.signs(&daemon).await;
    assert_eq!(hsmd.token.private_keys(), [5, 6], "no other key went, and none stayed");
    seen.never_ill();
    seen.nothing_lost(&hsmd, 6).await
}

/// A handle that turns out to mean another object refuses a rotation, with nothing changed: the next one
/// finds the module initialised anew.
async fn rotate(daemon: &Daemon) {
    until("a rotation that goes on", async || {
        let head = daemon.head().await.event().id();
        match daemon.rotate(head.as_str()).await {
            Ok((_, performed)) => performed.then_some(()),
            Err(refusal) => {
                assert!(refusal.message.starts_with("nothing has changed"), "{refusal:?}");
                None
            }
        }
    })
    .await;
}

async fn handle_reuse() -> Seen {
    unnoticed(Quirk::HandleReuse).await
}

/// A start that does not find the record which it has just made ends: the supervisor's next one may.
async fn started(hsmd: &Hsmd) -> Daemon {
    for _ in 0..20 {
        let mut daemon = hsmd.launch(&[]);
        let serves = async || match daemon.is_alive() {
            true => daemon.is_serving("").await.then_some(true),
            false => Some(false),
        };
        if until("a start, or its end", serves).await {
            return daemon;
        }
    }
    panic!("no start finds its record");
}

/// By such a handle hsmd once destroyed the key that the head commits to.
async fn misdirected_finds() -> Seen {
    let ((hsmd, control), mut seen) = (with_quirk(Quirk::MisdirectedFinds).await, Seen::default());
    let daemon = started(&hsmd).await;
    seen.signs(&daemon).await;
    for _ in 0..2 {
        daemon.rotate_head().await;
        seen.signs(&daemon).await;
    }
    assert_eq!(hsmd.token.private_keys(), [2, 3], "only keys of earlier generations went");
    control.quirk(Quirk::MisdirectedFinds, false).unwrap();
    daemon.rotate_head().await;
    seen.signs(&daemon).await;
    assert_eq!(hsmd.token.private_keys(), [3, 4]);
    seen.never_ill();
    seen.nothing_lost(&hsmd, 4).await
}

async fn hidden_objects() -> Seen {
    unnoticed(Quirk::HiddenObjects).await
}

async fn overwritten_ids() -> Seen {
    unnoticed(Quirk::OverwrittenIds).await
}

async fn short_ids() -> Seen {
    let (hsmd, control) = Hsmd::fresh().await.with_faults();
    hsmd.migrate().await;
    control.quirk(Quirk::ShortIds, true).unwrap();
    let mut seen = Seen::default();
    let words = "the token changed the CKA_ID";
    hsmd.run(&["init"]).await.refused(words);
    seen.said("init", words);
    assert!(hsmd.token.private_keys().is_empty(), "nothing is left behind");
    control.quirk(Quirk::ShortIds, false).unwrap();
    hsmd.init().await;
    seen.goes_on_by_a_person(&hsmd, 2).await
}

fn refusal(attribute: &str, code: &str, keeps_lock: bool) -> Refusal {
    Refusal { condition: attribute.parse().unwrap(), code: code.parse().unwrap(), keeps_lock }
}

async fn template_refused() -> Seen {
    let ((hsmd, control), mut seen) = (Hsmd::initialised().await.with_faults(), Seen::default());
    let refusal = refusal("CKA_MODIFIABLE", "CKR_TEMPLATE_INCONSISTENT", false);
    control.refuse("C_GenerateKeyPair".parse().unwrap(), refusal, Times::always()).unwrap();
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    seen.signs(&daemon).await;
    assert_eq!(control.status().function("C_GenerateKeyPair").refused, 1);
    seen.never_ill();
    seen.nothing_lost(&hsmd, 2).await
}

async fn kept_lock() -> Seen {
    let ((hsmd, control), mut seen) = (Hsmd::initialised().await.with_faults(), Seen::default());
    let hsmd = hsmd.set("token.0.hang_limit", "5s");
    let refusal = refusal("CKA_LABEL", "CKR_ATTRIBUTE_VALUE_INVALID", true);
    control.refuse("C_CreateObject".parse().unwrap(), refusal, Times::always()).unwrap();
    // The first object is the record of the token's owner.
    let daemon = hsmd.launch(&[]);
    let (status, log) = daemon.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    seen.said("the last line", "a call to the token hangs: ending the process");
    let daemon = hsmd.launch(&[]);
    seen.signs_within(SOON, &daemon).await;
    control.reset_counters();
    daemon.rotate_head().await;
    assert_eq!(control.calls("C_CreateObject").unwrap(), 0, "never tried twice");
    let said = daemon.status().await.unwrap().tokens[0].no_journal_copy.clone();
    assert!(said.contains("CKR_ATTRIBUTE_VALUE_INVALID"), "{said}");
    assert!(hsmd.run(&["check"]).await.good().contains("the token gets none"));
    seen.said("Status, check", "the token gets none");
    seen.nothing_lost(&hsmd, 2).await
}

async fn undestroyable() -> Seen {
    let ((hsmd, control), mut seen) = (with_quirk(Quirk::UndestroyableKeys).await, Seen::default());
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    seen.signs(&daemon).await;
    let tainted = daemon.head().await;
    daemon.taint_head().await;
    seen.forget_signatures_of(&tainted);
    seen.signs(&daemon).await;
    let words = "which does not destroy it";
    daemon.problem(words).await;
    seen.said("Status", words);
    daemon.kill().await;
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    assert_eq!(hsmd.token.private_keys(), [0, 1, 2, 3], "nothing waits for the old keys");
    // The key of a rotation that was killed can't be destroyed either: the next one uses it.
    daemon.kill().await;
    let mut daemon = hsmd.launch_until("rotation::key-made");
    daemon.ready().await;
    let head = daemon.head().await.event().id();
    daemon.rotate(head.as_str()).await.expect_err("it dies");
    daemon.died().await;
    let daemon = hsmd.serve().await;
    daemon.rotate_head().await;
    seen.signs(&daemon).await;
    let began = Instant::now();
    daemon.problem(words).await;
    assert_eq!(hsmd.token.private_keys(), [0, 1, 2, 3, 4]);
    control.quirk(Quirk::UndestroyableKeys, false).unwrap();
    // Each delay is twice the one before, so the next try comes within three times what has passed.
    within(SOON + 3 * began.elapsed(), "the old keys go", async || {
        (hsmd.token.private_keys() == [3, 4]).then_some(())
    })
    .await;
    within(SOON, "nothing is wrong any more", async || {
        daemon.status().await.ok()?.problems.is_empty().then_some(())
    })
    .await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 4).await
}

async fn foreign_slot() -> Seen {
    let ((hsmd, control), mut seen) =
        (with_quirk(Quirk::ForeignSlotGarbled).await, Seen::default());
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    daemon.stop().await;
    control.quirk(Quirk::ForeignSlotFails, true).unwrap();
    let other = hsmd.twin().set("token.0.label", "another");
    let said = other.run(&["check"]).await.stdout;
    for seen in ["no token named another", "label \"hsmd test\" serial ", "CKR_DEVICE_ERROR"] {
        assert!(said.contains(seen), "{seen}: {said}");
    }
    let daemon = hsmd.serve().await;
    seen.signs(&daemon).await;
    seen.never_ill();
    seen.nothing_lost(&hsmd, 1).await
}
