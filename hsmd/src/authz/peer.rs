//! Who is at the other end of a connection, as far as it has proved that.

use hsmd_chain::Timestamp;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process, vouched for by the kernel.
    Unix(UnixPeer),
    /// The holder of a certificate that our authorities issued.
    Certificate(CertificatePeer),
    /// A process on this machine, on the plaintext listener.
    Plaintext,
}

/// The credentials of a process when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixPeer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id and all supplementary groups.
    pub gids: Vec<u32>,
    /// Process id, for the record.
    pub pid: Option<i32>,
}

/// What a verified client certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePeer {
    /// Subject alternative names: URIs and DNS names.
    pub names: Vec<String>,
    /// The last instant at which it is valid.
    pub not_after: Timestamp,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(UnixPeer { uid, .. }) => write!(f, "uid {uid}"),
            Self::Certificate(CertificatePeer { names, .. }) if names.is_empty() => {
                f.write_str("a certificate without URI or DNS name")
            }
            Self::Certificate(CertificatePeer { names, .. }) => {
                write!(f, "certificate {}", names.join(", "))
            }
            Self::Plaintext => f.write_str("a plaintext connection"),
        }
    }
}
