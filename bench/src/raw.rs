//! The floor: one thread, one session, a kept key handle, CKM_ECDSA, the same module and token.
//!
//! A child process that does what it is told: each line on standard input is an order, each answer is
//! one line of JSON.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use hsmd_tests::{Hsmd, KEY_LABEL};

use crate::cpu;
use crate::sample::Sample;

/// DER of the object identifier of P-256, the value of CKA_EC_PARAMS.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What the child needs.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The PKCS#11 module.
    #[arg(long)]
    module: PathBuf,
    /// A file with the user PIN.
    #[arg(long)]
    pin_file: PathBuf,
    /// CKA_LABEL of the keys.
    #[arg(long)]
    key_label: String,
}

/// The child: does as it is told until standard input ends.
pub(crate) fn serve(arguments: &Arguments) {
    let context = Pkcs11::new(&arguments.module).expect("the module");
    let flags = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    context.initialize(flags).expect("C_Initialize");
    let slot = context.get_slots_with_initialized_token().expect("slots")[0];
    let session = context.open_rw_session(slot).expect("a session");
    let pin = std::fs::read_to_string(&arguments.pin_file).expect("the PIN file");
    let pin = pin.trim_end().to_owned().into();
    session.login(UserType::User, Some(&pin)).expect("C_Login");
    for line in std::io::stdin().lines() {
        let line = line.expect("standard input");
        let (order, count) = line.split_once(' ').expect("an order and a number");
        let count = count.parse().expect("a number");
        let sample = match order {
            "sign" => sign(&session, &arguments.key_label, count),
            "generate" => generate(&session, count),
            _ => unreachable!("an order of ours: {order}"),
        };
        println!("{}", serde_json::to_string(&sample).expect("numbers"));
    }
}

fn key(session: &Session, label: &str) -> ObjectHandle {
    let template =
        [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(label.as_bytes().to_vec())];
    session.find_objects(&template).expect("C_FindObjects")[0]
}

fn sign(session: &Session, label: &str, millis: u64) -> Sample {
    let key = key(session, label);
    let time = Duration::from_millis(millis);
    let (began, mut times) = (Instant::now(), Vec::new());
    let cpu = cpu::of_this_thread();
    let mut digest = [7u8; 32];
    while began.elapsed() < time {
        let one = Instant::now();
        let signature = session.sign(&Mechanism::Ecdsa, key, &digest).expect("C_Sign");
        times.push(one.elapsed());
        digest.copy_from_slice(&signature[..32]);
    }
    let cpu = (cpu::of_this_thread() - cpu) as f64 / 1e3 / times.len() as f64;
    Sample { cpu: Some((cpu, 0.0)), ..Sample::of(times, began.elapsed()) }
}

/// Makes key pairs of no generation.
fn generate(session: &Session, count: u64) -> Sample {
    let label = || Attribute::Label(b"somebody-elses".to_vec());
    let public = [Attribute::Token(true), label(), Attribute::EcParams(P256.to_vec())];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label(),
    ];
    let pair = || {
        let one = Instant::now();
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .expect("C_GenerateKeyPair");
        one.elapsed()
    };
    Sample::in_turn((0..count).map(|_| pair()).collect())
}

/// The child, from outside.
pub(crate) struct Raw {
    child: Child,
    input: ChildStdin,
    output: std::io::BufReader<ChildStdout>,
}

impl Raw {
    /// Starts the child on the token of a test installation.
    pub(crate) fn start(hsmd: &Hsmd) -> Self {
        Self::through(hsmd, hsmd_softhsm::MODULE.as_ref(), |_| {})
    }

    /// The same through another module, which may need an environment of its own.
    pub(crate) fn through(
        hsmd: &Hsmd,
        module: &std::path::Path,
        environment: impl FnOnce(&mut Command),
    ) -> Self {
        let program = std::env::current_exe().expect("our own path");
        let mut command = Command::new(program);
        command
            .args(["raw", "--key-label", KEY_LABEL, "--module"])
            .arg(module)
            .arg("--pin-file")
            .arg(hsmd.path("pin"))
            .env("SOFTHSM2_CONF", hsmd.token.conf())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        environment(&mut command);
        let mut child = command.spawn().expect("the raw session");
        let input = child.stdin.take().expect("its input");
        let output = std::io::BufReader::new(child.stdout.take().expect("its output"));
        Self { child, input, output }
    }

    /// Signs for so many milliseconds.
    pub(crate) fn sign(&mut self, millis: u64) -> Sample {
        self.order(format_args!("sign {millis}"))
    }

    /// Makes so many key pairs, which stay on the token.
    pub(crate) fn generate(&mut self, pairs: u64) -> Sample {
        self.order(format_args!("generate {pairs}"))
    }

    fn order(&mut self, order: std::fmt::Arguments<'_>) -> Sample {
        writeln!(self.input, "{order}").expect("the raw session takes orders");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the raw session answers");
        serde_json::from_str(&line).expect("a sample")
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
