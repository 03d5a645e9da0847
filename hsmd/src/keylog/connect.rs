//! Connections: options that both roles share, and the owner's connection.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row as _};

use super::KeylogError;
use super::url::{self, Target};
use crate::config::DatabaseConfig;

/// How long one statement may take before the connection counts as lost.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The owner of the schema, who migrates it.
#[derive(Debug)]
pub struct Owner {
    pub(super) connection: PgConnection,
    pub(super) schema: String,
    pub(super) writer_role: String,
}

impl Owner {
    /// Connects as the owner.
    ///
    /// # Errors
    /// [`KeylogError::NoOwner`], [`KeylogError::Url`], [`KeylogError::Connect`],
    /// [`KeylogError::Timeout`].
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, KeylogError> {
        let file = config.owner_url_file.as_deref().ok_or(KeylogError::NoOwner)?;
        let writer = url::read(&config.writer_url_file)?;
        let writer_role = writer.hosts[0].get_username().to_owned();
        let connection = connect(file, config).await?;
        Ok(Self { connection, schema: config.schema.clone(), writer_role })
    }
}

/// Connects to the first host of a URL file that answers, and is writable where that is asked for.
pub(super) async fn connect(
    file: &Path,
    config: &DatabaseConfig,
) -> Result<PgConnection, KeylogError> {
    let Target { hosts, writable } = url::read(file)?;
    let mut failed = None;
    for options in hosts {
        let options = options.application_name("hsmd").disable_statement_logging();
        let connected = timed("connecting", async {
            let options = reach(options).await.map_err(KeylogError::Connect)?;
            PgConnection::connect_with(&options).await.map_err(KeylogError::Connect)
        })
        .await;
        let checked = match connected {
            Ok(mut connection) => {
                configure(&mut connection, config, writable).await.map(|()| connection)
            }
            Err(error) => Err(error),
        };
        match checked {
            Ok(connection) => return Ok(connection),
            // A host that can't be used for good is worth more words than one that is away.
            Err(error) if failed.as_ref().is_none_or(KeylogError::is_transient) => {
                failed = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(failed.unwrap_or(KeylogError::ReadOnlyServer))
}

/// Reaches a server by name through a relay within this process: sqlx waits for the first address of a name
/// as long as the system does, which is longer than a statement may take.
async fn reach(options: PgConnectOptions) -> Result<PgConnectOptions, sqlx::Error> {
    let host = options.get_host();
    if options.get_socket().is_some() || host.starts_with('/') || host.parse::<IpAddr>().is_ok() {
        return Ok(options);
    }
    let port = options.get_port();
    let stream = hsmd_support::dial(host, port).await?;
    Ok(options.socket(hsmd_runtime::offer(stream, port)?))
}

/// The schema first in the search path, and a server that notices within seconds when we are gone, so
/// that it frees our lock. Set after connecting: poolers refuse startup parameters.
async fn configure(
    connection: &mut PgConnection,
    config: &DatabaseConfig,
    writable: bool,
) -> Result<(), KeylogError> {
    timed("configuring the connection", async {
        let row = sqlx::query(
            "SELECT set_config('search_path', $1, false), \
               set_config('tcp_user_timeout', '5000', false), \
               set_config('tcp_keepalives_idle', '5', false), \
               set_config('tcp_keepalives_interval', '2', false), \
               set_config('tcp_keepalives_count', '2', false), \
               set_config('idle_in_transaction_session_timeout', '30000', false), \
               pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only",
        )
        .bind(&config.schema)
        .fetch_one(&mut *connection)
        .await
        .map_err(KeylogError::statement("configuring the connection"))?;
        let read_only: bool = row
            .try_get("read_only")
            .map_err(KeylogError::statement("configuring the connection"))?;
        if read_only && writable { Err(KeylogError::ReadOnlyServer) } else { Ok(()) }
    })
    .await
}

/// Bounds what we wait for the server. After a timeout the connection is not usable.
pub(super) async fn timed<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, KeylogError>>,
) -> Result<T, KeylogError> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(KeylogError::Timeout(STATEMENT_TIMEOUT, doing)),
    }
}
