//! Fifty services' worth of the client library against one daemon, and a taint.

use std::time::{Duration, Instant};

use hsmd_chain::{Anchor, Digest, PublicKey, testing::SoftwareKey};
use hsmd_client::{
    Client, ConnectOptions, Endorsement, Endorser, LogOptions, LogSource, VerifiedLog,
};
use hsmd_tests::{Hsmd, soon};
use tokio::task::JoinSet;

use crate::WINDOW;

const CLIENTS: usize = 50;

/// What a service has of the library: a connection, the followed log, and a key that is kept endorsed.
struct Service {
    log: VerifiedLog,
    endorser: Endorser,
    key: PublicKey,
}

/// When a client knew that the tainted generation is dead, and when it had a new endorsement.
struct Healed {
    dead: Instant,
    endorsed: Instant,
    /// The generation that made it.
    by: Digest,
}

impl Service {
    fn start(hsmd: &Hsmd, anchor: Anchor, number: usize) -> Self {
        let endpoint = format!("unix://{}", hsmd.path("service.sock").display());
        let client = Client::connect(&ConnectOptions::new(endpoint)).unwrap();
        let source = LogSource::Grpc(client.clone());
        let log = VerifiedLog::follow(source, anchor, LogOptions::default()).unwrap();
        let key = *SoftwareKey::from_seed(&format!("service {number}")).public_key();
        let endorser = Endorser::start(&client, log.clone(), "access", key, WINDOW);
        Self { log, endorser, key }
    }

    fn holds(&self, endorsement: &Endorsement) -> bool {
        self.log.recheck_endorsement(endorsement.verified(), WINDOW).is_ok()
    }

    /// Waits until the taint has arrived and its consequences are drawn.
    async fn heal(self) -> Healed {
        let old = self.endorser.ready().await;
        assert!(self.holds(&old), "before the taint");
        let mut moves = self.log.changes();
        let tainted = old.generation_id();
        moves
            .wait_for(|log| log.as_ref().is_some_and(|log| log.position().id != tainted))
            .await
            .unwrap();
        assert!(!self.holds(&old), "the log has the taint, so the generation is dead");
        let dead = Instant::now();

        let mut endorsements = self.endorser.subscribe();
        let fresh = endorsements
            .wait_for(|it| it.as_ref().is_some_and(|it| it.generation_id() != tainted))
            .await
            .unwrap()
            .clone()
            .unwrap();
        let endorsed = Instant::now();
        let signed = fresh.verified().body().signed();
        self.log.check_endorsement(signed, "access", &self.key, Duration::ZERO).unwrap();
        Healed { dead, endorsed, by: fresh.generation_id() }
    }
}

/// How long it takes is printed, and asserted by nobody: `scripts/bench` shows it of a release build.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_taint_fifty_clients_hold_fresh_endorsements() {
    let hsmd = Hsmd::initialised().await;
    let daemon = hsmd.serve().await;
    let anchor = Anchor::new(daemon.head().await.event().prefix());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let service = Service::start(&hsmd, anchor, number);
        service.endorser.ready().await;
        clients.spawn(service.heal());
    }
    let begun = Instant::now();
    for number in 0..CLIENTS {
        let key = SoftwareKey::from_seed(&format!("alone {number}"));
        daemon.endorse("access", key.public_key().as_str(), WINDOW).await.unwrap();
    }
    let alone = begun.elapsed();
    let asked = Instant::now();
    let head = daemon.taint_head().await.event().id();
    let answered = Instant::now();
    let healed = soon(clients.join_all()).await;
    assert!(healed.iter().all(|it| it.by == head), "each by the one that replaced the tainted");
    let since = |instant: Instant| instant.saturating_duration_since(answered);
    let dead = healed.iter().map(|it| since(it.dead)).max().unwrap();
    let endorsed = healed.iter().map(|it| since(it.endorsed)).max().unwrap();
    println!(
        "{CLIENTS} clients after a taint: all know that the key is dead {dead:.1?}, the last is \
         endorsed anew {endorsed:.1?} after Taint answered, which took {:.1?}; {CLIENTS} endorsements \
         one after the other take {alone:.1?}",
        answered - asked
    );
}
