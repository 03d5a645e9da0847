//! The command on real SoftHSM tokens.
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::types::AuthPin;
use hsmd_softhsm::{Class, Error, MODULE, ObjectInfo, Selection, TokenFolder, Tool};
use tempfile::TempDir;

const LABEL: &str = "authorization-key";
const PIN: &str = "86420-user";

fn tool(folder: &TempDir) -> Tool {
    let pin_file = folder.path().join("pin");
    fs::write(&pin_file, format!("{PIN}\n")).expect("write the PIN");
    Tool {
        program: env!("CARGO_BIN_EXE_hsmd-softhsm").into(),
        dir: folder.path().join("softhsm"),
        label: "hsmd test".to_owned(),
        pin_file,
    }
}

fn provisioned(folder: &TempDir) -> Tool {
    let tool = tool(folder);
    tool.provision().expect("provision");
    tool
}

fn shape(objects: &[ObjectInfo]) -> Vec<(Option<&str>, Class)> {
    objects.iter().map(|object| (object.id.as_deref(), object.class)).collect()
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, with: &str) {
    match outcome {
        Err(Error::Failed { stderr, .. }) => assert!(stderr.contains(with), "{stderr}"),
        other => panic!("expected a refusal with {with:?}, got {other:?}"),
    }
}

#[test]
fn provisioning_twice_keeps_token_and_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = provisioned(&folder);
    let before = (tool.info().expect("info"), tool.generate(LABEL, 0).expect("generate"));
    let conf = tool.provision().expect("provision again").conf();
    assert!(fs::read_to_string(conf).expect("read").contains("directories.tokendir = /"));
    assert_eq!(tool.info().expect("info"), before.0);
    assert!(tool.keys().expect("keys").contains(&before.1));
    assert_eq!(fs::read_dir(folder.path().join("softhsm/tokens")).expect("list").count(), 1);
}

#[test]
fn a_crash_between_token_and_pin_is_mended() {
    #[expect(clippy::disallowed_methods, reason = "tells the child process of this test from it")]
    if std::env::var_os("SOFTHSM2_CONF").is_some() {
        return token_without_user_pin();
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = tool(&folder);
    let conf = TokenFolder::create(&tool.dir).expect("create the folder").conf();
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_crash_between_token_and_pin_is_mended"])
        .env("SOFTHSM2_CONF", conf)
        .output()
        .expect("run this test again");
    assert!(child.status.success());
    let serial = tool.info().expect("the half-made token").serial;
    refused(tool.keys(), "log in");
    tool.provision().expect("provision");
    assert_eq!(tool.keys().expect("keys"), []);
    assert_eq!(tool.info().expect("info").serial, serial);
}

/// What a provisioning leaves that ends between C_InitToken and C_InitPIN.
fn token_without_user_pin() {
    let context = Pkcs11::new(MODULE).expect("load the module");
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .expect("C_Initialize");
    let slot = context.get_slots_with_token().expect("slots")[0];
    context.init_token(slot, &AuthPin::from(PIN), "hsmd test").expect("C_InitToken");
    context.finalize().expect("C_Finalize");
}

#[test]
fn a_pair_is_generated_copied_and_destroyed_by_halves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = provisioned(&folder);
    assert_eq!(tool.keys().expect("keys"), []);
    let first = tool.generate(LABEL, 0).expect("generate");
    let second = tool.generate(LABEL, 1).expect("generate");
    assert_ne!(first.public_key, second.public_key);
    assert_eq!((first.label.as_str(), first.id.as_deref()), (LABEL, Some("00000000")));

    tool.copy(&Selection::pair(LABEL, 1)).expect("copy");
    let objects = tool.keys().expect("keys");
    let double = |class| (Some("00000001"), class);
    assert_eq!(
        shape(&objects)[2..],
        [Class::Public, Class::Public, Class::Private, Class::Private].map(double)
    );
    assert_eq!(objects[2].public_key, second.public_key);
    assert_eq!(objects[3].public_key, second.public_key);

    tool.destroy(&Selection { class: Some(Class::Private), ..Selection::pair(LABEL, 0) })
        .expect("destroy half a pair");
    tool.destroy(&Selection::pair(LABEL, 1)).expect("destroy both pairs");
    assert_eq!(shape(&tool.keys().expect("keys")), [(Some("00000000"), Class::Public)]);
    refused(tool.destroy(&Selection::pair(LABEL, 1)), "no such object");
    tool.destroy(&Selection { label: LABEL.to_owned(), id: None, class: None }).expect("destroy");
    assert_eq!(tool.keys().expect("keys"), []);
}

#[test]
fn a_wrong_pin_is_refused_and_seen_without_a_login() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = provisioned(&folder);
    assert!(!tool.info().expect("info").user_pin_count_low);
    fs::write(&tool.pin_file, "wrong-pin\n").expect("write");
    refused(tool.keys(), "incorrect");
    assert!(tool.info().expect("info").user_pin_count_low);
    refused(tool.provision(), "log in with the user PIN");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tool = provisioned(&folder);
    refused(Tool { label: "another".to_owned(), ..tool.clone() }.keys(), "\"another\"");
    refused(Tool { label: "x".repeat(33), ..tool.clone() }.provision(), "32 bytes");
    refused(tool.generate(LABEL, 100_000_000), "8 digits");
    refused(Tool { dir: folder.path().join("none"), ..tool.clone() }.keys(), "token folder");
    refused(Tool { pin_file: folder.path().join("none"), ..tool }.keys(), "PIN file");
    let missing = Tool { program: Path::new("/nowhere").into(), ..provisioned(&folder) };
    assert!(matches!(missing.keys(), Err(Error::Run { .. })));
}
