//! Postgres URLs, which live in files because they may carry a password: one host or several, whether a
//! writable one is wanted, and nothing that would be ignored: a parameter that libpq knows and sqlx drops
//! with a warning is refused by its name.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{SecretError, secret};

/// Where to connect to, in this order.
#[derive(Debug)]
pub struct Target {
    /// A URL for each host, in the form of the URL standard, which sqlx reads.
    pub urls: Vec<Zeroizing<String>>,
    /// `target_session_attrs=read-write`: a host that is read-only is passed over.
    pub writable: bool,
}

/// Why a file holds no usable URL.
#[derive(Debug, thiserror::Error)]
pub enum UrlFileError {
    /// The file can't be read, is empty, or may be read by others.
    #[error("cannot read the database URL")]
    File(#[from] SecretError),
    /// What is in it can't be used.
    #[error("the database URL in {path} is not valid")]
    Url {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: UrlError,
    },
}

/// What is wrong with a URL. No variant repeats a value: it may be a password.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("it does not begin with postgresql://")]
    Scheme,
    /// A parameter that has no effect here.
    #[error("the parameter {0} is not supported")]
    Unsupported(&'static str),
    /// A parameter that libpq does not know either.
    #[error(
        "it has an unknown parameter (is a `?`, `&` or `@` in the password not written as %3F, %26 or \
         %40?)"
    )]
    Unknown,
    /// `target_session_attrs` with another value.
    #[error("target_session_attrs must be read-write, primary or any")]
    SessionAttributes,
    /// A host that can't be one.
    #[error("host {0} of the list is not a host name, an address or a socket folder")]
    Host(usize),
    /// A port that is not one, or a list of another length.
    #[error("port {0} of the list is not a port")]
    Port(usize),
    /// Several hosts, or a choice between them, for a program that connects to one.
    #[error("it names several hosts or target_session_attrs: this program connects to one host")]
    SeveralHosts,
}

/// Parameters that sqlx applies.
const APPLIED: [&str; 15] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "dbname",
    "user",
    "password",
    "application_name",
    "statement-cache-capacity",
    "options",
];

/// Parameters of libpq that sqlx drops.
const DROPPED: [&str; 24] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcompression",
    "sslcrl",
    "sslpassword",
    "sslsni",
    "tcp_user_timeout",
];

/// Reads the URL from a file.
///
/// # Errors
/// The file can't be read ([`UrlFileError::File`]), or what is in it can't be used ([`UrlFileError::Url`]).
pub fn read_target(file: &Path) -> Result<Target, UrlFileError> {
    let url = secret::line(file)?;
    Target::parse(&url).map_err(|source| UrlFileError::Url { path: file.into(), source })
}

/// As [`read_target`], for a program that connects to one host: its URL in the form that sqlx reads.
///
/// # Errors
/// As [`read_target`]; several hosts or `target_session_attrs` are refused, too.
pub fn read_url(file: &Path) -> Result<Zeroizing<String>, UrlFileError> {
    let mut target = read_target(file)?;
    match (target.urls.pop(), target.urls.is_empty() && !target.writable) {
        (Some(url), true) => Ok(url),
        _ => Err(UrlFileError::Url { path: file.into(), source: UrlError::SeveralHosts }),
    }
}

impl Target {
    /// Parses a URL. libpq allows several hosts, and a user before an empty host; the URL standard does
    /// not, so hosts and user are taken apart here.
    ///
    /// # Errors
    /// What of it can't be used, as a variant of [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        if !matches!(scheme, "postgresql" | "postgres") {
            return Err(UrlError::Scheme);
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));

        let mut parameters = Zeroizing::new(user_parameters(user));
        let (mut writable, mut listed_hosts, mut listed_ports) = (false, None, None);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "target_session_attrs" => match value {
                    "read-write" | "primary" => writable = true,
                    "any" => {}
                    _ => return Err(UrlError::SessionAttributes),
                },
                "host" | "hostaddr" => listed_hosts = Some(value),
                "port" => listed_ports = Some(value),
                name if APPLIED.contains(&name) => {
                    parameters.push('&');
                    parameters.push_str(parameter);
                }
                name => {
                    let dropped = DROPPED.into_iter().find(|dropped| *dropped == name);
                    return Err(dropped.map_or(UrlError::Unknown, UrlError::Unsupported));
                }
            }
        }
        let mut hosts = match listed_hosts {
            Some(hosts) => listed(hosts)?,
            None => authority_hosts(hosts)?,
        };
        if hosts.is_empty() {
            // sqlx's default is the local socket.
            hosts.push(Host { name: String::new(), port: None });
        }
        set_ports(&mut hosts, listed_ports)?;
        let url = |host: Host| {
            let host = host.parameters();
            Zeroizing::new(format!("{scheme}:///{path}?{}{host}", parameters.as_str()))
        };
        Ok(Self { urls: hosts.into_iter().map(url).collect(), writable })
    }
}

