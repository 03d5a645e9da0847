//! gRPC: everything that names tonic's servers and prost. Each call is decoded, bounded, authorised
//! and handed on; `convert` turns messages into domain types and back, `status` maps errors.

mod accept;
mod admin;
mod call;
mod connection;
mod convert;
mod door;
mod gate_layer;
mod keylog;
mod limit;
mod listen;
mod share;
mod signer;
mod status;
mod tls;
mod trace;

pub use convert::document;
pub use listen::{Listeners, ServeError, bind, serve};
pub use tls::{TlsError, check as check_tls};

/// The largest request: a batch of 256 documents of 16 KiB.
const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The largest request of every call that carries no documents.
const MAX_SMALL_REQUEST: usize = 16 * 1024;

/// The largest document to be signed.
const MAX_PAYLOAD: usize = 64 * 1024;

/// The most documents in a batch.
const MAX_BATCH: usize = 256;
