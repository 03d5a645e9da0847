//! The PIN and the database's password are in no log, no error, no record and nowhere in /proc.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use hsmd_tests::{Hsmd, Output, RunningService, program, until};
use tokio::process::Command;

use crate::operation::{DOCUMENT, HOUR, service_key};

/// As the harness sets it on its tokens.
const PIN: &str = "24680-right";
const WRONG_PIN: &str = "13579-wrong";
const PASSWORD: &str = "p4ssw0rd-of-the-database";

#[track_caller]
fn assert_silent(place: &str, text: &[u8]) {
    for secret in [PIN, WRONG_PIN, PASSWORD] {
        let found = text.windows(secret.len()).any(|piece| piece == secret.as_bytes());
        assert!(!found, "{secret} in {place}: {}", String::from_utf8_lossy(text));
    }
}

fn assert_silent_output(place: &str, output: &Output) {
    assert_silent(place, output.stdout.as_bytes());
    assert_silent(place, output.stderr.as_bytes());
}

/// An hsmd whose URLs hold a password, which the harness's Postgres does not ask for, and which says
/// everything that it could say.
async fn with_secrets() -> Hsmd {
    let hsmd = Hsmd::initialised().await;
    let secret = |url: &str| format!("{url}&password={PASSWORD}");
    for (name, url) in [("w.url", hsmd.database.writer_url()), ("o.url", hsmd.database.owner_url())]
    {
        write_url(&hsmd, name, &secret(&url));
    }
    hsmd.set("database.writer_url_file", "@/w.url")
        .set("database.owner_url_file", "@/o.url")
        .set("log.filter", "trace")
        .set("audit.sink", "file")
        .set("audit.file", "@/audit.jsonl")
}

