//! `hsmd-manual FOLDER`: writes manual pages and shell completions of the installed commands.
//!
//! The definitions are the commands' own source files, included here by path, so that this builds
//! without the daemon and can't say anything else than `--help` does.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory, Parser};
use clap_complete::{Shell, generate_to};

#[expect(unreachable_pub, reason = "public in the daemon's library, where the file belongs")]
#[path = "../../../hsmd/src/commands/cli.rs"]
mod hsmd;

#[path = "../../../hsmctl/src/args.rs"]
mod hsmctl;

/// Writes man/*.1 and completions/ for every installed command.
#[derive(Parser)]
struct Arguments {
    /// Where to write; made if absent.
    folder: PathBuf,
}

fn main() -> io::Result<()> {
    write(&Arguments::parse().folder)
}

fn write(folder: &Path) -> io::Result<()> {
    let (manual, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&manual)?;
    fs::create_dir_all(&completions)?;
    for command in [hsmd::Arguments::command(), hsmctl::Cli::command()] {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut command.clone(), &name, &completions)?;
        }
        clap_mangen::generate_to(command, &manual)?;
    }
    for (name, configuration, about) in [
        (
            "hsmd-keys",
            "/etc/hsmd/keys.toml",
            "Serves the HSM's key log and the endorsed keys over HTTP",
        ),
        (
            "hsmd-auth",
            "/etc/hsmd/auth.toml",
            "Better Auth accounts, devices and sessions over HTTP",
        ),
        ("hsmd-app", "/etc/hsmd/app.toml", "An application behind Better Auth access tokens"),
    ] {
        let command = service(name, configuration, about);
        let page = File::create(manual.join(format!("{}.1", command.get_name())))?;
        clap_mangen::Man::new(command).render(&mut io::BufWriter::new(page))?;
    }
    Ok(())
}

/// The services share one command line, which is private to their common crate: one flag.
fn service(name: &'static str, configuration: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .after_help("Exit codes: 0 good, 1 failed, 64 bad usage or configuration.")
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .default_value(configuration)
                .help("The configuration; every setting is documented in its example"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page_and_completions() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("man/hsmd.1").contains("migrate"));
        assert!(read("man/hsmd-serve.1").contains("assume\\-crashed"));
        assert!(read("man/hsmctl-rotate.1").contains("expected"));
        assert!(read("man/hsmd-auth.1").contains("/etc/hsmd/auth.toml"));
        assert!(read("completions/hsmctl.bash").contains("taint"));
        assert!(read("completions/_hsmd").contains("--assume-crashed"));
        assert!(read("completions/hsmd.fish").contains("import"));
    }
}
