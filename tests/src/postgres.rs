//! One private Postgres for a test binary, and a database with its two roles for each test.

mod cluster;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use hsmd_chain::SignedEvent;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tokio::sync::OnceCell;

use crate::until;
use cluster::Cluster;

/// The binary's Postgres.
static CLUSTER_OF_THIS_BINARY: OnceCell<Cluster> = OnceCell::const_new();

/// A database of one test, with a role that owns it and one that writes. Nothing is in it yet.
#[derive(Debug)]
pub struct Database {
    folder: &'static Path,
    name: String,
    owner: String,
    writer: String,
    /// A Postgres of its own, which can be stopped.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    cluster: Cluster,
    down: Mutex<bool>,
}

/// A row of the admin record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminRow {
    /// init, rotate, taint or import.
    pub action: String,
    /// Who.
    pub caller: String,
    /// The reason that the administrator gave.
    pub reason: String,
    /// The newest event that the action left.
    pub sequence_number: i32,
    /// Of an import: the digest of the file.
    pub file_digest: Option<String>,
}

impl Database {
    /// A new database in the Postgres that all tests of this binary share.
    pub async fn create() -> Self {
        let cluster = CLUSTER_OF_THIS_BINARY.get_or_init(|| Cluster::start(None)).await;
        Self::create_in(&cluster.folder, None).await
    }

    /// A new database in a Postgres of its own, which the test may stop.
    pub async fn create_alone() -> Self {
        let cluster = Cluster::start(None).await;
        // A handful a binary: not worth a lifetime in every signature.
        let folder = Box::leak(cluster.folder.clone().into_boxed_path());
        Self::create_in(folder, Some(Own { cluster, down: Mutex::new(false) })).await
    }

    /// A streaming replica of this database, in a Postgres of its own: a hot standby until it is
    /// [promoted](Self::promote). This one must be [alone](Self::create_alone).
    pub async fn replica(&self) -> Self {
        let cluster = Cluster::start(Some(self.folder)).await;
        let folder = Box::leak(cluster.folder.clone().into_boxed_path());
        let Self { name, owner, writer, .. } = self;
        let (name, owner, writer) = (name.clone(), owner.clone(), writer.clone());
        Self { folder, name, owner, writer, own: Some(Own { cluster, down: Mutex::new(false) }) }
    }

    /// Makes a replica a primary, whatever becomes of the other one.
    pub async fn promote(&self) {
        self.as_superuser("SELECT pg_promote(true)").await;
    }

    /// Lets a replica receive nothing more, or go on.
    pub async fn cut_off(&self, of: &Self, cut: bool) {
        let from = if cut { Path::new("/nowhere") } else { of.folder };
        let from = format!("host={} user=postgres", from.display());
        self.as_superuser(&format!("ALTER SYSTEM SET primary_conninfo = '{from}'")).await;
        self.as_superuser("SELECT pg_reload_conf()").await;
        let receives = "SELECT count(*) FROM pg_stat_wal_receiver";
        until("the replica is cut off or follows", async || {
            (self.superusers_value(receives).await.ok()? == i64::from(!cut)).then_some(())
        })
        .await;
    }

    /// Waits until this replica has everything that the primary has.
    pub async fn catch_up_with(&self, primary: &Self) {
        let at = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint";
        let at = primary.superusers_value(at).await.expect("where the primary is");
        let replayed = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
        until("the replica has caught up", async || {
            (self.superusers_value(replayed).await.ok()? >= at).then_some(())
        })
        .await;
    }

    async fn superusers_value(&self, sql: &str) -> Result<i64, sqlx::Error> {
        let mut connection = self.connect("postgres", "postgres").await?;
        let value = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        value.fetch_one(&mut connection).await
    }

