//! `hsmd-softhsm`: provisions a SoftHSM token and arranges its keys for tests, demos and development.
//!
//! Exit codes: 0 good, 64 bad usage, 1 failed. Output is JSON, one object a line, except that
//! `provision` prints the path of the configuration file, the value for `SOFTHSM2_CONF`.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use hsmd_softhsm::{Class, Error, MODULE, Selection, Token, TokenFolder, TokenInfo};
use hsmd_softhsm::{provision, read_pin};
use hsmd_support::cli;

/// SoftHSM2 tokens for tests, demos and development.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Args)]
struct Place {
    /// Folder of the token: softhsm2.conf and the object store.
    #[arg(long)]
    dir: PathBuf,
    /// The token's label.
    #[arg(long)]
    label: String,
    /// File that holds the user PIN.
    #[arg(long)]
    pin_file: PathBuf,
    /// The PKCS#11 module.
    #[arg(long, default_value = MODULE)]
    module: PathBuf,
    /// The configuration file that the module will read; this command sets it for itself.
    #[arg(long, env = "SOFTHSM2_CONF", hide = true)]
    conf: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Objects {
    /// CKA_LABEL.
    #[arg(long)]
    key_label: String,
    /// The sequence number in CKA_ID; any when absent.
    #[arg(long)]
    id: Option<u32>,
    /// One kind of object only.
    #[arg(long)]
    class: Option<Class>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the token and set its PINs, unless that has been done; print the configuration's path.
    Provision {
        #[command(flatten)]
        place: Place,
        /// File that holds the security officer's PIN; by default it is the user PIN.
        #[arg(long)]
        so_pin_file: Option<PathBuf>,
    },
    /// Print what the token says of itself: label, serial number, state of the PIN.
    Info {
        #[command(flatten)]
        place: Place,
    },
    /// Print every key and data object, one a line.
    Keys {
        #[command(flatten)]
        place: Place,
    },
    /// Make a P-256 pair, also when there is one of that label and number already; print it.
    Generate {
        #[command(flatten)]
        place: Place,
        /// CKA_LABEL.
        #[arg(long)]
        key_label: String,
        /// The sequence number for CKA_ID.
        #[arg(long)]
        id: u32,
    },
    /// Copy the selected objects, attributes and all.
    Copy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        objects: Objects,
    },
    /// Destroy the selected objects; it is an error if there are none.
    Destroy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        objects: Objects,
    },
}

fn main() -> ExitCode {
    let cli: Cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let outcome = run(&cli.command).and_then(|text| print(&text));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            hsmd_support::report("hsmd-softhsm", &*error);
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<String, Box<dyn std::error::Error>>;

fn run(action: &Action) -> Outcome {
    match action {
        Action::Provision { place, so_pin_file } => {
            let conf = TokenFolder::create(&place.dir)?.conf();
            place.enter(&conf)?;
            let pin = read_pin(&place.pin_file)?;
            let so_pin = read_pin(so_pin_file.as_ref().unwrap_or(&place.pin_file))?;
            provision(&place.module, &place.label, &pin, &so_pin)?;
            Ok(format!("{}\n", conf.display()))
        }
        Action::Info { place } => {
            place.enter(&TokenFolder::open(&place.dir)?.conf())?;
            line(&TokenInfo::read(&place.module, &place.label)?)
        }
        Action::Keys { place } => {
            place.on_token(Token::objects)?.iter().map(line).collect::<Outcome>()
        }
        Action::Generate { place, key_label, id } => {
            line(&place.on_token(|token| token.generate(key_label, *id))?)
        }
        Action::Copy { place, objects } => {
            place.on_token(|token| token.copy(&objects.selection()))?;
            Ok(String::new())
        }
        Action::Destroy { place, objects } => {
            place.on_token(|token| token.destroy(&objects.selection()))?;
            Ok(String::new())
        }
    }
}

impl Place {
    fn on_token<T>(
        &self,
        work: impl FnOnce(&Token) -> Result<T, Error>,
    ) -> Result<T, Box<dyn std::error::Error>> {
        self.enter(&TokenFolder::open(&self.dir)?.conf())?;
        Ok(Token::with(&self.module, &self.label, &read_pin(&self.pin_file)?, work)?)
    }

    /// The module reads the configuration's path from the environment, which a process can't safely
    /// change for itself: run this same command again with it.
    fn enter(&self, conf: &Path) -> Result<(), std::io::Error> {
        if self.conf.as_deref() == Some(conf) {
            return Ok(());
        }
        let arguments = std::env::args_os().skip(1);
        Err(Command::new(std::env::current_exe()?)
            .args(arguments)
            .env("SOFTHSM2_CONF", conf)
            .exec())
    }
}

impl Objects {
    fn selection(&self) -> Selection {
        Selection { label: self.key_label.clone(), id: self.id, class: self.class }
    }
}

fn line(value: &impl serde::Serialize) -> Outcome {
    Ok(serde_json::to_string(value)? + "\n")
}

fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}
