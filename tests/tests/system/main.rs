//! The daemon as its callers and operators meet it, on a real token and a real Postgres.

mod happy_path;
