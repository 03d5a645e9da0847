//! Mail: what it says, and the queue in front of what sends it. No request waits for a mail.

mod outbox;
mod smtp;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hsmd_runtime::{ConfigError, StartError};
use hsmd_support::chain;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::MailConfig;
use outbox::Outbox;
use smtp::Smtp;

/// How many mails wait at the most.
const WAITING: usize = 1000;

/// What a mail is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    ResetPassword,
    Verification,
    ChangeEmail,
    DeleteAccount,
}

/// One mail. The link in it is as good as a password.
#[derive(Clone, Serialize)]
pub(crate) struct Mail {
    pub(crate) kind: Kind,
    pub(crate) to: String,
    pub(crate) url: String,
    pub(crate) token: String,
}

/// How mails went.
#[derive(Clone, Debug, Default)]
pub(crate) struct MailCounts {
    pub(crate) sent: Counter,
    pub(crate) lost: Counter,
}

/// Sends mails in the background, one after the other, until it is dropped.
pub(crate) struct Mailer {
    queue: mpsc::Sender<Mail>,
    counts: MailCounts,
    /// How many were taken and neither sent nor lost yet.
    pending: Arc<AtomicU64>,
    /// No mail comes any more.
    last: CancellationToken,
    worker: TaskTracker,
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the outbox can't be written")]
    Outbox(#[source] std::io::Error),
    #[error("the address is none that mail can be sent to")]
    Address(#[source] lettre::address::AddressError),
    #[error("the mail can't be put together")]
    Message(#[source] lettre::error::Error),
    #[error("the mail server did not take the mail")]
    Smtp(#[source] lettre::transport::smtp::Error),
}

/// Why mail can't be sent now.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("the outbox {0} can't be written")]
    Outbox(String, #[source] std::io::Error),
    #[error("the mail server at {0} can't be used")]
    Smtp(String, #[source] lettre::transport::smtp::Error),
    #[error("the mail server at {0} does not answer as one")]
    NoServer(String),
}

enum Target {
    Outbox(Outbox),
    Smtp(Box<Smtp>),
}

/// Tries where mail goes, without sending any, and says where that is.
pub(crate) async fn check(config: &MailConfig) -> Result<String, StartError> {
    let checked = match Target::open(config)? {
        Target::Outbox(outbox) => outbox.check(),
        Target::Smtp(smtp) => smtp.check().await,
    };
    checked.map_err(StartError::failed)
}

impl Target {
    fn open(config: &MailConfig) -> Result<Self, ConfigError> {
        Ok(match (&config.outbox, &config.smtp) {
            (Some(path), _) => Self::Outbox(Outbox::new(path.clone())),
            (None, Some(smtp)) => Self::Smtp(Box::new(Smtp::new(smtp)?)),
            (None, None) => {
                let missing = crate::config::SettingError::MailTarget;
                return Err(ConfigError::section("mail", missing));
            }
        })
    }
}

impl Kind {
    fn subject(self) -> &'static str {
        match self {
            Self::ResetPassword => "Reset your password",
            Self::Verification => "Verify your e-mail address",
            Self::ChangeEmail => "Confirm your new e-mail address",
            Self::DeleteAccount => "Delete your account",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::ResetPassword => "To choose a new password, open this link within an hour:",
            Self::Verification => {
                "To verify that this address is yours, open this link within an hour:"
            }
            Self::ChangeEmail => {
                "Your account is to get another e-mail address. If you want that, open this link within \
                 an hour:"
            }
            Self::DeleteAccount => "To delete your account, open this link within a day:",
        }
    }
}

impl Mailer {
    /// Opens the target and begins; must be called within a tokio runtime.
    pub(crate) fn start(config: &MailConfig) -> Result<Self, ConfigError> {
        let target = Target::open(config)?;
        let counts = MailCounts::default();
        let (queue, mails) = mpsc::channel(WAITING);
        let (last, worker) = (CancellationToken::new(), TaskTracker::new());
        let pending = Arc::new(AtomicU64::new(0));
        worker.spawn(work(target, mails, last.clone(), counts.clone(), Arc::clone(&pending)));
        worker.close();
        Ok(Self { queue, counts, pending, last, worker })
    }

    /// Takes no mail any more, and waits until those are sent that were taken, but not longer than `end`: the
    /// rest is lost, which is logged and counted.
    pub(crate) async fn finish(&self, end: Instant) {
        self.last.cancel();
        if timeout_at(end, self.worker.wait()).await.is_err() {
            let rest = self.pending.load(Relaxed);
            self.counts.lost.inc_by(rest);
            tracing::error!(rest, "mails lost: they were not sent within the grace period");
        }
    }

    /// Sends a mail later. One that finds the queue full is lost, which is logged and counted.
    pub(crate) fn send(&self, mail: Mail) {
        self.pending.fetch_add(1, Relaxed);
        if let Err(error) = self.queue.try_send(mail) {
            self.pending.fetch_sub(1, Relaxed);
            self.counts.lost.inc();
            tracing::error!(%error, "mail lost: too many are waiting, or the service stops");
        }
    }

    pub(crate) fn counts(&self) -> MailCounts {
        self.counts.clone()
    }
}

async fn work(
    target: Target,
    mut mails: mpsc::Receiver<Mail>,
    last: CancellationToken,
    counts: MailCounts,
    pending: Arc<AtomicU64>,
) {
    loop {
        let mail = tokio::select! {
            mail = mails.recv() => mail,
            () = last.cancelled(), if !mails.is_closed() => {
                mails.close();
                continue;
            }
        };
        let Some(mail) = mail else { return };
        let kind = mail.kind;
        let sent = match &target {
            Target::Outbox(outbox) => outbox.append(mail).await,
            Target::Smtp(smtp) => smtp.send(&mail).await,
        };
        pending.fetch_sub(1, Relaxed);
        match sent {
            Ok(()) => drop(counts.sent.inc()),
            Err(error) => {
                counts.lost.inc();
                tracing::error!(?kind, error = %chain(&error), "mail lost");
            }
        }
    }
}
