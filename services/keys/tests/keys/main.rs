//! The keys service on real parts: a published log that it follows over HTTP, a private Redis, real
//! sockets, and for the page Debian's Chromium.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step should end the test here"
)]

mod browser;
mod caching;
mod daemon;
mod freshness;
mod listing;
mod log;
mod page;
mod support;
mod webdriver;
