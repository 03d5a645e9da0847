//! Each fault, seen by a program that uses a SoftHSM token through the module.
//!
//! The module and the one behind it read the environment once a process, so every test runs itself
//! again as a child with the environment set.
#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

mod quirks;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::types::AuthPin;
use hsmd_fault::{Code, Control, Scope, Times, TokenState};
use hsmd_softhsm::{MODULE, TokenFolder, provision};
use hsmd_tests::wait_for;

const PIN: &str = "86420-user";
const LABEL: &str = "fault test";
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What a test needs: the module with a token behind it, and its control file.
struct Bench {
    context: Pkcs11,
    control: Control,
}

/// Runs `body` in a child process with a token of its own.
fn with_token(test: &str, body: fn(&Bench)) {
    #[expect(clippy::disallowed_methods, reason = "tells the child process of a test from it")]
    if let Some(path) = std::env::var_os("HSMD_FAULT_CONTROL") {
        return body(&Bench::set_up(Path::new(&path)));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let conf = TokenFolder::create(&folder.path().join("softhsm")).expect("a token folder").conf();
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test])
        .env("SOFTHSM2_CONF", conf)
        .env("HSMD_FAULT_MODULE", MODULE)
        .env("HSMD_FAULT_CONTROL", folder.path().join("control"))
        .output()
        .expect("run this test again");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(child.status.success(), "{}\n{}", text(&child.stdout), text(&child.stderr));
    assert!(text(&child.stdout).contains("1 passed"), "the child ran no test of this name");
}

impl Bench {
    fn set_up(control: &Path) -> Self {
        let pin = AuthPin::from(PIN);
        provision(&module(), LABEL, &pin, &pin).expect("provision through the module");
        let control = Control::open(control).expect("the control file");
        control.reset_counters();
        let context = Pkcs11::new(module()).expect("load the module");
        initialise(&context).expect("C_Initialize");
        Self { context, control }
    }

    fn session(&self) -> Session {
        let slot = self.context.get_slots_with_initialized_token().expect("slots")[0];
        let session = self.context.open_rw_session(slot).expect("C_OpenSession");
        match session.login(UserType::User, Some(&AuthPin::from(PIN))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
            Err(error) => panic!("C_Login: {error}"),
        }
    }

    /// A session and a key pair.
    fn key(&self) -> (Session, ObjectHandle, ObjectHandle) {
        let session = self.session();
        let (public, private) = generate(&session).expect("a key pair");
        (session, public, private)
    }
}

/// The module lies beside this test's program.
fn module() -> PathBuf {
    let program = std::env::current_exe().expect("this test");
    program.parent().expect("its folder").join("libhsmd_fault.so")
}

fn initialise(context: &Pkcs11) -> Result<(), Error> {
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
}

fn generate(session: &Session) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let public = [Attribute::EcParams(P256.to_vec()), Attribute::Verify(true)];
    let private = [Attribute::Sign(true), Attribute::Label(b"key".to_vec())];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
}

fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, key, &[7; 32])
}

fn function(name: &str) -> Scope {
    name.parse().expect("a function")
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, with: RvError) {
    match result {
        Err(Error::Pkcs11(rv, _)) => assert_eq!(rv, with),
        other => panic!("expected {with:?}, got {other:?}"),
    }
}

#[test]
fn without_faults_everything_passes_and_is_counted() {
    with_token("without_faults_everything_passes_and_is_counted", |bench| {
        let (session, public, private) = bench.key();
        bench.control.reset_counters();
        for _ in 0..5 {
            let signature = sign(&session, private).expect("sign");
            session.verify(&Mechanism::Ecdsa, public, &[7; 32], &signature).expect("verify");
        }
        let status = bench.control.status();
        assert_eq!(status.token, TokenState::Present);
        let called: Vec<_> = status.functions.iter().map(|(name, f)| (&**name, f.calls)).collect();
        assert_eq!(
            called,
            [("C_Sign", 10), ("C_SignInit", 5), ("C_Verify", 5), ("C_VerifyInit", 5)]
        );
        assert_eq!(status.function("C_Sign").length_queries, 5);
        assert_eq!(bench.control.calls("C_SignInit").expect("a function"), 5);
    });
}

