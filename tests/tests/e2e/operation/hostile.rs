//! Hostile clients, while a well-behaved caller is served: each case makes trouble, calls as somebody
//! else in the midst of it, and lets the daemon stop in the end.

mod bytes;
mod flood;
mod frames;
mod linger;
pub(crate) mod unknown;

use std::future::Future;
use std::net::Ipv4Addr;

use hsmd_tests::{Daemon, Hsmd, Rpc};

use crate::operation::remote::Dial;
use crate::operation::{DOCUMENT, HOUR, Tls, head, service_key, with_callers};

const CALLERS: &str = r#"
    [[caller]]
    name = "well-behaved"
    san = "good.example.org"
    endorse = ["access"]
    sign = ["document"]
    read_log = true
    [[caller]]
    name = "reader"
    san = "reader.example.org"
    read_log = true
    [[caller]]
    name = "hostile"
    san = "bad.example.org"
    sign = ["document"]
    read_log = true
"#;

/// Where the trouble comes from: the well-behaved caller has another address.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 66, 66, 66);

/// A daemon, a well-behaved caller, and ways in for a hostile one.
struct Arena {
    hsmd: Hsmd,
    daemon: Daemon,
    tls: Tls,
    good: Rpc,
}

impl Arena {
    async fn new() -> Self {
        Self::with(|hsmd| hsmd).await
    }

    async fn with(change: impl FnOnce(Hsmd) -> Hsmd) -> Self {
        let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, CALLERS));
        // What a hostile caller leaves open, a stop waits for in vain.
        let hsmd = change(hsmd.set("stop_grace", "3s"));
        let daemon = hsmd.serve().await;
        let good = tls.dial(&["good.example.org"]).remote(&hsmd).rpc;
        head(&good).await.unwrap();
        Self { hsmd, daemon, tls, good }
    }

    /// The hostile caller's way in, with a certificate.
    fn hostile(&self) -> Dial {
        self.tls.dial(&["bad.example.org"]).from(ELSEWHERE)
    }

    /// Calls of every kind on the open connection, on a new one and over the Unix sockets.
    async fn is_served(&self) {
        let new = self.tls.dial(&["good.example.org"]).remote(&self.hsmd).rpc;
        for rpc in [&self.good, &new] {
            rpc.sign(DOCUMENT).await.expect("a signature");
            rpc.endorse("access", &service_key(), HOUR).await.expect("an endorsement");
            head(rpc).await.expect("the head");
        }
        self.hsmd.rpc().sign(DOCUMENT).await.expect("a signature over the Unix socket");
        self.daemon.status().await.expect("the admin listener");
    }

    /// Serves while this goes on, rotates in the midst of it, and stops in time with it still there.
    async fn survives(self, trouble: impl Future<Output = ()>) {
        let mut trouble = Box::pin(trouble);
        let served = async {
            for _ in 0..5 {
                self.is_served().await;
            }
            self.daemon.rotate_head().await;
            self.is_served().await;
        };
        tokio::select! {
            () = served => {}
            () = &mut trouble => panic!("the trouble ended before the calls"),
        }
        assert_eq!(self.hsmd.history().await.events().len(), 2);
        tokio::select! {
            () = self.daemon.stop() => {}
            () = trouble => panic!("the trouble ended before the daemon"),
        }
    }
}

/// Trouble that lasts until the case is over.
async fn for_ever<T>(_held: T) {
    std::future::pending().await
}
