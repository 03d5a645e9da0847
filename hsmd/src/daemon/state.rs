//! What the daemon is doing: shared by the lifecycle, which writes it, and the RPCs, which read it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hsmd_chain::{Digest, KeyLog};
use parking_lot::Mutex as SyncMutex;
use tokio::sync::{Mutex, watch};

use crate::audit::Audit;
use crate::authz::{Policy, Validity};
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::daemon::core::{Core, Lasting, Published};
use crate::daemon::taints::Taints;
use crate::observe::metrics::Metrics;
use crate::signer::{Signed, Signer};

/// How far the daemon has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for something, named for the operator.
    Starting(String),
    /// Another daemon holds the lock.
    Standby,
    /// The token signs for the head.
    Serving,
    /// Finishing what was accepted.
    Stopping,
}

/// What is known of the database connection.
#[derive(Clone, Debug, Default)]
pub struct DatabaseReport {
    /// Whether the writer's connection is up.
    pub connected: bool,
    /// Whether it holds the lock.
    pub lock_held: bool,
    /// Why not.
    pub problem: String,
}

/// What the lifecycle and the RPCs share.
#[derive(Debug)]
pub struct Shared {
    /// Who may do what; replaced as a whole on SIGHUP.
    pub policy: ArcSwap<Policy>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Where records go.
    pub audit: Audit,
    /// The clock.
    pub clock: Clock,
    /// The tokens.
    pub signer: Arc<Signer>,
    /// The history; none before the start has come so far.
    pub core: Arc<Mutex<Option<Core>>>,
    /// The taints that are not answered yet.
    pub taints: Taints,
    /// The newest verified log.
    pub log: Published,
    /// What is wrong for longer than a call.
    pub lasting: watch::Sender<Lasting>,
    phase: watch::Sender<Phase>,
    database: SyncMutex<DatabaseReport>,
    problem: SyncMutex<Option<String>>,
    config_problem: SyncMutex<Option<String>>,
    head_statement: SyncMutex<Option<Arc<Signed>>>,
    /// Of listen.tls and of listen.admin_tls.
    certificates: SyncMutex<[Option<Validity>; 2]>,
    /// Where to look up admin records.
    pub database_config: DatabaseConfig,
}

impl Shared {
    /// The state of a daemon that has just started.
    pub fn new(
        policy: Policy,
        metrics: Arc<Metrics>,
        audit: Audit,
        clock: Clock,
        signer: Arc<Signer>,
        database_config: DatabaseConfig,
    ) -> Self {
        Self {
            policy: ArcSwap::from_pointee(policy),
            metrics,
            audit,
            clock,
            signer,
            core: Arc::default(),
            taints: Taints::default(),
            log: watch::Sender::new(None),
            lasting: watch::Sender::default(),
            phase: watch::Sender::new(Phase::Starting("starting".into())),
            database: SyncMutex::default(),
            problem: SyncMutex::default(),
            config_problem: SyncMutex::default(),
            head_statement: SyncMutex::default(),
            certificates: SyncMutex::default(),
            database_config,
        }
    }

    /// How far the daemon has come.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Changes of the phase.
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The newest verified log.
    pub fn snapshot(&self) -> Option<KeyLog> {
        self.log.borrow().clone()
    }

    /// Why readers are not shown the log. While it serves, a daemon shows it only when it can tell that no other
    /// is ahead of it; while it starts, not beside another daemon's claim of the token, nor in a standby pair
    /// while another may have the lock.
    pub fn withholds_log(&self) -> Option<String> {
        let release_check = self.signer.release_check();
        let shows = match self.phase() {
            Phase::Serving => release_check.may_publish(),
            Phase::Starting(_) => release_check.may_publish_at_start(),
            Phase::Standby | Phase::Stopping => true,
        };
        let reason = || release_check.ownership_problem();
        (!shows).then(|| reason().unwrap_or_else(|| "the writer lock can't be proved".into()))
    }

    /// What is known of the database.
    pub fn database(&self) -> DatabaseReport {
        self.database.lock().clone()
    }

    /// What else is wrong, for the operator.
    pub fn problems(&self) -> Vec<String> {
        let lasting = self.lasting.borrow().clone();
        let problem = self.problem.lock().clone();
        let config = self.config_problem();
        let before = problem.into_iter().chain(config);
        let lasting =
            lasting.pending.into_iter().chain(lasting.next_key).chain(lasting.undestroyed);
        before.chain(lasting).collect()
    }

    /// In what the configuration's file, as last read, is not what runs.
    pub fn config_problem(&self) -> Option<String> {
        self.config_problem.lock().clone()
    }

    pub fn set_config_problem(&self, problem: Option<String>) {
        *self.config_problem.lock() = problem;
    }

    /// The newest statement about this head, if it may leave now.
    pub fn head_statement(&self, head: &Digest) -> Option<Arc<Signed>> {
        let statement = self.head_statement.lock().clone()?;
        if statement.generation.id() != *head {
            return None;
        }
        let number = statement.generation.sequence_number();
        self.signer.release_check().pass(number, || statement)
    }

    pub fn set_head_statement(&self, statement: Option<Signed>) {
        *self.head_statement.lock() = statement.map(Arc::new);
    }

    /// From when until when our TLS certificate is valid, the one that ends first; none without TLS.
    pub fn certificate(&self) -> Option<Validity> {
        let certificates = *self.certificates.lock();
        certificates.into_iter().flatten().min_by_key(|validity| validity.end)
    }

    /// Notes that of listen.tls or of listen.admin_tls.
    pub fn set_certificate(&self, of_admin: bool, validity: Validity) {
        self.certificates.lock()[usize::from(of_admin)] = Some(validity);
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            // A stop is final.
            let changes = *current != phase && *current != Phase::Stopping;
            if changes {
                tracing::info!(?phase, "phase");
                *current = phase;
            }
            changes
        });
    }

    pub fn set_database(&self, report: DatabaseReport) {
        let mut current = self.database.lock();
        if current.problem != report.problem && !report.problem.is_empty() {
            tracing::warn!(problem = report.problem, "the database has a problem");
        } else if !current.connected && report.connected {
            tracing::info!(lock_held = report.lock_held, "database connected");
        }
        *current = report;
    }

    pub fn set_problem(&self, problem: Option<String>) {
        let mut current = self.problem.lock();
        if *current != problem {
            match &problem {
                Some(problem) => tracing::error!(problem, "the daemon has a problem"),
                None => tracing::info!("the daemon's problem is solved"),
            }
            *current = problem;
        }
    }
}
