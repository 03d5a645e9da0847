//! The second process of `hsmd check --try`: it looks at the token while the first one changes it.
//!
//! The first starts itself again with the hidden command `look`, which answers a line for each line:
//! `sees ID`, `holds ID`, `signs`, `initialise`; the answer is `yes` or `no`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hsmd_chain::{Body, Payload};

use super::trial::scratch;
use crate::commands::CommandError;
use crate::config::{Config, TokenConfig};
use crate::observe::telemetry::print;
use crate::token::{KeyHandle, Modules, OpenToken, TokenError};

/// The second process, as the first one sees it.
pub(super) struct Second {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Second {
    pub(super) fn start(config: &Path, token: &TokenConfig) -> Result<Self, TokenError> {
        let failed = |_| TokenError::SecondProcess;
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("--config")
            .arg(config)
            .args(["look", token.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(TokenError::SecondProcess);
        };
        Ok(Self { child, ask, answers: BufReader::new(answers) })
    }

    /// Whether it finds the private key with this CKA_ID.
    pub(super) fn sees(&mut self, id: &[u8]) -> Result<bool, TokenError> {
        self.ask(&format!("sees {}", hex(id)))
    }

    /// Whether it found that key and keeps its handle.
    pub(super) fn holds(&mut self, id: &[u8]) -> Result<bool, TokenError> {
        self.ask(&format!("holds {}", hex(id)))
    }

    /// Whether the key whose handle it keeps signs.
    pub(super) fn signs(&mut self) -> Result<bool, TokenError> {
        self.ask("signs")
    }

    /// Initialises its module anew.
    pub(super) fn initialise(&mut self) -> Result<bool, TokenError> {
        self.ask("initialise")
    }

    /// Ends it, and waits for that.
    pub(super) fn end(self) {
        let Self { mut child, ask, .. } = self;
        drop(ask);
        if let Err(error) = child.wait() {
            tracing::warn!(%error, "cannot wait for the second process");
        }
    }

    fn ask(&mut self, question: &str) -> Result<bool, TokenError> {
        let mut answer = String::new();
        let asked = writeln!(self.ask, "{question}").and_then(|()| self.ask.flush());
        let read = asked.and_then(|()| self.answers.read_line(&mut answer));
        match (read, answer.trim_end()) {
            (Ok(_), "yes") => Ok(true),
            (Ok(_), "no") => Ok(false),
            _ => Err(TokenError::SecondProcess),
        }
    }
}

/// The hidden command `look`.
///
/// # Errors
/// [`CommandError::Token`], [`CommandError::Refused`] for a name that the configuration lacks,
/// [`CommandError::Output`] when the first process is gone.
pub fn look(config: &Config, name: &str) -> Result<(), CommandError> {
    let modules = Modules::default();
    let tokens = config.token.iter().map(scratch);
    let token = tokens.into_iter().find(|token| token.name() == name);
    let token = token.ok_or_else(|| CommandError::Refused(format!("no token {name}")))?;
    let mut looker = Looker { modules, token, config, session: None, held: None };
    looker.open()?;
    for line in std::io::stdin().lines() {
        let line = line.map_err(CommandError::Output)?;
        let answer = if looker.answer(&line)? { "yes\n" } else { "no\n" };
        print(answer).map_err(CommandError::Output)?;
    }
    looker.session = None;
    looker.modules.close();
    Ok(())
}

struct Looker<'a> {
    modules: Modules,
    token: TokenConfig,
    config: &'a Config,
    session: Option<OpenToken>,
    held: Option<KeyHandle>,
}

impl Looker<'_> {
    fn open(&mut self) -> Result<(), TokenError> {
        self.session = Some(OpenToken::open(&self.modules, &self.token, &self.config.state_dir)?);
        Ok(())
    }

    fn answer(&mut self, question: &str) -> Result<bool, TokenError> {
        let session = self.session.as_ref().ok_or(TokenError::Finalised)?;
        let (word, rest) = question.split_once(' ').unwrap_or((question, ""));
        match word {
            "sees" => Ok(session.private_key(&bytes(rest))?.is_some()),
            "holds" => {
                self.held = session.private_key(&bytes(rest))?;
                Ok(self.held.is_some())
            }
            "signs" => {
                let Some(key) = self.held else { return Ok(false) };
                let payload = Payload::parse(r#"{"purpose":"health"}"#.to_owned())
                    .map_err(|_| TokenError::Nonsense("no health payload"))?;
                // Of no key at all: whether it signs is the question, not for whom.
                let body = Body::of_uncommitted_key(None, &session.any_public_key()?, &payload);
                Ok(session.sign(key, &body.signing_input()).is_ok())
            }
            "initialise" => {
                self.session = None;
                self.held = None;
                self.modules.renumber(&self.token.module);
                self.open()?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a hexadecimal text of ours; what is not hexadecimal is left out.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
