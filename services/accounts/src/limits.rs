//! How many requests are accepted of a client network, and in all.

mod attempts;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub(crate) use attempts::{Attempts, Kind};
use hsmd_support::RateLimit;

use crate::config::{LimitsConfig, Rate};

/// How many windows are remembered. Networks beyond share one for each path.
const REMEMBERED: usize = 1 << 16;

const SECOND: Duration = Duration::from_secs(1);

/// The limits in memory; each replica counts alone.
pub(crate) struct Limits {
    config: LimitsConfig,
    /// A plain mutex: held for a moment and never across an await.
    windows: Mutex<HashMap<(Option<IpAddr>, &'static str), Window>>,
    /// Of all networks together.
    total: RateLimit,
}

/// How many were accepted, and the last of them when.
struct Window {
    count: u32,
    last: Instant,
    length: Duration,
}

impl Limits {
    pub(crate) fn new(config: LimitsConfig, now: Instant) -> Self {
        let total = RateLimit::new(config.requests_per_second, SECOND, 1, now);
        Self { config, windows: Mutex::default(), total }
    }

    /// Counts a request of a network under a path, which is one of a fixed list; an error says when the
    /// next may come.
    pub(crate) fn accept(
        &self,
        network: IpAddr,
        path: &'static str,
        now: Instant,
    ) -> Result<(), Duration> {
        let rate = self.rate(path);
        self.accept_one(network, path, rate, now)?;
        if self.total.accept((), now) { Ok(()) } else { Err(SECOND) }
    }

    fn rate(&self, path: &str) -> Rate {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        if begins(&["/sign-in", "/sign-up", "/change-password", "/change-email"]) {
            self.config.sign_in
        } else if begins(&[
            "/request-password-reset",
            "/forget-password",
            "/send-verification-email",
        ]) {
            self.config.mail
        } else {
            self.config.path
        }
    }

    fn accept_one(
        &self,
        network: IpAddr,
        path: &'static str,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (Some(network), path);
        if windows.len() >= REMEMBERED && !windows.contains_key(&key) {
            windows.retain(|_, window| now.duration_since(window.last) < window.length);
            if windows.len() >= REMEMBERED {
                key.0 = None;
            }
        }
        let window =
            windows.entry(key).or_insert(Window { count: 0, last: now, length: rate.window });
        let since = now.saturating_duration_since(window.last);
        if since >= rate.window {
            window.count = 0;
        }
        if window.count >= rate.max.get() {
            return Err(rate.window.saturating_sub(since));
        }
        window.count += 1;
        window.last = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits::new(
            LimitsConfig { requests_per_second: 500, ..LimitsConfig::default() },
            Instant::now(),
        )
    }

    fn network(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn the_window_counts_from_the_last_accepted() {
        let (limits, start) = (limits(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let sign_in = |seconds| limits.accept(network(1), "/sign-in/email", at(seconds));
        assert_eq!([sign_in(0), sign_in(4), sign_in(8)], [Ok(()); 3]);
        assert_eq!(sign_in(9), Err(Duration::from_secs(9)));
        assert_eq!(sign_in(17), Err(Duration::from_secs(1)));
        assert_eq!(limits.accept(network(2), "/sign-in/email", at(9)), Ok(()), "another network");
        assert_eq!(limits.accept(network(1), "/sign-up/email", at(9)), Ok(()), "another path");
        assert_eq!([sign_in(18), sign_in(18), sign_in(18)], [Ok(()); 3]);
        assert!(sign_in(18).is_err());
    }

    #[test]
    fn each_path_has_its_rate() {
        let (limits, now) = (limits(), Instant::now());
        let accepted =
            |path| (0..).take_while(|_| limits.accept(network(1), path, now).is_ok()).count();
        for path in ["/sign-in/email", "/sign-up/email", "/change-password", "/change-email"] {
            assert_eq!(accepted(path), 3, "{path}");
        }
        for path in ["/request-password-reset", "/forget-password", "/send-verification-email"] {
            assert_eq!(accepted(path), 3, "{path}");
        }
        assert_eq!(accepted("/get-session"), 100);
        assert_eq!(limits.rate("/forget-password").window, Duration::from_secs(60));
    }

    #[test]
    fn memory_is_bounded_and_old_windows_make_room() {
        let (limits, start) = (limits(), Instant::now());
        let rate = limits.config.sign_in;
        let accept = |number, now| limits.accept_one(network(number), "/sign-in/email", rate, now);
        let many = u32::try_from(REMEMBERED).unwrap();
        assert!((0..many).all(|number| accept(number, start).is_ok()));
        // Those beyond share three.
        let beyond = (many..many + 10).filter(|&number| accept(number, start).is_ok()).count();
        assert_eq!(beyond, 3);
        assert!(limits.windows.lock().unwrap().len() <= REMEMBERED + 1);
        assert!(accept(many + 20, start + Duration::from_secs(10)).is_ok());
        assert!(limits.windows.lock().unwrap().len() < 10);
    }

    #[test]
    fn all_clients_together_are_limited() {
        let (limits, now) = (limits(), Instant::now());
        let accepted =
            (0..1000).filter(|&number| limits.accept(network(number), "/ok", now).is_ok()).count();
        assert_eq!(accepted, 500);
        assert!(limits.accept(network(7), "/ok", now + Duration::from_secs(1)).is_ok());
    }
}
