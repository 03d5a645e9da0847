//! Command lines: one way to parse them, and every command's own manual pages and completions.
//!
//! `<command> manual FOLDER` is a hidden subcommand of all: it writes `FOLDER/man/*.1` and
//! `FOLDER/completions/`, from the same definition as `--help`. `scripts/package` calls it.

use std::{
    ffi::OsStr,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, Command, Parser};
use clap_complete::{Shell, generate_to};

use crate::chain;

/// The exit code for bad usage or configuration, as in sysexits.h.
pub const USAGE: u8 = 64;

/// The hidden subcommand.
const MANUAL: &str = "manual";

/// Parses this process' arguments. When there is nothing left to do (help, version, manual pages) or the
/// usage is bad, everything has been said and the error is the exit code.
///
/// # Errors
/// The exit code with which to end now.
pub fn parse<A: Parser>() -> Result<A, ExitCode> {
    A::from_arg_matches(&matches(A::command())?).map_err(|error| told(&error))
}

/// As [`parse`], for a command that is not a derived one.
///
/// # Errors
/// The exit code with which to end now.
pub fn matches(command: Command) -> Result<ArgMatches, ExitCode> {
    if let Some(folder) = manual_folder(std::env::args_os().skip(1)) {
        return Err(match write_manual(&command, &folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // A closed standard error is no reason to fail.
                let _told = writeln!(io::stderr(), "{}", chain(&error));
                ExitCode::FAILURE
            }
        });
    }
    command.try_get_matches().map_err(|error| told(&error))
}

/// The folder of `manual FOLDER`. It is not one of clap's subcommands: those must come with the options
/// that a command requires.
fn manual_folder<T: AsRef<OsStr>>(mut arguments: impl Iterator<Item = T>) -> Option<PathBuf> {
    let is_manual = arguments.next()?.as_ref() == MANUAL;
    let folder = arguments.next()?.as_ref().into();
    (is_manual && arguments.next().is_none()).then_some(folder)
}

/// Help and version are answers, everything else is bad usage.
fn told(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match (error.use_stderr(), printed) {
        (true, _) => ExitCode::from(USAGE),
        (false, Ok(())) => ExitCode::SUCCESS,
        (false, Err(_)) => ExitCode::FAILURE,
    }
}

/// Writes manual pages and completions of a command and its subcommands.
fn write_manual(command: &Command, folder: &Path) -> io::Result<()> {
    let (manual, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&manual)?;
    fs::create_dir_all(&completions)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), &name, &completions)?;
    }
    clap_mangen::generate_to(command.clone(), &manual)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs things.
    ///
    /// And more about it.
    #[derive(Debug, Parser)]
    #[command(name = "signer", version = "7.1")]
    struct Arguments {
        /// Required of every other subcommand
        #[arg(long)]
        state: PathBuf,
        #[command(subcommand)]
        command: Subcommand,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Subcommand {
        /// Serve until SIGTERM
        Serve {
            /// Although something is wrong
            #[arg(long)]
            anyway: bool,
        },
    }

    #[test]
    fn a_command_has_its_pages_and_completions() {
        use clap::CommandFactory as _;
        let folder = tempfile::tempdir().unwrap();
        write_manual(&Arguments::command(), folder.path()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let page = read("man/signer.1");
        assert!(page.contains("signer \\- Signs things\n"), "{page}");
        let page = read("man/signer-serve.1");
        assert!(page.contains("signer\\-serve \\- Serve until SIGTERM\n"), "{page}");
        assert!(page.contains("\\-\\-anyway"), "{page}");
        assert!(read("completions/signer.bash").contains("--anyway"));
        assert!(read("completions/_signer").contains("--anyway"));
        assert!(read("completions/signer.fish").contains("anyway"));
    }

    #[test]
    fn only_the_hidden_subcommand_with_a_folder_writes() {
        let folder = |arguments: &[&str]| manual_folder(arguments.iter());
        assert_eq!(folder(&["manual", "out"]), Some("out".into()));
        for arguments in [&[][..], &["manual"], &["manual", "a", "b"], &["serve", "manual"]] {
            assert_eq!(folder(arguments), None, "{arguments:?}");
        }
    }
}
