//! The key log in Postgres: everything that names sqlx.
//!
//! A [`Writer`] is the one dedicated connection that holds the advisory lock and makes every write; a
//! [`Reader`] only looks. Both return texts and signatures as they stand in the table: their
//! readers verify them. See `migrations/` for what the database itself refuses.

mod append;
mod claims;
mod connect;
mod lock;
mod migrate;
mod reader;
mod record;
mod url;
mod writer;

pub use append::AppendError;
pub use claims::Claim;
pub use connect::Owner;
pub use migrate::migrate;
pub use reader::{ActionRow, Reader, Row};
pub use record::{AdminAction, AdminRecord, MAX_REASON, contradiction, is_reason};
use url::UrlError;
pub use writer::{Backend, Writer};

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum KeylogError {
    /// A URL file can't be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The configuration names no owner.
    #[error("database.owner_url_file is not configured: `hsmd migrate` needs it")]
    NoOwner,
    /// The server can't be reached or refuses us.
    #[error("cannot connect to the database")]
    Connect(#[source] sqlx::Error),
    /// The server did not answer in time.
    #[error("the database did not answer within {0:?} ({1})")]
    Timeout(std::time::Duration, &'static str),
    /// A taint could wait for it no longer.
    #[error("the database did not answer within the time that a taint waits for it")]
    GivenUp,
    /// A statement failed.
    #[error("{doing} failed in the database")]
    Statement {
        /// What we were doing.
        doing: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("cannot migrate the schema")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The tables are not there.
    #[error("the schema {0} has no key log: run `hsmd migrate`")]
    NotMigrated(String),
    /// The schema lacks a migration.
    #[error("the schema {0} is of an older hsmd: run `hsmd migrate`")]
    SchemaOld(String),
    /// The schema has a migration that this hsmd does not know.
    #[error(
        "the schema {0} is of a newer hsmd (migration {1}): run that hsmd, this one does not touch it"
    )]
    SchemaNewer(String, i64),
    /// The schema was made by other statements than this hsmd's.
    #[error(
        "migration {1} of the schema {0} is not the one of this hsmd (another checksum): another \
         build has made it, and nothing is done with it"
    )]
    SchemaChanged(String, i64),
    /// The role may not read the tables.
    #[error(
        "missing GRANT: the role of database.writer_url_file may not read the schema {0}; run \
         `hsmd migrate`, which grants it what it needs"
    )]
    MissingGrant(String),
    /// The server is a hot standby, or takes no writes.
    #[error(
        "the database server is read-only or a hot standby: it can't give the writer lock; connect to \
         the primary"
    )]
    ReadOnlyServer,
    /// A role that is not the writer's holds the lock.
    #[error(
        "the role {0} holds the writer lock, which is not another hsmd: end its session, and revoke \
         CONNECT on the database from it"
    )]
    LockedByRole(String),
    /// A COMMIT of ours waits for the synchronous replicas. It is not ended: that would make it succeed
    /// without them.
    #[error("a COMMIT of ours still waits for the synchronous replicas")]
    AwaitingReplication,
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

    /// Whether only a person can change it: the schema is another one, or a GRANT is missing.
    pub fn stays(&self) -> bool {
        matches!(
            self,
            Self::NotMigrated(_)
                | Self::SchemaOld(_)
                | Self::SchemaNewer(..)
                | Self::SchemaChanged(..)
                | Self::MissingGrant(_)
        )
    }

    /// Whether trying again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(source) | Self::Statement { source, .. } => match source {
                sqlx::Error::Database(error) => {
                    // Connection trouble, shutdown and start, too many clients, resources; and a
                    // read-only transaction, as on a demoted primary: another connection may write.
                    // A protocol violation is a pooler that refuses what we ask for.
                    error.code().is_some_and(|code| {
                        code != "08P01"
                            && ["08", "53", "57", "25006"]
                                .iter()
                                .any(|class| code.starts_with(class))
                    })
                }
                // What rustls refuses, a wrong CA above all, stays refused.
                sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
                sqlx::Error::Protocol(_) => true,
                _ => false,
            },
            Self::ReadOnlyServer | Self::LockedByRole(_) | Self::AwaitingReplication => true,
            Self::Timeout(..) | Self::GivenUp | Self::LockLost => true,
            _ => false,
        }
    }
}