fn write_url(hsmd: &Hsmd, name: &str, url: &str) {
    assert!(url.contains(PASSWORD));
    std::fs::write(hsmd.path(name), url).unwrap();
    std::fs::set_permissions(hsmd.path(name), PermissionsExt::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_daemon_at_work_tells_no_secret() {
    let hsmd = with_secrets().await;
    assert_silent_output("migrate", &hsmd.run(&["migrate"]).await);
    assert_silent_output("check", &hsmd.run(&["check"]).await);
    assert_silent_output("export", &hsmd.run(&["export"]).await);
    let mut daemon = hsmd.serve().await;
    daemon.sign(DOCUMENT).await.unwrap();
    daemon.endorse("access", &service_key(), HOUR).await.unwrap();
    daemon.endorse("health", &service_key(), HOUR).await.unwrap_err();
    daemon.rotate_head().await;
    hsmd.database.cut_connections().await;
    let head = daemon.head().await.event().id();
    until("a taint", async || daemon.taint(head.as_str()).await.ok()).await;

    let proc = format!("/proc/{}", daemon.pid());
    let proc = Path::new(&proc);
    for file in ["cmdline", "environ", "comm", "status", "stat", "maps", "mountinfo"] {
        assert_silent(file, &std::fs::read(proc.join(file)).unwrap());
    }
    for entry in std::fs::read_dir(proc.join("fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        assert_ne!(target, hsmd.path("pin"), "the PIN file is closed again");
        assert_ne!(target, hsmd.path("w.url"));
    }
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");

    // A token that goes, and comes back with another PIN in the file; after the taint is heard of.
    daemon.ready().await;
    let unplugged = hsmd.token.unplug();
    until("not ready", async || (!daemon.is_serving("").await).then_some(())).await;
    hsmd.write_pin(WRONG_PIN);
    unplugged.plug_in();
    daemon.problem("PIN").await;
    let status = format!("{:?}", daemon.status().await.unwrap());
    assert_silent("Status", status.as_bytes());
    hsmd.correct_pin();
    daemon.ready().await;
    assert_silent("the log", daemon.log_text().as_bytes());
    assert!(daemon.log_text().contains("TRACE"), "it says everything that it could say");
    assert_silent("the audit records", &std::fs::read(hsmd.path("audit.jsonl")).unwrap());
    for entry in std::fs::read_dir(hsmd.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_silent(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
    let log = daemon.log_text();
    daemon.stop().await;
    assert!(!log.is_empty());
}

#[tokio::test]
async fn errors_tell_no_secret() {
    let hsmd = with_secrets().await;
    let good = std::fs::read_to_string(hsmd.path("w.url")).unwrap();
    let folder = hsmd.path("").display().to_string();
    for bad in [
        format!("postgresql://nobody:{PASSWORD}@/nowhere?host={folder}"),
        format!("postgresql://nobody:{PASSWORD}@127.0.0.1:1/nowhere"),
        format!("postgresql://nobody:{PASSWORD}@127.0.0.1:a/nowhere"),
        format!("postgresql://nobody:{PASSWORD}"),
        PASSWORD.to_owned(),
        format!("host=127.0.0.1 password={PASSWORD}"),
        good.replace("host=", "hust="),
    ] {
        write_url(&hsmd, "w.url", &bad);
        for command in ["check", "export", "init"] {
            let output = hsmd.run(&[command]).await;
            assert!(!output.status.success(), "{command} with {bad}");
            assert_silent_output(&format!("{command} with {bad}"), &output);
        }
    }
    write_url(&hsmd, "w.url", &good);
    let fresh = Hsmd::fresh().await;
    fresh.migrate().await;
    for (hsmd, command) in [(&hsmd, "check"), (&fresh, "init")] {
        hsmd.write_pin(WRONG_PIN);
        let output = hsmd.run(&[command]).await;
        assert!(!output.status.success(), "{command}");
        assert_silent_output(command, &output);
    }
    // Secrets in the wrong place: where the file's name should be, and the file in the file's place.
    for (path, value, said) in [
        ("token.0.pin", PIN, "put the PIN in pin_file"),
        ("database.url", PASSWORD, "unknown field"),
    ] {
        let hsmd = Hsmd::fresh().await.set(path, value);
        let output = hsmd.run(&["check"]).await;
        assert_silent_output(path, &output);
        output.ended(64, said);
    }
    let folder = tempfile::tempdir().unwrap();
    let inline = format!("[redis]\npassword = \"{PASSWORD}\"\n");
    for name in ["keys", "app", "auth", "accounts"] {
        let output = RunningService::check(name, folder.path(), &inline).await;
        assert_silent_output(name, &output);
        output.ended(64, "unknown field");
    }
}

#[tokio::test]
async fn files_with_secrets_that_others_can_read_are_refused() {
    let hsmd = with_secrets().await;
    for (file, words) in [("pin", "cannot read the PIN file"), ("w.url", "w.url")] {
        let path = hsmd.path(file);
        for mode in [0o604, 0o644, 0o666, 0o602] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let output = hsmd.run(&["check"]).await;
            output.clone().refused(words);
            output.refused("admits others: use 0400, 0440 or 0600");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
        hsmd.run(&["check"]).await.good();
    }
}

/// Without privileges of its own a daemon's /proc shows who may look: root only when it is not
/// dumpable. As root everything in /proc is root's, so the daemon runs as another user then.
#[tokio::test]
async fn nobody_dumps_the_daemon_or_looks_into_it() {
    let hsmd = Hsmd::initialised().await;
    let user = if nix::unistd::getuid().is_root() { Some("postgres") } else { None };
    let (binary, mut command) = (hsmd.path("hsmd-of-the-user"), None);
    if let Some(name) = user {
        let user = nix::unistd::User::from_name(name).unwrap().unwrap();
        // The user may not be able to reach the folder that the tests were built in. Another process writes
        // it: what other tests start meanwhile would hold our end of the file open.
        let copied = Command::new("cp").arg(program("hsmd")).arg(&binary).status().await;
        assert!(copied.unwrap().success());
        for folder in [hsmd.path(""), hsmd.token.conf().ancestors().nth(2).unwrap().to_owned()] {
            give(&folder, user.uid.as_raw(), user.gid.as_raw());
        }
        let mut started = Command::new(&binary);
        started.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        command = Some(started);
    }
    let mut command = command.unwrap_or_else(|| Command::new(program("hsmd")));
    let mut daemon = command
        .args(["--config".as_ref(), hsmd.path("hsmd.toml").as_os_str(), "serve".as_ref()])
        .env("SOFTHSM2_CONF", hsmd.token.conf())
        .current_dir("/")
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let rpc = hsmd.rpc();
    rpc.ready().await;
    let proc = format!("/proc/{}", daemon.id().unwrap());
    let environ = std::fs::metadata(format!("{proc}/environ")).unwrap();
    assert_eq!(environ.uid(), 0, "PR_GET_DUMPABLE is 0: its /proc belongs to root");
    if let Some(user) = user {
        for file in ["environ", "mem", "maps", "auxv"] {
            let mut look = Command::new("runuser");
            let look = look.args(["-u", user, "--", "head", "-c1"]).arg(format!("{proc}/{file}"));
            let seen = look.output().await.unwrap();
            let said = String::from_utf8_lossy(&seen.stderr).into_owned();
            assert!(said.contains("Permission denied"), "{file}: {seen:?}");
        }
    }
    let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    daemon.kill().await.unwrap();
}

/// As the daemon does. None of their neighbours needs to run.
#[tokio::test]
async fn the_services_make_no_core_dumps() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("database.url");
    hsmd_tests::write_private(&url, "postgresql://nobody@/nothing?host=/nowhere");
    let common = "[http]\nlisten = \"127.0.0.1:0\"\n[hsm]\n\
         identity = \"EK62QNCH2vdPKOVxJNo4CW3EGgzgBukhFAQ-JM8iG033\"\n\
         endpoint = \"unix:///nowhere/service.sock\"\n";
    let redis = "[redis]\nurl = \"unix:///nowhere/redis.sock\"\n";
    let database = format!("[database]\nurl_file = \"{}\"\n", url.display());
    let site = "[site]\npublic_url = \"https://accounts.example.org\"\n";
    for (name, more) in [
        ("keys", redis.to_owned()),
        ("app", redis.to_owned()),
        ("auth", format!("{redis}{database}")),
        ("accounts", format!("{site}{database}")),
    ] {
        let config = format!("{common}{more}");
        let service = RunningService::start(name, folder.path(), &config).await;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{name}: {core}");
    }
}

fn give(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid, gid);
        }
    }
}
