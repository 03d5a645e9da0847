//! The database URL: one host or several, whether a writable one is wanted, and nothing that would be
//! ignored: a parameter that libpq knows and sqlx drops with a warning is refused by its name.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Where to connect to, in this order.
#[derive(Debug)]
pub(super) struct Target {
    /// Options for each host.
    pub(super) hosts: Vec<PgConnectOptions>,
    /// `target_session_attrs=read-write`: a host that is read-only is passed over.
    pub(super) writable: bool,
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
    /// sqlx refuses the rest.
    #[error("it can't be parsed")]
    Parse(#[source] sqlx::Error),
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

/// Parses a URL. libpq allows several hosts, and a user before an empty host; the URL standard does
/// not, so hosts and user are taken apart here.
pub(super) fn parse(url: &str) -> Result<Target, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    if !matches!(scheme, "postgresql" | "postgres") {
        return Err(UrlError::Scheme);
    }
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_once('/').unwrap_or((before, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));

    let mut parameters = String::new();
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
    let base = format!("{scheme}://{user}{}nowhere/{path}?{parameters}", at(user));
    let base = PgConnectOptions::from_str(&base).map_err(UrlError::Parse)?;
    let hosts = match listed_hosts {
        Some(hosts) => with_ports(hosts, listed_ports)?,
        None => authority_hosts(hosts)?,
    };
    let hosts = if hosts.is_empty() {
        // No host at all: sqlx's default is the local socket.
        let user = user_parameters(user);
        let url = format!("{scheme}:///{path}?{parameters}{user}");
        vec![PgConnectOptions::from_str(&url).map_err(UrlError::Parse)?]
    } else {
        hosts.into_iter().map(|host| host.apply(base.clone())).collect()
    };
    Ok(Target { hosts, writable })
}

/// A host with its port, if it has one.
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

    fn apply(self, options: PgConnectOptions) -> PgConnectOptions {
        let options = if self.name.starts_with('/') {
            options.socket(self.name)
        } else {
            options.host(&self.name)
        };
        match self.port {
            Some(port) => options.port(port),
            None => options,
        }
    }
}

/// `host=a,b&port=1,2`: one port counts for all.
fn with_ports(hosts: &str, ports: Option<&str>) -> Result<Vec<Host>, UrlError> {
    let ports: Vec<&str> = ports.map(|ports| ports.split(',').collect()).unwrap_or_default();
    hosts
        .split(',')
        .enumerate()
        .map(|(position, name)| {
            let port = match ports.as_slice() {
                [] => None,
                [port] => Some(*port),
                ports => Some(*ports.get(position).ok_or(UrlError::Port(position + 1))?),
            };
            let port = port.map(|port| port.parse().map_err(|_| UrlError::Port(position + 1)));
            Host::new(position, name, port.transpose()?)
        })
        .collect()
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

fn at(user: &str) -> &'static str {
    if user.is_empty() { "" } else { "@" }
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
    fn libpq_urls_are_understood() {
        for url in [
            "postgresql://hsmd@/keys?host=/run/postgresql",
            "postgresql:///keys?host=/run/postgresql&user=hsmd",
            "postgresql://hsmd@%2Frun%2Fpostgresql/keys",
        ] {
            let target = parse(url).unwrap();
            let [options] = target.hosts.as_slice() else { panic!("{url}") };
            assert_eq!(options.get_username(), "hsmd", "{url}");
            assert_eq!(options.get_database(), Some("keys"), "{url}");
            assert_eq!(options.get_socket().unwrap().to_str(), Some("/run/postgresql"), "{url}");
            assert!(!target.writable);
        }
        let target = parse("postgresql://hsmd:secret@db.example:5433/keys").unwrap();
        assert_eq!((target.hosts[0].get_host(), target.hosts[0].get_port()), ("db.example", 5433));
    }

    #[test]
    fn several_hosts_keep_their_order_and_ports() {
        for url in [
            "postgresql://hsmd@a:1,b:2,[::1]:3/keys?target_session_attrs=read-write",
            "postgresql://hsmd@/keys?host=a,b,::1&port=1,2,3&target_session_attrs=primary",
        ] {
            let target = parse(url).unwrap();
            let hosts: Vec<_> =
                target.hosts.iter().map(|host| (host.get_host(), host.get_port())).collect();
            assert_eq!(hosts, [("a", 1), ("b", 2), ("::1", 3)], "{url}");
            assert!(target.writable);
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_without_its_value() {
        for (url, words) in [
            ("mysql://h/keys", "postgresql://"),
            ("postgresql://h/keys?connect_timeout=hunter2", "connect_timeout"),
            ("postgresql://u:hunter2?x@h/keys", "unknown parameter"),
            ("postgresql://h/keys?target_session_attrs=standby", "read-write"),
            ("postgresql://a b/keys", "host 1"),
            ("postgresql://a:hunter2/keys", "port 1"),
            ("postgresql://u@/keys?host=a,b&port=1,2x", "port 2"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
