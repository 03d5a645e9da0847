//! Where a service's Postgres is, and how long a statement may take there.

use std::{path::Path, str::FromStr as _, time::Duration};

use hsmd_runtime::{ConfigError, StartError, relay};
use hsmd_support::postgres::{UrlFileError, read_url};
use sqlx::postgres::PgConnectOptions;

/// Why there is no way to the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The file with the URL can't be read, or what is in it can't be used.
    #[error(transparent)]
    UrlFile(#[from] UrlFileError),
    /// sqlx refuses the URL. The reason is left out: it could quote the URL, which may hold a password.
    #[error("the database URL is malformed")]
    Url,
    /// There is no relay to the server's name.
    #[error("cannot make a socket for the database")]
    Relay(#[source] std::io::Error),
}

impl From<ServerError> for StartError {
    /// The URL is a matter of the section `[database]`.
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::UrlFile(error) => ConfigError::section("database", error).into(),
            ServerError::Url => ConfigError::section("database", error).into(),
            other => Self::failed(other),
        }
    }
}

/// A server as a URL names it.
#[derive(Clone, Debug)]
pub struct Server {
    /// What sqlx connects with.
    pub options: PgConnectOptions,
    /// Where it is, without user and password.
    pub address: String,
}

impl Server {
    /// Reads the URL from its file. Where the server is a name, whichever of its addresses answers is used,
    /// by way of a [`relay`]: so this must be called within a tokio runtime. `program` is shown by the
    /// server.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn read(url_file: &Path, program: &str) -> Result<Self, ServerError> {
        let options =
            PgConnectOptions::from_str(&read_url(url_file)?).map_err(|_| ServerError::Url)?;
        let options = options.application_name(program);
        let (host, port) = (options.get_host(), options.get_port());
        if let Some(folder) = options.get_socket() {
            let address = format!("{}:{port}", folder.display());
            return Ok(Self { options, address });
        }
        let address = format!("{host}:{port}");
        let options = match relay(host, port).map_err(ServerError::Relay)? {
            Some(folder) => options.socket(folder),
            None => options,
        };
        Ok(Self { options, address })
    }

    /// Lets the server end what takes longer: a statement, or a transaction in which nothing happens.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        let milliseconds = timeout.as_millis().to_string();
        let settings = ["statement_timeout", "idle_in_transaction_session_timeout"];
        let options = self.options.options(settings.map(|setting| (setting, &milliseconds)));
        Self { options, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Server, ServerError> {
        // Made with mode 0600.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), url).unwrap();
        Server::read(file.path(), "test")
    }

    #[tokio::test]
    async fn addresses_are_shown_without_user_and_password() {
        for (url, address) in [
            ("postgresql://ann:secret@/accounts?host=/run/postgresql", "/run/postgresql:5432"),
            ("postgresql://ann:secret@127.0.0.1:5433/accounts", "127.0.0.1:5433"),
            ("postgresql://ann:secret@db.example/accounts", "db.example:5432"),
        ] {
            assert_eq!(read(url).unwrap().address, address);
        }
    }

    #[tokio::test]
    async fn a_name_is_reached_through_a_relay_and_nothing_else_is() {
        let socket = |url| read(url).unwrap().options.get_socket().cloned();
        assert!(socket("postgresql://ann@db.example/accounts").is_some());
        assert_eq!(socket("postgresql://ann@127.0.0.1/accounts"), None);
        let folder = socket("postgresql://ann@/accounts?host=/run/postgresql");
        assert_eq!(folder.as_deref(), Some(Path::new("/run/postgresql")));
    }

    #[tokio::test]
    async fn no_error_quotes_the_url() {
        for url in ["postgresql://ann:secret@[::1/accounts", "http://ann:secret@host/accounts"] {
            let error = StartError::from(read(url).unwrap_err());
            assert!(matches!(error, StartError::Config(_)), "{error}");
            let error = hsmd_support::chain(&error);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
