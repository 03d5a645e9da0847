//! Connections: options that both roles share, and the owner's connection.

use std::future::Future;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::KeylogError;
use crate::config::{DatabaseConfig, read_secret};

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
    /// The URL files or the server.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, KeylogError> {
        let file = config.owner_url_file.as_deref().ok_or(KeylogError::NoOwner)?;
        let writer_role = options(&config.writer_url_file, config)?.get_username().to_owned();
        let connection = connect(options(file, config)?).await?;
        Ok(Self { connection, schema: config.schema.clone(), writer_role })
    }
}

/// Options for a URL file: the schema first in the search path, and a server that notices within
/// seconds when we are gone, so that it frees our lock.
pub(super) fn options(
    file: &Path,
    config: &DatabaseConfig,
) -> Result<PgConnectOptions, KeylogError> {
    let url =
        read_secret(file).map_err(|source| KeylogError::UrlFile { path: file.into(), source })?;
    let options =
        parse_url(&url).map_err(|source| KeylogError::Url { path: file.into(), source })?;
    Ok(options
        .application_name("hsmd")
        .options([
            ("search_path", config.schema.as_str()),
            ("tcp_user_timeout", "5000"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "2"),
            ("idle_in_transaction_session_timeout", "30000"),
        ])
        .disable_statement_logging())
}

/// libpq allows a user before an empty host (`postgresql://user@/db?host=/run/postgresql`), the URL
/// standard does not: the user moves to the parameters.
fn parse_url(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return PgConnectOptions::from_str(url);
    };
    match rest.split_once("@/") {
        Some((user, rest)) if !user.contains(['/', ':', '?']) => {
            let separator = if rest.contains('?') { '&' } else { '?' };
            PgConnectOptions::from_str(&format!("{scheme}:///{rest}{separator}user={user}"))
        }
        _ => PgConnectOptions::from_str(url),
    }
}

pub(super) async fn connect(options: PgConnectOptions) -> Result<PgConnection, KeylogError> {
    timed("connecting", async {
        PgConnection::connect_with(&options).await.map_err(KeylogError::Connect)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libpq_urls_are_understood() {
        for url in [
            "postgresql://hsmd@/keys?host=/run/postgresql",
            "postgresql:///keys?host=/run/postgresql&user=hsmd",
        ] {
            let options = parse_url(url).unwrap();
            assert_eq!(options.get_username(), "hsmd", "{url}");
            assert_eq!(options.get_database(), Some("keys"), "{url}");
            assert_eq!(options.get_socket().unwrap().to_str(), Some("/run/postgresql"), "{url}");
        }
        let options = parse_url("postgresql://hsmd:secret@db.example:5433/keys").unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("db.example", 5433));
    }
}
