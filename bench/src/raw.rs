//! The floor: one thread, one session, a kept key handle, CKM_ECDSA, the same module and token.
//!
//! A child process that measures when told to: each line on standard input names a way and a time in
//! milliseconds; each answer is one line of JSON.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use serde::{Deserialize, Serialize};

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

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Signatures a second.
    pub(crate) rate: f64,
    /// Microseconds at the median.
    pub(crate) p50: f64,
    /// Microseconds at the 99th percentile.
    pub(crate) p99: f64,
}

impl Sample {
    /// From the times of single operations, in a stretch of wall time.
    pub(crate) fn of(mut times: Vec<Duration>, wall: Duration) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self { rate: times.len() as f64 / wall.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

/// The child: measures until standard input ends.
pub(crate) fn serve(arguments: &Arguments) {
    let context = Pkcs11::new(&arguments.module).expect("the module");
    let flags = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    context.initialize(flags).expect("C_Initialize");
    let slot = context.get_slots_with_initialized_token().expect("slots")[0];
    let session = context.open_rw_session(slot).expect("a session");
    let pin = std::fs::read_to_string(&arguments.pin_file).expect("the PIN file");
    let pin = pin.trim_end().to_owned().into();
    session.login(UserType::User, Some(&pin)).expect("C_Login");
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Label(arguments.key_label.clone().into_bytes()),
    ];
    let key = session.find_objects(&template).expect("C_FindObjects")[0];
    for line in std::io::stdin().lines() {
        let line = line.expect("standard input");
        let time = Duration::from_millis(line.parse().expect("milliseconds"));
        let (began, mut times) = (Instant::now(), Vec::new());
        let mut digest = [7u8; 32];
        while began.elapsed() < time {
            let one = Instant::now();
            let signature = session.sign(&Mechanism::Ecdsa, key, &digest).expect("C_Sign");
            times.push(one.elapsed());
            digest.copy_from_slice(&signature[..32]);
        }
        let sample = Sample::of(times, began.elapsed());
        println!("{}", serde_json::to_string(&sample).expect("numbers"));
    }
}

/// The child, from outside.
pub(crate) struct Raw {
    child: Child,
    input: ChildStdin,
    output: std::io::BufReader<ChildStdout>,
}

impl Raw {
    /// Starts the child on the token of a test installation.
    pub(crate) fn start(module: &str, conf: PathBuf, pin_file: PathBuf, key_label: &str) -> Self {
        let program = std::env::current_exe().expect("our own path");
        let mut child = std::process::Command::new(program)
            .args(["raw", "--module", module, "--key-label", key_label, "--pin-file"])
            .arg(pin_file)
            .env("SOFTHSM2_CONF", conf)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the raw session");
        let input = child.stdin.take().expect("its input");
        let output = std::io::BufReader::new(child.stdout.take().expect("its output"));
        Self { child, input, output }
    }

    /// Measures for so long.
    pub(crate) fn measure(&mut self, millis: u64) -> Sample {
        writeln!(self.input, "{millis}").expect("the raw session takes orders");
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
