//! One reconnecting connection to one database, with a bound on every operation.
//!
//! redis-rs has a connection manager; this is smaller and closes three of its gaps: a server that is
//! still loading its snapshot fails the handshake with an error after which the manager never tries
//! again; the first command after an outage gets the outage's error although Redis is back; and a
//! connection whose peer vanished is kept until TCP gives up. Besides, we need to know *which* server
//! process answers: a restarted Redis may have loaded an old snapshot.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, aio::MultiplexedConnection,
};
use tokio::{sync::Mutex, time::timeout};

use crate::{Options, StoreError};

/// A checked address, from which the links of all databases are made.
pub(crate) struct Address {
    info: ConnectionInfo,
    timeout: Duration,
}

impl Address {
    /// Accepts plain TCP and Unix sockets. Passwords in URLs end up in process lists and logs, and the
    /// database numbers are ours, so neither may stand there.
    pub(crate) fn parse(options: &Options) -> Result<Self, StoreError> {
        let info = options
            .url
            .as_str()
            .into_connection_info()
            .map_err(|_| StoreError::Url("it can't be parsed"))?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(StoreError::Url("TLS is not compiled in, use a Unix socket or a tunnel"));
        }
        let settings = info.redis_settings();
        if settings.password().is_some() || settings.username().is_some() {
            return Err(StoreError::Url("user and password are settings of their own"));
        }
        if settings.db() != 0 {
            return Err(StoreError::Url("the database numbers are fixed"));
        }
        let mut settings = settings.clone().set_skip_set_lib_name();
        if let Some(username) = &options.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &options.password {
            settings = settings.set_password(password.as_str());
        }
        Ok(Self { info: info.set_redis_settings(settings), timeout: options.timeout })
    }
}

/// What the absence of an entry means to readers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// Nothing: its writer writes it again, and meanwhile something is refused.
    Refuses,
    /// Permission. Then Redis must not be set up to evict entries.
    Permits,
}

/// A database's connection. Every operation that goes through it is repeated once when the connection
/// breaks, so each must be safe to repeat.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    database: u8,
    /// What a missing entry means.
    absence: Absence,
    info: ConnectionInfo,
    timeout: Duration,
    /// The live connection. Held across the handshake, so that one loss makes one new connection.
    current: Mutex<Option<Connection>>,
}

/// A connection, and the server process at its other end.
#[derive(Clone)]
struct Connection {
    commands: MultiplexedConnection,
    /// Redis' `run_id`: another value after every restart.
    run_id: Arc<str>,
    /// Tells this connection from its successors.
    serial: Arc<()>,
}

impl Link {
    pub(crate) fn new(address: &Address, database: u8, absence: Absence) -> Self {
        let settings = address.info.redis_settings().clone().set_db(i64::from(database));
        Self(Arc::new(Inner {
            database,
            absence,
            info: address.info.clone().set_redis_settings(settings),
            timeout: address.timeout,
            current: Mutex::new(None),
        }))
    }

    /// Runs one command, repeating it once on a new connection when the old one proves dead.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.query_with(|_| command.clone()).await
    }

    /// The same for a command that names the server process it means (`run_id`).
    pub(crate) async fn query_with<T: FromRedisValue>(
        &self,
        command: impl Fn(&str) -> Cmd,
    ) -> Result<T, StoreError> {
        let database = self.0.database;
        let twice = async {
            match self.attempt(&command).await {
                Err(Failure::Redis(error)) if lost(&error) => self.attempt(&command).await,
                other => other,
            }
        };
        match timeout(self.0.timeout, twice).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Redis(source))) if lost(&source) => {
                Err(StoreError::Unreachable { database, source })
            }
            Ok(Err(Failure::Redis(source))) => Err(StoreError::Refused { database, source }),
            Ok(Err(Failure::Evicting(policy))) => Err(StoreError::Evicting { database, policy }),
            Err(_) => {
                // A server that does not answer may have vanished: start afresh. While
                // somebody else is connecting there is nothing to drop.
                if let Ok(mut current) = self.0.current.try_lock() {
                    *current = None;
                }
                Err(StoreError::TimedOut { database, timeout: self.0.timeout })
            }
        }
    }

    pub(crate) fn unexpected(&self, what: &'static str) -> StoreError {
        StoreError::Unexpected { database: self.0.database, what }
    }

    async fn attempt<T: FromRedisValue>(
        &self,
        command: &impl Fn(&str) -> Cmd,
    ) -> Result<T, Failure> {
        let mut connection = self.connection().await?;
        let result = command(&connection.run_id).query_async(&mut connection.commands).await;
        if result.as_ref().is_err_and(lost) {
            let mut current = self.0.current.lock().await;
            if current.as_ref().is_some_and(|now| Arc::ptr_eq(&now.serial, &connection.serial)) {
                *current = None;
            }
        }
        Ok(result?)
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let mut current = self.0.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.0.timeout))
            .set_response_timeout(Some(self.0.timeout));
        let mut commands = Client::open(self.0.info.clone())?
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        if self.0.absence == Absence::Permits {
            let memory = info(&mut commands, "memory").await?;
            let policy = field(&memory, "maxmemory_policy")?;
            if policy != "noeviction" && field(&memory, "maxmemory")? != "0" {
                return Err(Failure::Evicting(policy.to_owned()));
            }
        }
        let server = info(&mut commands, "server").await?;
        let run_id = field(&server, "run_id")?.into();
        let connection = Connection { commands, run_id, serial: Arc::new(()) };
        Ok(current.insert(connection).clone())
    }
}

/// Why an attempt failed.
enum Failure {
    Redis(redis::RedisError),
    Evicting(String),
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(error)
    }
}

/// One section of what Redis says of itself.
async fn info(
    commands: &mut MultiplexedConnection,
    section: &str,
) -> Result<String, redis::RedisError> {
    redis::cmd("INFO").arg(section).query_async(commands).await
}

fn field<'a>(info: &'a str, name: &'static str) -> Result<&'a str, redis::RedisError> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or((redis::ErrorKind::Client, "INFO lacks a field", name.to_owned()).into())
}

/// Whether the connection is gone, so that a new one may do better.
fn lost(error: &redis::RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error()
}
