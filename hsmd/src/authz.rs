//! Who calls, and whether they may: the only maker of permits, without which neither the signer nor
//! rotation can be called. Deny is the default; every request is judged anew.

mod peer;
mod policy;

pub use peer::{PeerCredentials, PeerStream};
pub use policy::{AdminPermit, Caller, Denied, Policy, ReadPermit, SignPermit};
