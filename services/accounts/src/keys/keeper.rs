//! The background task: publishes this replica's endorsed key, reads all replicas', and replaces a key
//! that was withdrawn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hsmd_chain::SignedPayload;
use hsmd_client::Endorsement;
use hsmd_service::Hsm;
use hsmd_support::chain;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Listed, OwnKey, PURPOSE, Shared, rows};
use crate::database::Database;

/// How often the table is read: how long a withdrawal goes unnoticed.
const TICK: Duration = Duration::from_millis(500);

/// How often a replica says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often old rows are removed.
const PURGE: Duration = Duration::from_secs(3600);

pub(super) struct Keeper {
    shared: Arc<Shared>,
    hsm: Hsm,
    database: Database,
    /// Whether the table is there.
    migrated: watch::Receiver<bool>,
    /// What was last written, and when.
    written: Option<(Option<Arc<Endorsement>>, Instant)>,
    /// When our key was first in the table.
    listed_since: Option<Instant>,
    purged: Option<Instant>,
    failing: bool,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        hsm: Hsm,
        database: Database,
        migrated: watch::Receiver<bool>,
    ) -> Self {
        let (written, listed_since, purged) = (None, None, None);
        Self { shared, hsm, database, migrated, written, listed_since, purged, failing: false }
    }

    pub(super) async fn run(mut self) {
        // An error: the service ends.
        let mut migrated = self.migrated.clone();
        drop(migrated.wait_for(|there| *there).await);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut log = self.hsm.log.changes();
        let mut endorsements = self.own().endorsements();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = log.changed() => {}
                _ = endorsements.changed() => {}
            }
            let database = self.database.clone();
            match database.timed(self.round()).await {
                Ok(true) => self.failing = false,
                Ok(false) => {
                    self.replace();
                    endorsements = self.own().endorsements();
                }
                Err(error) if self.failing => {
                    tracing::debug!(error = %chain(&error), "signing keys not read");
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "signing keys not read");
                    self.failing = true;
                }
            }
        }
    }

    /// One look. False: our key was withdrawn.
    async fn round(&mut self) -> Result<bool, sqlx::Error> {
        let own = self.own();
        if !self.publish(&own).await? {
            return Ok(false);
        }
        let rows = rows::read(own.kid(), self.database.pool()).await?;
        let kid = own.kid().as_str();
        if rows.iter().any(|row| row.kid == kid && row.withdrawn) {
            return Ok(false);
        }
        let known = self.shared.read(|state| state.listed.clone());
        let known = |kid: &str| known.iter().find(|it| it.kid().as_str() == kid);
        let (log, config) = (&self.hsm.log, &self.shared.config);
        let listed: Vec<_> =
            rows.iter().filter_map(|row| Listed::new(row, known(&row.kid), log, config)).collect();
        self.update(&own, listed);
        if self.purged.is_none_or(|at| at.elapsed() >= PURGE) {
            rows::purge(self.database.pool()).await?;
            self.purged = Some(Instant::now());
        }
        Ok(true)
    }

    /// Writes a new endorsement at once, and otherwise a heartbeat when it is time.
    async fn publish(&mut self, own: &OwnKey) -> Result<bool, sqlx::Error> {
        let current = own.endorsement();
        let due = match &self.written {
            None => current.is_some(),
            Some((written, at)) => {
                (current.is_some() && *written != current) || at.elapsed() >= HEARTBEAT
            }
        };
        if !due {
            return Ok(true);
        }
        let token = self.shared.config.lifetime + self.shared.config.skew;
        let text = current.as_ref().map(|endorsement| endorsement.to_json());
        if !rows::publish(own.kid(), text.as_deref(), token, self.database.pool()).await? {
            return Ok(false);
        }
        let published = text.and_then(|text| SignedPayload::parse(&text).ok()).and_then(|signed| {
            let window = self.shared.config.endorsement;
            self.hsm.log.check_endorsement(&signed, PURPOSE, own.kid(), window).ok()
        });
        if published.is_some() {
            self.shared.write(|state| state.published = published);
        }
        let kept = self.written.take().and_then(|(written, _)| written);
        self.written = Some((current.or(kept), Instant::now()));
        self.listed_since.get_or_insert_with(Instant::now);
        Ok(true)
    }

    /// Shows what was read.
    fn update(&self, own: &OwnKey, listed: Vec<Listed>) {
        let live = |it: &Listed| it.endorsement().is_some_and(|it| self.shared.is_live(it));
        // Oldest first: an older replica's key, while that lives, signs until verifiers know ours. Without an
        // endorsement it will soon have one, as after a taint.
        let older = listed.iter().take_while(|it| it.kid() != own.kid()).any(Listed::lives);
        let known = self
            .listed_since
            .is_some_and(|since| !older || since.elapsed() >= self.shared.config.listing_delay);
        let present = listed.iter().any(|it| it.kid() == own.kid());
        let waiting: Vec<_> = listed
            .iter()
            .filter(|it| it.lives() && !live(it))
            .map(|it| *it.kid())
            .chain((!listed.iter().any(|it| it.kid() == own.kid() && live(it))).then(|| *own.kid()))
            .collect();
        self.shared.write(|state| {
            state.signs |= known && present;
            state.listed = listed;
            state.read_at = Some(Instant::now());
            state.waiting.retain(|kid, _| waiting.contains(kid));
            for kid in waiting {
                state.waiting.entry(kid).or_insert_with(Instant::now);
            }
        });
    }

    /// Makes a new key: the old one is dead for ever.
    fn replace(&mut self) {
        let own = Arc::new(OwnKey::new(&self.hsm, self.shared.config.endorsement));
        self.shared.write(|state| {
            tracing::warn!(withdrawn = %state.own.kid(), new = %own.kid(), "signing key withdrawn");
            let withdrawn = *state.own.kid();
            state.listed.retain(|it| *it.kid() != withdrawn);
            state.own = own;
            state.published = None;
            state.signs = false;
        });
        (self.written, self.listed_since) = (None, None);
    }

    fn own(&self) -> Arc<OwnKey> {
        self.shared.read(|state| Arc::clone(&state.own))
    }
}