/// A host with its port, if it has one. Without a name it is the local socket.
#[derive(Debug)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn new(position: usize, name: &str, port: Option<u16>) -> Result<Self, UrlError> {
        let name = name.replace("%2F", "/").replace("%2f", "/");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if name.is_empty() || !(name.starts_with('/') || name.chars().all(plain)) {
            return Err(UrlError::Host(position + 1));
        }
        Ok(Self { name, port })
    }

    /// As parameters of a URL. A folder may have any characters.
    fn parameters(&self) -> String {
        let mut parameters = String::new();
        if !self.name.is_empty() {
            parameters.push_str("&host=");
        }
        for byte in self.name.bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b':' => parameters.push(byte.into()),
                byte if byte.is_ascii_alphanumeric() => parameters.push(byte.into()),
                byte => parameters.push_str(&format!("%{byte:02X}")),
            }
        }
        match self.port {
            Some(port) => parameters + &format!("&port={port}"),
            None => parameters,
        }
    }
}

/// `host=a,b`.
fn listed(hosts: &str) -> Result<Vec<Host>, UrlError> {
    hosts.split(',').enumerate().map(|(at, name)| Host::new(at, name, None)).collect()
}

/// `port=1,2`: one port counts for all.
fn set_ports(hosts: &mut [Host], ports: Option<&str>) -> Result<(), UrlError> {
    let Some(ports) = ports else { return Ok(()) };
    let ports: Vec<&str> = ports.split(',').collect();
    for (at, host) in hosts.iter_mut().enumerate() {
        let port = if ports.len() == 1 { ports.first() } else { ports.get(at) };
        let port = port.and_then(|port| port.parse().ok());
        host.port = Some(port.ok_or(UrlError::Port(at + 1))?);
    }
    Ok(())
}

/// `a:1,b:2`, `[::1]:1`, or nothing.
fn authority_hosts(hosts: &str) -> Result<Vec<Host>, UrlError> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    hosts
        .split(',')
        .enumerate()
        .map(|(position, host)| {
            let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((address, port)) => (address, port.strip_prefix(':')),
                None => match host.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (host, None),
                },
            };
            let port = port.map(|port| port.parse().map_err(|_| UrlError::Port(position + 1)));
            Host::new(position, name, port.transpose()?)
        })
        .collect()
}

fn user_parameters(user: &str) -> String {
    // In a query `+` is a blank.
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let parameter = |key: &str, value: &str| match value {
        "" => String::new(),
        value => format!("&{key}={}", value.replace('+', "%2B")),
    };
    parameter("user", name) + &parameter("password", password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_gets_a_url_of_the_standard_in_order() {
        for (url, expected) in [
            ("postgresql://a@/keys?host=/run", "postgresql:///keys?&user=a&host=/run"),
            ("postgres://a@/keys", "postgres:///keys?&user=a"),
            ("postgres://a@/keys?port=2", "postgres:///keys?&user=a&port=2"),
            (
                "postgresql:///keys?host=/run&user=a&sslmode=require",
                "postgresql:///keys?&user=a&sslmode=require&host=/run",
            ),
            (
                "postgresql://a:b+c@h.example:5433/keys",
                "postgresql:///keys?&user=a&password=b%2Bc&host=h.example&port=5433",
            ),
            ("postgresql://a@host/keys?host=/run/@", "postgresql:///keys?&user=a&host=/run/%40"),
            ("postgresql://a@%2Frun/keys", "postgresql:///keys?&user=a&host=/run"),
            ("postgresql://a@[::1]:3/keys", "postgresql:///keys?&user=a&host=::1&port=3"),
            ("postgresql://a@h:1/keys?port=2", "postgresql:///keys?&user=a&host=h&port=2"),
        ] {
            let target = Target::parse(url).unwrap();
            let urls: Vec<_> = target.urls.iter().map(|url| url.as_str()).collect();
            assert_eq!(urls, [expected]);
            assert!(!target.writable);
        }
        for url in [
            "postgresql://u@a:1,b:2,[::1]:3/keys?target_session_attrs=read-write",
            "postgresql://u@/keys?host=a,b,::1&port=1,2,3&target_session_attrs=primary",
        ] {
            let target = Target::parse(url).unwrap();
            let expected = ["a&port=1", "b&port=2", "::1&port=3"]
                .map(|host| format!("postgresql:///keys?&user=u&host={host}"));
            let urls: Vec<_> = target.urls.iter().map(|url| url.to_string()).collect();
            assert_eq!(urls, expected, "{url}");
            assert!(target.writable);
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_without_its_value() {
        for (url, words) in [
            ("keys", "postgresql://"),
            ("mysql://h/keys", "postgresql://"),
            ("postgresql://h/keys?connect_timeout=hunter2", "connect_timeout"),
            ("postgresql://u:hunter2?x@h/keys", "unknown parameter"),
            ("postgresql://h/keys?target_session_attrs=standby", "read-write"),
            ("postgresql://a b/keys", "host 1"),
            ("postgresql://a:hunter2/keys", "port 1"),
            ("postgresql://u@/keys?host=a,b&port=1,2x", "port 2"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_program_that_connects_to_one_host_refuses_a_list() {
        // Made with mode 0600.
        let file = tempfile::NamedTempFile::new().unwrap();
        for (url, works) in [
            ("postgresql://u@h/keys", true),
            ("postgresql://u@h/keys?target_session_attrs=any", true),
            ("postgresql://u@h/keys?target_session_attrs=read-write", false),
            ("postgresql://u@h,i/keys", false),
        ] {
            std::fs::write(file.path(), url).unwrap();
            assert_eq!(read_url(file.path()).is_ok(), works, "{url}");
        }
    }
}
