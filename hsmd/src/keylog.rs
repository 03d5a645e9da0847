//! The key log in Postgres: everything that names sqlx.
//!
//! A [`Writer`] is the one dedicated connection that holds the advisory lock and makes every write; a
//! [`Reader`] only looks. Both return texts and signatures as they stand in the table: whoever reads
//! them verifies them. See `migrations/` for what the database itself refuses.

mod connect;
mod migrate;
mod reader;
mod record;
mod writer;

pub use connect::Owner;
pub use migrate::migrate;
pub use reader::{ActionRow, Reader, Row};
pub use record::{AdminAction, AdminRecord};
pub use writer::{AppendError, Backend, Writer};

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum KeylogError {
    /// A URL file can't be used.
    #[error("cannot read the database URL from {path}")]
    UrlFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A URL is not one.
    #[error("the database URL in {path} is not valid")]
    Url {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The configuration names no owner.
    #[error("database.owner_url_file is not configured: `hsmd migrate` needs it")]
    NoOwner,
    /// The server can't be reached or refuses us.
    #[error("cannot connect to the database")]
    Connect(#[source] sqlx::Error),
    /// The server did not answer in time.
    #[error("the database did not answer within {0:?} ({1})")]
    Timeout(std::time::Duration, &'static str),
    /// A statement failed.
    #[error("{doing} failed in the database")]
    Statement {
        /// What we were doing.
        doing: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("cannot migrate the schema")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The tables are not there.
    #[error("the schema {0} has no key log: run `hsmd migrate`")]
    NotMigrated(String),
    /// The statements of one connection arrive at different backends.
    #[error(
        "the database is behind a transaction pooler: the lock needs a connection of its own, \
         connect to Postgres directly"
    )]
    TransactionPooler,
    /// The lock that we held is gone.
    #[error("this connection does not hold the writer lock")]
    LockLost,
}

impl KeylogError {
    fn statement(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Statement { doing, source }
    }

    /// Whether trying again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(source) | Self::Statement { source, .. } => match source {
                sqlx::Error::Database(error) => {
                    // Connection trouble, shutdown and start, too many clients, resources; and a
                    // read-only transaction, as on a demoted primary: another connection may write.
                    error.code().is_some_and(|code| {
                        ["08", "53", "57", "25006"].iter().any(|class| code.starts_with(class))
                    })
                }
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
                _ => false,
            },
            Self::Timeout(..) | Self::LockLost => true,
            _ => false,
        }
    }
}

/// An error with all its causes, for logs and messages.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
