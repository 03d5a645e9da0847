//! The auth server's rules: for each operation its checks, in the order of the protocol's table.
//!
//! Every rule gets a parsed request, the transaction it runs in and the time. When it returns `Ok`
//! the caller commits and replies; when it returns an error the caller rolls back, with one exception
//! that [`create_session`] names.

mod account;
mod device;
mod session;

pub use account::{change_recovery_key, create_account, delete_account, recover_account};
pub use device::{link_device, rotate_device, unlink_device};
pub use session::{Issuer, Lifetimes, Refreshed, create_session, refresh_session, request_session};
