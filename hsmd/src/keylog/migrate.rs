//! `hsmd migrate`: brings the schema up to date as its owner and grants the writer what it may do; and
//! whether a schema is the one that this hsmd was built for.

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};

use super::KeylogError;
use super::connect::{Owner, timed};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Creates or updates the schema. The writer gets SELECT and INSERT, nothing else, and no other role
/// may connect to the database: any could take the writer lock. It can be run any number of times.
///
/// # Errors
/// [`KeylogError::Statement`], [`KeylogError::Migrate`], also if the schema is from a newer hsmd.
pub async fn migrate(owner: &mut Owner) -> Result<(), KeylogError> {
    let Owner { connection, schema, writer_role } = owner;
    // The schema's name is an identifier by the configuration's rules; a role may be called anything.
    let role = format!("\"{}\"", writer_role.replace('"', "\"\""));
    let run = |sql: String| AssertSqlSafe(sql);
    connection
        .execute(run(format!("CREATE SCHEMA IF NOT EXISTS {schema}")))
        .await
        .map_err(KeylogError::statement("creating the schema"))?;
    MIGRATIONS.run_direct(None, connection, false).await.map_err(KeylogError::Migrate)?;
    let database: String = sqlx::query_scalar("SELECT quote_ident(current_database())")
        .fetch_one(&mut *connection)
        .await
        .map_err(KeylogError::statement("naming the database"))?;
    connection
        .execute(run(format!(
            "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
             REVOKE ALL ON event, admin_action, token_claim, _sqlx_migrations FROM PUBLIC, {role};
             GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT, INSERT ON event, admin_action, token_claim TO {role};
             GRANT SELECT ON _sqlx_migrations TO {role};
             GRANT CONNECT ON DATABASE {database} TO {role};
             REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC"
        )))
        .await
        .map_err(KeylogError::statement("granting the writer its rights"))?;
    Ok(())
}

/// Whether the schema has the migrations that this hsmd was built with, no fewer, no more and no others.
pub(super) async fn check_schema(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<(), KeylogError> {
    const DOING: &str = "reading the schema's version";
    let applied = timed(DOING, async {
        // By its full name: behind a transaction pooler, which is found out later, the search path may
        // be another's.
        let query =
            format!("SELECT version, checksum FROM {schema}._sqlx_migrations ORDER BY version");
        let applied: Result<Vec<(i64, Vec<u8>)>, sqlx::Error> =
            sqlx::query_as(AssertSqlSafe(query)).fetch_all(&mut *connection).await;
        match applied {
            Ok(applied) => Ok(applied),
            Err(source) => Err(unreadable(connection, schema, source).await),
        }
    })
    .await?;
    let known: Vec<(i64, &[u8])> =
        MIGRATIONS.iter().map(|migration| (migration.version, &*migration.checksum)).collect();
    for (version, checksum) in &applied {
        match known.iter().find(|(known, _)| known == version) {
            None => return Err(KeylogError::SchemaNewer(schema.to_owned(), *version)),
            Some((_, known)) if known != checksum => {
                return Err(KeylogError::SchemaChanged(schema.to_owned(), *version));
            }
            Some(_) => {}
        }
    }
    if applied.len() < known.len() {
        return Err(KeylogError::SchemaOld(schema.to_owned()));
    }
    Ok(())
}

/// Why a table can't be read: it is not there, or the role may not.
pub(super) async fn unreadable(
    connection: &mut PgConnection,
    schema: &str,
    source: sqlx::Error,
) -> KeylogError {
    let code = source.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    if !matches!(&*code, "42P01" | "3F000" | "42501") {
        return KeylogError::Statement { doing: "reading the key log", source };
    }
    // Set on one server process and not there on the next.
    let configured: Result<bool, sqlx::Error> =
        sqlx::query_scalar("SELECT current_setting('search_path') = $1")
            .bind(schema)
            .fetch_one(&mut *connection)
            .await;
    if matches!(configured, Ok(false)) {
        return KeylogError::TransactionPooler;
    }
    // Without USAGE the tables of a schema are not found: that is a missing GRANT, too.
    let there: Result<Option<bool>, sqlx::Error> = sqlx::query_scalar(
        "SELECT has_schema_privilege(oid, 'USAGE') AND NOT EXISTS (SELECT FROM pg_class c \
           WHERE c.relnamespace = n.oid AND c.relname = 'event' \
           AND NOT has_table_privilege(c.oid, 'SELECT')) FROM pg_namespace n WHERE nspname = $1",
    )
    .bind(schema)
    .fetch_optional(&mut *connection)
    .await;
    match there {
        Ok(Some(false)) => KeylogError::MissingGrant(schema.to_owned()),
        // An older hsmd did not grant its version.
        Ok(Some(true)) if code == "42501" => KeylogError::SchemaOld(schema.to_owned()),
        Ok(_) => KeylogError::NotMigrated(schema.to_owned()),
        Err(source) => KeylogError::Statement { doing: "reading the key log", source },
    }
}
