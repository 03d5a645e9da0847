//! The services around the daemon as their users meet them: hsmd, Redis, Postgres, keys, two of auth and
//! one of app, each a process, and what becomes of them when one of their neighbours fails.
//!
//! What a single service does then is tested beside it; here it is the whole that answers, and each
//! reply counts only once it is verified as a user verifies it. `--nocapture` shows the measurements.

mod certificates;
mod clients;
mod device;
mod faults;
mod jwks;
mod load;
mod measurements;
mod metrics;
mod scripts;
mod stack;
mod user;
