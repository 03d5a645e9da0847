//! `hsmd-fault`: sets the faults of a running fault module, and prints what it counted.
//!
//! Exit codes: 0 good, 64 bad usage, 1 failed. `status` prints one JSON object.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use hsmd_fault::{Code, Condition, Control, Quirk, Refusal, Scope, Times};

/// Sets the faults of a PKCS#11 fault module while it runs.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The control file that the module was started with; made if there is none.
    #[arg(long, env = "HSMD_FAULT_CONTROL")]
    control: PathBuf,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Args)]
struct Which {
    /// How many calls the fault hits; until cleared when absent.
    #[arg(long)]
    times: Option<u32>,
    /// How many calls pass before the first is hit.
    #[arg(long, default_value_t = 0)]
    skip: u32,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let a function return a code.
    Fail {
        /// The function, such as C_Sign, or "all".
        function: Scope,
        /// The return code, such as CKR_DEVICE_ERROR, or a number.
        code: Code,
        #[command(flatten)]
        which: Which,
        /// Make the call and then return the code all the same: what it did is done.
        #[arg(long)]
        after: bool,
    },
    /// Make a function slower.
    Delay {
        /// The function, or "all".
        function: Scope,
        /// By how much, such as 70ms.
        #[arg(value_parser = humantime::parse_duration)]
        delay: Duration,
        /// By how much more at most.
        #[arg(long, value_parser = humantime::parse_duration, default_value = "0s")]
        jitter: Duration,
    },
    /// Let calls of a function hang until they are released.
    Hang {
        /// The function, or "all".
        function: Scope,
        #[command(flatten)]
        which: Which,
    },
    /// Let hanging calls go on, and no other hang.
    Release,
    /// Flip a bit in what a function puts out.
    Corrupt {
        /// The function, or "all".
        #[arg(default_value = "C_Sign")]
        function: Scope,
        #[command(flatten)]
        which: Which,
    },
    /// Let a function refuse templates that have an attribute.
    Refuse {
        /// C_CreateObject, C_GenerateKeyPair or C_FindObjectsInit.
        function: Scope,
        /// The attribute, such as CKA_PRIVATE, or with a value: CKA_PRIVATE=true.
        attribute: Condition,
        /// The return code, such as CKR_TEMPLATE_INCONSISTENT, or a number.
        code: Code,
        #[command(flatten)]
        which: Which,
        /// Keep the module's lock after the refusal: the process's next call hangs until released.
        #[arg(long)]
        keep_lock: bool,
    },
    /// Behave as some real modules do.
    Quirk {
        /// Which: handle-reuse, short-ids, hidden-objects, overwritten-ids, undestroyable-keys,
        /// foreign-slot-fails, foreign-slot-garbled, misdirected-finds or pin-pad.
        quirk: Quirk,
        /// Behave well again.
        #[arg(long)]
        off: bool,
    },
    /// Take the token away.
    Drop,
    /// Bring the token back.
    Restore,
    /// Take faults back, let hanging calls go on; for "all" functions, take quirks back and bring the
    /// token back too.
    Clear {
        /// The function, or "all".
        #[arg(default_value = "all")]
        function: Scope,
    },
    /// Print the faults that are set and what was counted, as JSON.
    Status,
    /// Set all counters to zero.
    Reset,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let code = if asked { ExitCode::SUCCESS } else { ExitCode::from(64) };
            return if error.print().is_ok() { code } else { ExitCode::FAILURE };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hsmd_support::report("hsmd-fault", &*error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let control = Control::open(&cli.control)?;
    match cli.command {
        Action::Fail { function, code, which, after } => {
            control.fail(function, code, which.into(), after)?;
        }
        Action::Delay { function, delay, jitter } => control.delay(function, delay, jitter)?,
        Action::Hang { function, which } => control.hang(function, which.into())?,
        Action::Release => control.release()?,
        Action::Corrupt { function, which } => control.corrupt(function, which.into())?,
        Action::Refuse { function, attribute, code, which, keep_lock } => {
            let refusal = Refusal { condition: attribute, code, keeps_lock: keep_lock };
            control.refuse(function, refusal, which.into())?;
        }
        Action::Quirk { quirk, off } => control.quirk(quirk, !off)?,
        Action::Drop => control.drop_token()?,
        Action::Restore => control.restore_token()?,
        Action::Clear { function } => control.clear(function)?,
        Action::Status => {
            let mut output = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut output, &control.status())?;
            writeln!(output)?;
        }
        Action::Reset => control.reset_counters(),
    }
    Ok(())
}

impl From<Which> for Times {
    fn from(which: Which) -> Self {
        Self { skip: which.skip, times: which.times }
    }
}
