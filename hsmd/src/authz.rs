//! Who calls, and whether they may: the only maker of permits, without which neither the signer nor
//! rotation can be called. Deny is the default; every request is judged anew.

mod certificate;
mod peer;
mod permit;
mod policy;
mod unix;

pub use certificate::{Validity, certificate_peer, validity};
pub use peer::{CertificatePeer, Peer, UnixPeer};
pub use permit::{AdminPermit, Caller, Denied, ReadPermit, SignPermit};
pub use policy::Policy;
pub use unix::unix_peer;
