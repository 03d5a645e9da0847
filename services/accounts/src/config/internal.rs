//! `[internal]`.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// `[internal]`: endpoints for gateways and other services, each opened by a header's secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalConfig {
    /// A file with the secrets of gateways, one a line, for `POST /api/internal/validate`.
    pub gateway_secrets_file: PathBuf,
    /// A file with the secrets of services, one a line, for `GET /api/internal/user`.
    pub service_secrets_file: PathBuf,
    /// A listener of their own; the public one serves them if it is left out.
    pub listen: Option<SocketAddr>,
}
