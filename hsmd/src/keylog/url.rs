//! The database URL, as options of sqlx for each of its hosts.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use hsmd_support::postgres::{self, UrlFileError};
use sqlx::postgres::PgConnectOptions;

/// Where to connect to, in this order.
#[derive(Debug)]
pub(super) struct Target {
    /// Options for each host.
    pub(super) hosts: Vec<PgConnectOptions>,
    /// `target_session_attrs=read-write`: a host that is read-only is passed over.
    pub(super) writable: bool,
}

/// Why there is no usable URL.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The file, or what is in it.
    #[error(transparent)]
    File(#[from] UrlFileError),
    /// sqlx refuses what is in it.
    #[error("the database URL in {path} can't be parsed")]
    Parse {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
}

/// Reads the URL from a file.
pub(super) fn read(file: &Path) -> Result<Target, UrlError> {
    let postgres::Target { urls, writable } = postgres::read_target(file)?;
    let hosts = urls.iter().map(|url| {
        PgConnectOptions::from_str(url)
            .map_err(|source| UrlError::Parse { path: file.into(), source })
    });
    Ok(Target { hosts: hosts.collect::<Result<_, _>>()?, writable })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Target {
        // Made with mode 0600.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), url).unwrap();
        read(file.path()).unwrap()
    }

    #[test]
    fn libpq_urls_are_understood() {
        for url in [
            "postgresql://hsmd@/keys?host=/run/postgresql",
            "postgresql:///keys?host=/run/postgresql&user=hsmd",
            "postgresql://hsmd@%2Frun%2Fpostgresql/keys",
        ] {
            let target = parsed(url);
            let [options] = target.hosts.as_slice() else { panic!("{url}") };
            assert_eq!(options.get_username(), "hsmd", "{url}");
            assert_eq!(options.get_database(), Some("keys"), "{url}");
            assert_eq!(options.get_socket().unwrap().to_str(), Some("/run/postgresql"), "{url}");
            assert!(!target.writable);
        }
        let target = parsed("postgresql://hsmd:se+c%40ret@db.example:5433/keys");
        assert_eq!((target.hosts[0].get_host(), target.hosts[0].get_port()), ("db.example", 5433));
        let written = sqlx::ConnectOptions::to_url_lossy(&target.hosts[0]);
        assert_eq!(written.password(), Some("se%2Bc%40ret"));
    }

    #[test]
    fn several_hosts_keep_their_order_and_ports() {
        let target = parsed("postgresql://hsmd@a:1,b:2,[::1]:3/keys?target_session_attrs=primary");
        let hosts: Vec<_> =
            target.hosts.iter().map(|host| (host.get_host(), host.get_port())).collect();
        assert_eq!(hosts, [("a", 1), ("b", 2), ("::1", 3)]);
        assert!(target.writable);
    }
}
