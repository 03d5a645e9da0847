//! The Redis layer that the services share: one type for each database, and what heals them.
//!
//! Nothing here is the truth. Redis holds copies which prove themselves (endorsements, events) or
//! which their owner writes again (revocations, used hashes), and nonces, whose loss is noticed. Each
//! type says what a reader may conclude when Redis was flushed, restarted or is away; none of them
//! ever turns a loss into permission.
//!
//! Begin with [`Store::open`]. It does not connect: a service starts while Redis is down, says that it
//! is not ready, and heals.
//!
//! Redis must not evict entries (`maxmemory-policy noeviction`, its default): an evicted revocation would
//! look like an active device. Databases 3 and 5 refuse to work otherwise.

mod copies;
mod endorsements;
mod error;
mod link;
mod log;
mod nonces;
mod publisher;
mod tls;

use std::time::Duration;

pub use copies::{DeviceStatus, Refill, RevokedDevices, UsedHashes};
pub use endorsements::{Access, Endorsements, Jwt, LIST_LIMIT, Purpose, Response};
pub use error::{ServerKind, StoreError};
pub use log::MirroredLog;
pub use nonces::{NonceUse, Nonces};
pub use publisher::{Publication, Publisher};
pub use tls::{ClientFiles, TlsError, TlsOptions};
use zeroize::Zeroizing;

use crate::link::{Absence, Address, Link};

/// Where Redis is and how long it may take.
#[derive(Clone)]
pub struct Options {
    /// `redis://host[:port]`, `rediss://host[:port]` or `unix:///path`, without password and database
    /// number.
    pub url: String,
    /// The files of TLS, for `rediss`.
    pub tls: Option<TlsOptions>,
    /// The ACL user's name, if there is one.
    pub username: Option<String>,
    /// The password, if there is one.
    pub password: Option<Zeroizing<String>>,
    /// How long one operation may take, connecting included.
    pub timeout: Duration,
}

/// The six databases of one Redis. Cloning is cheap and shares the connections; each database has one
/// of its own, made when it is first needed and made again after every loss.
#[derive(Clone)]
pub struct Store {
    /// Database 0: endorsed access keys.
    pub access_endorsements: Endorsements<Access>,
    /// Database 1: endorsed response keys.
    pub response_endorsements: Endorsements<Response>,
    /// Database 1 as well: endorsed keys of JSON Web Tokens.
    pub jwt_endorsements: Endorsements<Jwt>,
    /// Database 2: hashes of refreshed access keys.
    pub used_hashes: UsedHashes,
    /// Database 3: revoked devices.
    pub revoked_devices: RevokedDevices,
    /// Database 4: the mirrored key log.
    pub mirrored_log: MirroredLog,
    /// Database 5: the application's nonces.
    pub nonces: Nonces,
}

impl Store {
    /// Checks the options and prepares the six databases, without connecting.
    ///
    /// # Errors
    /// [`StoreError::Url`] when the URL is of another kind, carries a password or a database number.
    pub fn open(options: &Options) -> Result<Self, StoreError> {
        let address = Address::parse(options)?;
        let link = |database, absence| Link::new(&address, database, absence);
        Ok(Self {
            access_endorsements: Endorsements::new(link(Access::DATABASE, Absence::Refuses)),
            response_endorsements: Endorsements::new(link(Response::DATABASE, Absence::Refuses)),
            jwt_endorsements: Endorsements::new(link(Jwt::DATABASE, Absence::Refuses)),
            used_hashes: UsedHashes::new(link(2, Absence::Refuses)),
            revoked_devices: RevokedDevices::new(link(3, Absence::Permits)),
            mirrored_log: MirroredLog::new(link(4, Absence::Refuses)),
            nonces: Nonces::new(link(5, Absence::Permits)),
        })
    }
}
