//! Mail by SMTP. Each address of the server's name gets its own bounded try.

use std::time::Duration;

use hsmd_runtime::ConfigError;
use hsmd_support::secret;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};

use super::{CheckError, Mail, SendError};
use crate::config::{SmtpConfig, SmtpSecurity};

/// How long each step with the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the server, made when it is needed.
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    /// As it is configured.
    address: String,
    from: Mailbox,
}

impl Smtp {
    pub(super) fn new(config: &SmtpConfig) -> Result<Self, ConfigError> {
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            ConfigError::section("mail.smtp", error)
        };
        let tls = || -> Result<TlsParameters, ConfigError> {
            let mut parameters = TlsParameters::builder(config.host.clone());
            if let Some(path) = &config.ca_file {
                let pem = std::fs::read(path).map_err(|error| wrong(error.into()))?;
                let authority = Certificate::from_pem(&pem).map_err(|error| wrong(error.into()))?;
                parameters = parameters.add_root_certificate(authority);
            }
            parameters.build_rustls().map_err(|error| wrong(error.into()))
        };
        let (security, port) = match config.security {
            SmtpSecurity::Tls => (Tls::Wrapper(tls()?), 465),
            SmtpSecurity::Starttls => (Tls::Required(tls()?), 587),
            SmtpSecurity::None => (Tls::None, 25),
        };
        let port = config.port.unwrap_or(port);
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(port)
            .timeout(Some(TIMEOUT))
            .tls(security);
        if let Some(username) = &config.username {
            let password = match &config.password_file {
                Some(path) => secret::line(path)?.to_string(),
                None => String::new(),
            };
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        let from = config
            .from
            .parse()
            .map_err(|error: lettre::address::AddressError| wrong(error.into()))?;
        let address = format!("{}:{port}", config.host);
        Ok(Self { transport: builder.build(), address, from })
    }

    /// Whether it can be reached, and takes the login; says where it is.
    pub(super) async fn check(&self) -> Result<String, CheckError> {
        let address = self.address.clone();
        match self.transport.test_connection().await {
            Ok(true) => Ok(format!("the server at {address} answers")),
            Ok(false) => Err(CheckError::NoServer(address)),
            Err(error) => Err(CheckError::Smtp(address, error)),
        }
    }

    pub(super) async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let to = Mailbox::new(None, mail.to.parse().map_err(SendError::Address)?);
        let text = format!(
            "{}\n\n{}\n\nIf you did not ask for this, ignore this mail.\n",
            mail.kind.sentence(),
            mail.url
        );
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.kind.subject())
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(SendError::Message)?;
        self.transport.send(message).await.map(drop).map_err(SendError::Smtp)
    }
}
