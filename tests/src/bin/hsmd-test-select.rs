//! `hsmd-test-select FILE`: a bare axum route with one indexed SELECT, beside which the benchmark measures the
//! accounts service. FILE holds the URL of that service's database. It says where it listens.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a tool of the benchmark")]

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use hsmd_service::postgres::Server;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let file = std::env::args().nth(1).expect("FILE");
    let server = Server::read(file.as_ref(), "hsmd-test-select").expect("the database's URL");
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .test_before_acquire(false)
        .connect_with(server.options)
        .await
        .expect("a connection");
    let router = Router::new().route("/{token}", get(select)).with_state(pool);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    axum::serve(listener, router).await.expect("it serves");
}

/// Whose session it is.
async fn select(
    State(pool): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Json<String>, StatusCode> {
    sqlx::query_scalar("SELECT user_id FROM accounts.sessions WHERE token = $1")
        .bind(token)
        .fetch_one(&pool)
        .await
        .map(Json)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
