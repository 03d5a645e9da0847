//! Real parts for tests of services: a private hsmd, the Postgres under it, and services of ours as
//! processes. Everything ends with the value that stands for it.
//!
//! It runs the workspace's own binaries, which have to be built beside the test; Postgres 15 and SoftHSM
//! in Debian's places, Unix sockets and loopback only.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that can't be set up should fail loudly"
)]

mod hsm;
mod postgres;
mod service;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use flate2::{Compression, write::GzEncoder};
pub use hsm::RunningHsm;
pub use postgres::Postgres;
pub use service::RunningService;

/// How long anything may take before a test fails: long, since a loaded machine is no fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One of the workspace's commands, built beside the test: `target/<profile>/name`.
pub fn sibling(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let path = folder.join(name);
    assert!(path.exists(), "{name} is not built: cargo build --workspace --bins");
    path
}

/// Waits until a condition of another process holds, for [`PATIENCE`] at the most.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ten megabytes of blanks, gzipped to ten kilobytes, in base64url: what might stand in a token after its
/// signature.
pub fn gzip_bomb() -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 10_000_000]).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 12_000);
    Base64UrlUnpadded::encode_string(&packed)
}

/// Runs a command to its end, which must be good, and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Runs blocking work where it keeps nobody from going on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Secrets among them: nobody else may read these files.
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
