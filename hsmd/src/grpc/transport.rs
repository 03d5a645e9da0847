//! The transport: accepts, counts connections and speaks TLS. It knows nothing of calls.

pub mod accept;
mod connection;
mod limit;
mod origin;
mod pool;
mod tls;

pub use connection::ConnectionInfo;
pub use hsmd_runtime::{BindError, Socket, bind_tcp};
pub use limit::{IsKnown, Limit};
pub use tls::{Tls, TlsError, check as check_tls};
