//! `hsmd migrate`: brings the schema up to date as its owner and grants the writer what it may do.

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Executor};

use super::KeylogError;
use super::connect::Owner;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Creates or updates the schema. The writer gets SELECT and INSERT, nothing else; it can be run any
/// number of times.
///
/// # Errors
/// The server refuses a statement, or the schema is from a newer hsmd.
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
    connection
        .execute(run(format!(
            "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
             REVOKE ALL ON event, admin_action FROM PUBLIC, {role};
             GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT, INSERT ON event, admin_action TO {role}"
        )))
        .await
        .map_err(KeylogError::statement("granting the writer its rights"))?;
    Ok(())
}
