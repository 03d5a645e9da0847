//! `hsmd check --try`: what the configured token does with keys of a scratch label, before any key
//! counts. Each step is a line of the report; a step that does not return ends the process.

mod records;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hsmd_chain::PublicKey;
use hsmd_support::chain;

use super::Report;
use super::owner::in_the_way;
use super::second::Second;
use crate::commands::{CommandError, locked_writer};
use crate::config::{Config, TokenConfig};
use crate::observe::telemetry::print;
use crate::token::{Modules, OpenToken, TokenError, random_id};

/// What a step found.
enum Finding {
    /// A step begins: the name of what runs now.
    Begins(&'static str),
    Good(&'static str, String),
    Note(&'static str, String),
    Bad(&'static str, String),
}

/// Tries every configured token. Refused beside a daemon that serves: it holds the writer lock, or, with another
/// database, owns the token.
pub(super) async fn trial(
    config: &Config,
    config_path: &std::path::Path,
    report: &mut Report,
) -> Result<(), CommandError> {
    let mut writer = match locked_writer(config).await {
        Ok(writer) => writer,
        Err(error) => {
            report.bad("try", format!("nothing was tried: {}", chain(&error)));
            return Ok(());
        }
    };
    if let Some(reason) = in_the_way(config, &mut writer).await? {
        report.bad("try", format!("nothing was tried: {reason}"));
        return Ok(());
    }
    for token in &config.token {
        let (tell, told) = channel();
        let (scratch, state_dir) = (scratch(token), config.state_dir.clone());
        let (path, claim_wait) = (config_path.to_owned(), config.claim_wait);
        let thread = std::thread::Builder::new().name("trial".into()).spawn(move || {
            let mut trial = Trial::new(scratch, state_dir, path, claim_wait, tell);
            if let Err(error) = trial.run() {
                trial.bad("try", chain(&error));
            }
            trial.modules.close();
        });
        let thread = thread.map_err(CommandError::Thread)?;
        if !listen(token, &told, report) {
            // The call can't be cancelled, and the module's clean-up at an orderly exit may wait for it.
            print(report.text()).map_err(CommandError::Output)?;
            std::process::exit(1);
        }
        if thread.join().is_err() {
            report.bad("try", "the trial panicked");
        }
    }
    drop(writer);
    Ok(())
}

/// Takes the findings down. False when a step did not return.
fn listen(token: &TokenConfig, told: &Receiver<Finding>, report: &mut Report) -> bool {
    let mut runs = "opening the token";
    loop {
        match told.recv_timeout(token.hang_limit) {
            Ok(Finding::Begins(what)) => runs = what,
            Ok(Finding::Good(what, finding)) => report.good(what, &finding),
            Ok(Finding::Note(what, finding)) => report.note(what, &finding),
            Ok(Finding::Bad(what, finding)) => report.bad(what, &finding),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => {
                let advice = if runs == DATA || runs == AFTER_DATA {
                    "set journal_copy = false for this token and try again"
                } else {
                    "this device can't be used"
                };
                let limit = humantime::format_duration(token.hang_limit);
                report.bad("try", format!("{runs} did not return within {limit}: {advice}"));
                return false;
            }
        }
    }
}

/// The token under a label of its own, so that no key of ours is met.
pub(super) fn scratch(token: &TokenConfig) -> TokenConfig {
    TokenConfig { key_label: format!("{}:try", token.key_label), ..token.clone() }
}

const DATA: &str = "writing a data object";
const AFTER_DATA: &str = "the call after a data object";

struct Trial {
    modules: Arc<Modules>,
    config: TokenConfig,
    state_dir: std::path::PathBuf,
    config_path: std::path::PathBuf,
    claim_wait: Duration,
    tell: Sender<Finding>,
}

/// A pair of the trial.
struct Pair {
    id: Vec<u8>,
    key: PublicKey,
}

impl Trial {
    fn new(
        config: TokenConfig,
        state_dir: std::path::PathBuf,
        config_path: std::path::PathBuf,
        claim_wait: Duration,
        tell: Sender<Finding>,
    ) -> Self {
        Self { modules: Arc::default(), config, state_dir, config_path, claim_wait, tell }
    }

    fn run(&mut self) -> Result<(), TokenError> {
        let token = self.open()?;
        self.mechanisms(&token)?;
        self.clean_up(&token)?;
        let done = self.steps(token);
        // Whatever a step found: nothing is left behind.
        self.begins("cleaning up");
        let token = self.fresh(None)?;
        let left = self.clean_up(&token);
        match (&done, left) {
            (Ok(()), Ok(_)) => {
                let gone = token.inventory()?.pairs.is_empty()
                    && token.read_data(&self.data_label())?.is_empty()
                    && token.read_record_pairs(&self.data_label())?.is_empty();
                if gone {
                    self.good("try: destroy", "nothing of the trial is left on the token");
                } else {
                    self.bad("try: destroy", "something of the trial is still found".into());
                }
            }
            (_, Err(error)) => {
                self.bad("try: destroy", format!("{}: {UNDESTROYABLE}", chain(&error)))
            }
            (Err(_), Ok(_)) => {}
        }
        done
    }

    fn steps(&self, token: OpenToken) -> Result<(), TokenError> {
        let (token, first) = self.pair(token)?;
        let (token, second) = self.pair(token)?;
        if first.key == second.key {
            self.bad("try: pairs", "two pairs have one key: this device can't be used".into());
            return Ok(());
        }
        self.good("try: pairs", "two were made; ids and attributes are as asked for");
        for pair in [&first, &second] {
            self.begins("signing");
            token.prove(&pair.id, &pair.key, None)?;
        }
        self.good("try: signing", "both pairs sign, and the signatures verify");
        let token = self.data(token)?;

        let mut other = Second::start(&self.config_path, &self.config)?;
        let sees_both = other.sees(&first.id)? && other.sees(&second.id)?;
        let signs = other.holds(&first.id)? && other.signs()?;
        if !sees_both || !signs {
            self.bad("try: processes", "a second process does not find keys of the first".into());
        }
        self.begins("destroying a pair");
        if let Err(error) = token.destroy(&first.id) {
            self.bad("try: destroy", format!("{}: {UNDESTROYABLE}", chain(&error)));
        } else if signs && other.signs()? {
            self.note(
                "try: processes",
                "a key that this process destroyed goes on signing in another one, until that \
                 initialises the module: a taint reaches other daemons by the record and the log",
            );
        } else {
            self.good("try: processes", "a destroyed key signs in no other process");
        }
        let (token, third) = self.pair(token)?;
        self.look_at(&token, &second, "after another was destroyed and a third made")?;
        self.look_at(&token, &third, "made after one was destroyed")?;
        self.shows(&mut other, &third)?;
        other.end();
        Ok(())
    }

    fn mechanisms(&self, token: &OpenToken) -> Result<(), TokenError> {
        self.begins("listing the mechanisms");
        match token.missing_mechanisms()?.as_slice() {
            [] => self.good("try: mechanisms", "CKM_EC_KEY_PAIR_GEN and CKM_ECDSA are there"),
            missing => self.bad(
                "try: mechanisms",
                format!("{} is missing: this device can't be used", missing.join(", ")),
            ),
        }
        Ok(())
    }

    /// Makes a pair. When the module gives a handle that is in use, once more with fresh handles.
    fn pair(&self, token: OpenToken) -> Result<(OpenToken, Pair), TokenError> {
        self.begins("making a key pair");
        let token = if token.handles_are_stale() { self.fresh(Some(token))? } else { token };
        let id = random_id()?;
        match token.generate_with_id(&id) {
            Ok(key) => Ok((token, Pair { id, key })),
            Err(error @ TokenError::AnotherObject { .. }) => {
                self.note(
                    "try: handles",
                    &format!(
                        "{}; hsmd initialises the module anew before it makes a key",
                        chain(&error)
                    ),
                );
                let token = self.fresh(Some(token))?;
                token.destroy(&id)?;
                let token = self.fresh(Some(token))?;
                let key = token.generate_with_id(&id)?;
                Ok((token, Pair { id, key }))
            }
            Err(error) => Err(error),
        }
    }

    fn look_at(&self, token: &OpenToken, pair: &Pair, when: &str) -> Result<(), TokenError> {
        self.begins("looking at a pair");
        let whole = token.complete_pair(&pair.id)?.as_ref() == Some(&pair.key);
        if whole && token.prove(&pair.id, &pair.key, None).is_ok() {
            self.good("try: pairs", &format!("a pair is whole and signs {when}"));
        } else {
            self.bad(
                "try: pairs",
                format!("a pair is not whole or does not sign {when}: this device can't be used"),
            );
        }
        Ok(())
    }

    /// Whether what this process made last shows in the other one, which looked before.
    fn shows(&self, other: &mut Second, pair: &Pair) -> Result<(), TokenError> {
        self.begins("asking a second process");
        if other.sees(&pair.id)? {
            self.good("try: processes", "a new key shows in another process at once");
            return Ok(());
        }
        other.initialise()?;
        if other.sees(&pair.id)? {
            self.note(
                "try: processes",
                "a new key shows in another process only after C_Initialize: do not use standby",
            );
        } else {
            self.bad("try: processes", "a new key never shows in another process".into());
        }
        Ok(())
    }

    fn clean_up(&self, token: &OpenToken) -> Result<(), TokenError> {
        self.begins("destroying what an earlier trial left");
        for pair in token.inventory()?.pairs {
            token.destroy(&pair.id)?;
        }
        token.destroy_data(&self.data_label(), |_| true)?;
        token.destroy_record_pairs(&self.data_label(), |_| true)
    }

    fn open(&self) -> Result<OpenToken, TokenError> {
        self.begins("opening the token");
        OpenToken::open(&self.modules, &self.config, &self.state_dir)
    }

    /// The token with the module initialised anew.
    fn fresh(&self, token: Option<OpenToken>) -> Result<OpenToken, TokenError> {
        drop(token);
        self.modules.renumber(&self.config.module);
        self.open()
    }

    fn data_label(&self) -> String {
        format!("hsmd-try:{}", self.config.key_label)
    }

    fn begins(&self, what: &'static str) {
        self.say(Finding::Begins(what));
    }

    fn good(&self, what: &'static str, finding: &str) {
        self.say(Finding::Good(what, finding.to_owned()));
    }

    fn note(&self, what: &'static str, finding: &str) {
        self.say(Finding::Note(what, finding.to_owned()));
    }

    fn bad(&self, what: &'static str, finding: String) {
        self.say(Finding::Bad(what, finding));
    }

    fn say(&self, finding: Finding) {
        // Without a listener the process is about to end.
        drop(self.tell.send(finding));
    }
}

const UNDESTROYABLE: &str = "hsmd signs and rotates, but old and tainted keys stay on this token: \
                             destroy them with the vendor's tool, or allow it for this user";