#[test]
fn chosen_calls_get_the_chosen_code() {
    with_token("chosen_calls_get_the_chosen_code", |bench| {
        let (session, _, private) = bench.key();
        let init = function("C_SignInit");
        let failure = code("CKR_DEVICE_MEMORY");
        bench.control.fail(init, failure, Times::next(2).after(1), false).expect("set");
        sign(&session, private).expect("the first passes");
        refused(sign(&session, private), RvError::DeviceMemory);
        refused(sign(&session, private), RvError::DeviceMemory);
        sign(&session, private).expect("the fault is over");

        let vendor = code("0x80000123");
        bench.control.fail(init, vendor, Times::always(), false).expect("set");
        for _ in 0..5 {
            refused(sign(&session, private), RvError::VendorDefined(0x8000_0123));
        }
        bench.control.clear(init).expect("clear");
        sign(&session, private).expect("cleared");
        assert_eq!(bench.control.status().function("C_SignInit").failed, 7);

        let failure = code("CKR_GENERAL_ERROR");
        bench.control.fail(Scope::All, failure, Times::always(), false).expect("set");
        refused(bench.context.get_library_info(), RvError::GeneralError);
        refused(generate(&session), RvError::GeneralError);
        bench.control.clear(Scope::All).expect("clear");
        generate(&session).expect("cleared");
    });
}

#[test]
fn a_failed_sign_leaves_its_operation_and_a_lost_answer_its_effect() {
    with_token("a_failed_sign_leaves_its_operation_and_a_lost_answer_its_effect", |bench| {
        let (session, _, private) = bench.key();
        let failure = code("CKR_DEVICE_ERROR");
        bench.control.fail(function("C_Sign"), failure, Times::next(1), true).expect("set");
        refused(sign(&session, private), RvError::DeviceError);
        sign(&session, private).expect("the operation was ended");

        bench.control.fail(function("C_Sign"), failure, Times::next(1), false).expect("set");
        refused(sign(&session, private), RvError::DeviceError);
        refused(sign(&session, private), RvError::OperationActive);
        let fresh = bench.session();
        sign(&fresh, private).expect("another session is free");

        let keys = || fresh.find_objects(&[Attribute::Label(b"key".to_vec())]).map(|k| k.len());
        assert_eq!(keys().expect("find"), 1);
        let make = function("C_GenerateKeyPair");
        bench.control.fail(make, failure, Times::next(1), true).expect("set");
        refused(generate(&fresh), RvError::DeviceError);
        assert_eq!(keys().expect("find"), 2, "the pair was made all the same");
    });
}

#[test]
fn calls_are_slower_but_length_queries_are_not() {
    with_token("calls_are_slower_but_length_queries_are_not", |bench| {
        let (session, _, private) = bench.key();
        let took = || {
            let begun = Instant::now();
            sign(&session, private).expect("sign");
            begun.elapsed()
        };
        // Of several: what comes on top is the machine's other work.
        let least = || (0..5).map(|_| took()).min().expect("times");
        let (delay, none) = (Duration::from_millis(200), Duration::ZERO);
        bench.control.delay(function("C_Sign"), delay, none).expect("set");
        let slow = least();
        assert!((delay..2 * delay).contains(&slow), "{slow:?}");

        bench.control.delay(function("C_Sign"), none, delay).expect("set");
        let times: Vec<_> = (0..6).map(|_| took()).collect();
        let (quickest, slowest) = (times.iter().min(), times.iter().max());
        let apart = quickest.map(|quickest| *quickest + delay / 10);
        assert!(slowest > apart.as_ref(), "no jitter: {times:?}");

        bench.control.clear(Scope::All).expect("clear");
        assert!(least() < delay);
    });
}

#[test]
fn a_call_hangs_until_it_is_released() {
    with_token("a_call_hangs_until_it_is_released", |bench| {
        let (session, _, private) = bench.key();
        let hung = || bench.control.status().function("C_Sign").hung;
        bench.control.hang(function("C_Sign"), Times::next(1).after(1)).expect("set");
        let thread = std::thread::spawn(move || {
            sign(&session, private).expect("the first passes");
            sign(&session, private).expect("goes on when it is released");
            session
        });
        wait_for("the call hangs", || hung() == 1);
        // Another session of the same process is not held up.
        drop(bench.session());
        assert!(!thread.is_finished());
        bench.control.release().expect("release");
        let session = thread.join().expect("the thread");
        sign(&session, private).expect("no other hangs");
        assert_eq!(hung(), 1);
    });
}

