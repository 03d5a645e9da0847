//! The services: each decodes a request, calls the daemon's part, and encodes the reply. Who may call, what
//! is recorded and what may leave is the layers' business.

mod admin;
mod keylog;
mod signer;

pub use admin::AdminService;
pub use keylog::KeyLogService;
pub use signer::SignerService;
