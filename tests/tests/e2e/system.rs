//! The daemon as its callers and operators meet it: real processes, a real token, a real Postgres.
//!
//! At the end of most tests `Hsmd::history` reads the log in every way there is and asserts that each
//! number has had one event only, whatever happened in between.

mod append_only;
mod batches;
mod clear_branch;
mod concurrency;
mod crash_init;
mod crash_rotation;
mod frozen;
mod happy_path;
mod heads;
mod healing;
mod outages;
pub(crate) mod ownership;
mod pin;
mod refusals;
mod retries;
mod schema;
mod standby;
mod startup_table;
mod taint;
mod transfer;
mod work;

use hsmd_chain::testing::SoftwareKey;
use hsmd_chain::{KeyLog, PublicKey, SignedBody, VerifiedEndorsement};
use hsmd_tests::{Rpc, now};

use crate::{DOCUMENT, WINDOW};

fn service_key() -> PublicKey {
    *SoftwareKey::from_seed("a service").public_key()
}

async fn endorse(rpc: &Rpc) -> SignedBody {
    rpc.endorse("access", service_key().as_str(), WINDOW).await.unwrap()
}

fn verified(endorsement: &SignedBody, log: &KeyLog) -> Option<VerifiedEndorsement> {
    endorsement.verify_endorsement(log, "access", &service_key(), now(), WINDOW).ok()
}