#[test]
fn signatures_are_corrupted() {
    with_token("signatures_are_corrupted", |bench| {
        let (session, public, private) = bench.key();
        let verify =
            |signature: &[u8]| session.verify(&Mechanism::Ecdsa, public, &[7; 32], signature);
        bench.control.corrupt(function("C_Sign"), Times::next(1)).expect("set");
        let signature = sign(&session, private).expect("the call itself succeeds");
        assert_eq!(signature.len(), 64);
        refused(verify(&signature), RvError::SignatureInvalid);
        verify(&sign(&session, private).expect("sign")).expect("the next is good");
        assert_eq!(bench.control.status().function("C_Sign").corrupted, 1);
    });
}

#[test]
fn a_dropped_token_comes_back_only_to_who_initialises_again() {
    with_token("a_dropped_token_comes_back_only_to_who_initialises_again", |bench| {
        let (session, _, private) = bench.key();
        let (context, control) = (&bench.context, &bench.control);
        let slot = context.get_slots_with_initialized_token().expect("slots")[0];
        let logged_in = || session.get_session_info().map(|info| info.session_state());

        control.drop_token().expect("drop");
        control.drop_token().expect("once is enough");
        assert_eq!(control.status().token, TokenState::Away);
        assert_eq!(logged_in().expect("C_GetSessionInfo"), SessionState::RwUser);
        refused(sign(&session, private), RvError::DeviceRemoved);
        refused(context.open_rw_session(slot), RvError::TokenNotPresent);
        refused(context.get_token_info(slot), RvError::TokenNotPresent);
        assert_eq!(context.get_slots_with_token().expect("slots"), []);
        assert!(!context.get_slot_info(slot).expect("the slot").token_present());

        control.restore_token().expect("restore");
        assert_eq!(logged_in().expect("C_GetSessionInfo"), SessionState::RwUser);
        refused(sign(&session, private), RvError::DeviceError);
        refused(context.open_rw_session(slot), RvError::DeviceError);
        refused(context.get_slots_with_token(), RvError::GeneralError);
        drop(session);

        // Who initialises while the token is away does not see it come back either.
        control.drop_token().expect("drop");
        context.clone().finalize().expect("C_Finalize");
        initialise(context).expect("C_Initialize without a token");
        assert_eq!(context.get_slots_with_token().expect("slots"), []);
        control.restore_token().expect("restore");
        refused(context.get_slots_with_token(), RvError::GeneralError);

        context.clone().finalize().expect("C_Finalize");
        initialise(context).expect("C_Initialize");
        let (session, _, private) = bench.key();
        sign(&session, private).expect("as before");
    });
}

#[test]
fn without_its_environment_the_module_says_what_is_missing() {
    let module = module();
    #[expect(clippy::disallowed_methods, reason = "tells the child process of a test from it")]
    if std::env::var_os("HSMD_FAULT_CHILD").is_some() {
        return match Pkcs11::new(&module) {
            Err(Error::Pkcs11(RvError::GeneralError, Function::GetFunctionList)) => {}
            other => panic!("expected CKR_GENERAL_ERROR, got {other:?}"),
        };
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let control = folder.path().join("control");
    for (variables, complaint) in [
        (vec![], "HSMD_FAULT_MODULE is not set"),
        (vec![("HSMD_FAULT_MODULE", Path::new(MODULE))], "HSMD_FAULT_CONTROL is not set"),
        (
            vec![("HSMD_FAULT_MODULE", Path::new("/none")), ("HSMD_FAULT_CONTROL", &control)],
            "HSMD_FAULT_MODULE=/none",
        ),
        (
            vec![("HSMD_FAULT_MODULE", Path::new(MODULE)), ("HSMD_FAULT_CONTROL", folder.path())],
            "HSMD_FAULT_CONTROL=",
        ),
    ] {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "without_its_environment_the_module_says_what_is_missing"])
            .args(["--nocapture"])
            .env("HSMD_FAULT_CHILD", "1")
            .envs(variables)
            .output()
            .expect("run this test again");
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && said.contains(complaint), "{complaint}: {said}");
    }
}

fn code(name: &str) -> Code {
    name.parse().expect("a code")
}