    async fn create_in(folder: &'static Path, own: Option<Own>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let database = Self {
            folder,
            name: format!("hsmd_{number}"),
            owner: format!("owner_{number}"),
            writer: format!("writer_{number}"),
            own,
        };
        let Self { name, owner, writer, .. } = &database;
        database.as_superuser(&format!("CREATE ROLE {owner} LOGIN")).await;
        database.as_superuser(&format!("CREATE ROLE {writer} LOGIN")).await;
        database.as_superuser(&format!("CREATE DATABASE {name} OWNER {owner}")).await;
        database
    }

    /// A copy of this database as it is now, with the same roles: a backup. Nobody may be connected.
    pub async fn backup(&self) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{}_{}", self.name, NEXT.fetch_add(1, Ordering::Relaxed));
        let Self { folder, owner, writer, .. } = self;
        until("nobody is connected any more", async || {
            let copy = format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE {}", self.name);
            self.try_as_superuser(&copy).await.ok()
        })
        .await;
        self.restrict(&name).await;
        let (owner, writer) = (owner.clone(), writer.clone());
        Self { folder, name, owner, writer, own: None }
    }

    /// Puts a [backup](Self::backup) in this database's place, as a restore does while daemons run:
    /// their connections end, and the next ones meet the backup.
    pub async fn restore(&self, backup: &Self) {
        let (name, copy) = (&self.name, &backup.name);
        self.as_superuser(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        let owner = &self.owner;
        self.as_superuser(&format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE {copy}")).await;
        self.restrict(name).await;
    }

    /// As `hsmd migrate` does it: a copy has none of the database's own privileges.
    async fn restrict(&self, name: &str) {
        let writer = &self.writer;
        self.as_superuser(&format!("REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC"))
            .await;
        self.as_superuser(&format!("GRANT CONNECT ON DATABASE {name} TO {writer}")).await;
    }

    /// The URL of the owner of the schema.
    pub fn owner_url(&self) -> String {
        self.url(&self.owner)
    }

    /// The URL of the role that may read and insert.
    pub fn writer_url(&self) -> String {
        self.url(&self.writer)
    }

    fn url(&self, role: &str) -> String {
        format!("postgresql://{role}@/{}?host={}", self.name, self.folder.display())
    }

    /// The URL of the writer by way of a socket in another folder.
    pub fn writer_url_by(&self, folder: &Path) -> String {
        format!("postgresql://{}@/{}?host={}", self.writer, self.name, folder.display())
    }

    /// The folder of the server's socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder
    }

    /// Changes the tables as only their owner can: behind the daemon's back, past the triggers that
    /// keep them append-only.
    pub async fn tamper(&self, sql: &str) {
        let around = |verb| {
            format!(
                "ALTER TABLE event {verb} TRIGGER event_append_only; \
                 ALTER TABLE admin_action {verb} TRIGGER admin_action_append_only"
            )
        };
        let (off, on) = (around("DISABLE"), around("ENABLE ALWAYS"));
        let all = format!("BEGIN; {off}; {sql}; {on}; COMMIT");
        self.execute(true, &all).await.expect("a change by the owner");
    }

    /// Runs a statement in the daemon's schema as the owner or the writer.
    ///
    /// # Errors
    /// What the server says.
    pub async fn execute(&self, as_owner: bool, sql: &str) -> Result<(), sqlx::Error> {
        let role = if as_owner { &self.owner } else { &self.writer };
        let mut connection = self.connect(role, &self.name).await?;
        connection.execute(AssertSqlSafe(sql.to_owned())).await?;
        connection.close().await
    }

    /// Every event, as it stands in the table, in order.
    pub async fn events(&self) -> Vec<SignedEvent> {
        let sql = "SELECT event_text, signature FROM event ORDER BY sequence_number";
        let rows = self.query(sql).await;
        rows.iter()
            .map(|row| SignedEvent::parse(row.get("event_text"), row.get("signature")))
            .collect::<Result<_, _>>()
            .expect("rows that are events")
    }

    /// The admin record, in order.
    pub async fn admin_rows(&self) -> Vec<AdminRow> {
        let rows = self.query("SELECT * FROM admin_action ORDER BY number").await;
        rows.iter()
            .map(|row| AdminRow {
                action: row.get("action"),
                caller: row.get("caller"),
                reason: row.get("reason"),
                sequence_number: row.get("sequence_number"),
                file_digest: row.get("file_digest"),
            })
            .collect()
    }

    /// What a query by the owner gives, which must be one value, as text; empty for none.
    pub async fn value(&self, sql: &str) -> String {
        let mut connection = self.connect(&self.owner, &self.name).await.expect("connect");
        let sql = AssertSqlSafe(format!("SELECT ({sql})::text"));
        let value: Option<String> =
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("a value");
        value.unwrap_or_default()
    }

    async fn query(&self, sql: &'static str) -> Vec<sqlx::postgres::PgRow> {
        let mut connection = self.connect(&self.writer, &self.name).await.expect("connect");
        sqlx::query(sql).fetch_all(&mut connection).await.expect(sql)
    }

    /// Whether the daemon has a transaction open and does nothing in it.
    pub async fn has_open_transaction(&self) -> bool {
        let rows = self
            .query(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'hsmd' AND state = 'idle in transaction'",
            )
            .await;
        !rows.is_empty()
    }

    /// Lets new connections only read, as a demoted primary does, or write again.
    pub async fn set_read_only(&self, read_only: bool) {
        let name = &self.name;
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {read_only}");
        self.as_superuser(&sql).await;
    }

    /// Ends every connection of the daemon, as a restart of the server does.
    pub async fn cut_connections(&self) {
        let name = &self.name;
        self.as_superuser(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = '{name}' AND application_name = 'hsmd'"
        ))
        .await;
    }

    /// Stops the Postgres of a database [of its own](Self::create_alone).
    pub fn stop_server(&self) {
        let own = self.own.as_ref().expect("a database made by create_alone");
        own.cluster.control(&["-m", "fast", "stop"]);
        *own.down.lock() = true;
    }

    /// Starts it again.
    pub fn start_server(&self) {
        let own = self.own.as_ref().expect("a database made by create_alone");
        own.cluster.control(&["-l", "log", "start"]);
        *own.down.lock() = false;
    }

    /// Runs a statement as the superuser, outside of this database.
    pub async fn as_superuser(&self, sql: &str) {
        self.try_as_superuser(sql).await.expect(sql);
    }

    async fn try_as_superuser(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = self.connect("postgres", "postgres").await?;
        connection.execute(AssertSqlSafe(sql.to_owned())).await?;
        connection.close().await
    }

    async fn connect(&self, role: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.folder)
            .username(role)
            .database(database)
            // The schemas of the daemon and of accounts: a database has one of them.
            .options([("search_path", "hsmd,accounts,public")]);
        PgConnection::connect_with(&options).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            own.cluster.end();
        }
    }
}
