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
    IntoConnectionInfo, RedisError, aio::MultiplexedConnection,
};
use tokio::{sync::Mutex, task::AbortHandle, time::timeout};

use crate::{Options, ServerKind, StoreError, tls::Connector};

/// A checked address, from which the links of all databases are made.
pub(crate) struct Address {
    info: ConnectionInfo,
    /// With `rediss`.
    tls: Option<Arc<Connector>>,
    timeout: Duration,
}

impl Address {
    /// Accepts TCP, TLS and Unix sockets. Passwords in URLs end up in process lists and logs, and the
    /// database numbers are ours, so neither may stand there. TLS is our own, so that its files can
    /// change: the library sees the plain URL.
    pub(crate) fn parse(options: &Options) -> Result<Self, StoreError> {
        let secure = options.url.strip_prefix("rediss://");
        let plain = secure.map(|rest| format!("redis://{rest}"));
        let info = plain
            .as_deref()
            .unwrap_or(&options.url)
            .into_connection_info()
            .map_err(|_| StoreError::Url("it can't be parsed"))?;
        let tls = match (secure, &options.tls, info.addr()) {
            (None, None, _) => None,
            (None, Some(_), _) => {
                return Err(StoreError::Url("with the section [redis.tls] it begins with rediss"));
            }
            (Some(_), Some(tls), ConnectionAddr::Tcp(host, port)) => {
                Some(Arc::new(Connector::new(host, *port, tls).map_err(StoreError::Tls)?))
            }
            (Some(_), ..) => {
                return Err(StoreError::Url("rediss needs the section [redis.tls] with a ca_file"));
            }
        };
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
        Ok(Self { info: info.set_redis_settings(settings), tls, timeout: options.timeout })
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
    tls: Option<Arc<Connector>>,
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
    serial: Arc<Driver>,
}

/// The task that moves a TLS connection's bytes; a plain one has the library's.
#[derive(Default)]
struct Driver(Option<AbortHandle>);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Link {
    pub(crate) fn new(address: &Address, database: u8, absence: Absence) -> Self {
        Self(Arc::new(Inner {
            database,
            absence,
            info: address.info.clone(),
            tls: address.tls.clone(),
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
            Ok(Err(Failure::Kind(kind))) => Err(StoreError::Kind(kind)),
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
        let (mut commands, driver) = self.connect().await?;
        // Before the database is chosen: a Sentinel and a cluster know no SELECT.
        let server = info(&mut commands, "server").await?;
        match field(&server, "redis_mode")? {
            "cluster" => return Err(Failure::Kind(ServerKind::Cluster)),
            "sentinel" => return Err(Failure::Kind(ServerKind::Sentinel)),
            _ => {}
        }
        if self.0.database != 0 {
            redis::cmd("SELECT").arg(self.0.database).query_async::<()>(&mut commands).await?;
        }
        if self.0.absence == Absence::Permits {
            let memory = info(&mut commands, "memory").await?;
            let policy = field(&memory, "maxmemory_policy")?;
            if policy != "noeviction" && field(&memory, "maxmemory")? != "0" {
                return Err(Failure::Evicting(policy.to_owned()));
            }
        }
        let run_id = field(&server, "run_id")?.into();
        let connection = Connection { commands, run_id, serial: Arc::new(driver) };
        Ok(current.insert(connection).clone())
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, Driver), RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.0.timeout))
            .set_response_timeout(Some(self.0.timeout));
        let Some(tls) = &self.0.tls else {
            let client = Client::open(self.0.info.clone())?;
            let commands = client.get_multiplexed_async_connection_with_config(&config).await?;
            return Ok((commands, Driver::default()));
        };
        let stream = tls.connect().await?;
        let settings = self.0.info.redis_settings();
        let (commands, driver) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        Ok((commands, Driver(Some(tokio::spawn(driver).abort_handle()))))
    }
}

/// Why an attempt failed.
enum Failure {
    Redis(redis::RedisError),
    Evicting(String),
    Kind(ServerKind),
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
