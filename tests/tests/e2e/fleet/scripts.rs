//! The operator's scripts: what each would do to units and deployments, and that they ask first. On a
//! development installation the demo runs them.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const SYSTEMD_HSMCTL: &str = "hsmctl --endpoint unix:///run/hsmd/service.sock \
                              --admin-endpoint unix:///run/hsmd/admin.sock";

/// Runs a script with an empty standard input, for an installation in a folder of its own.
fn script(folder: &Path, arguments: &str) -> Output {
    let mut words = arguments.split(' ');
    let name = words.next().unwrap();
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(name))
        .args(words)
        .env("HSMD_DEV", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The commands that a dry run shows.
fn shown(arguments: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let output = script(&folder.path().join("none"), &format!("{arguments} --dry-run"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_dry_run_shows_what_would_be_done_to_the_units() {
    let redis = "redis-cli -e -s /run/redis/redis.sock";
    let status = format!("{SYSTEMD_HSMCTL} --output json status");
    let asked = ["keys", "auth", "app", "accounts"]
        .map(|name| format!("systemctl show --property=ActiveState\\,UnitFileState hsmd-{name}"));
    let after_asking = |arguments: &str| {
        let mut lines = shown(arguments);
        assert_eq!(lines[..asked.len()], asked);
        lines.split_off(asked.len())
    };
    assert_eq!(
        shown("export-hsm-identity --target systemd"),
        [format!("{SYSTEMD_HSMCTL} identity")]
    );
    let rotate = after_asking("rotate-hsm-key --target systemd --reason monthly");
    // The head is asked for first: what is replaced is named, so that a repetition replaces nothing.
    assert_eq!(rotate[0], status);
    let deed = format!("{SYSTEMD_HSMCTL} --output json rotate --expected HEAD --reason monthly");
    assert_eq!(rotate[1], deed);
    assert!(rotate[1..].iter().any(|line| line.ends_with("/health")), "{rotate:?}");
    let button = after_asking("red-button --target systemd --reason stolen");
    let expected = [
        status.clone(),
        format!("{SYSTEMD_HSMCTL} --output json taint --expected HEAD --reason stolen"),
        format!("{redis} -n 0 flushdb"),
        format!("{redis} -n 1 flushdb"),
    ];
    assert_eq!(button[..4], expected);
    let ending = after_asking("red-button --target systemd --end-sessions");
    assert_eq!(ending[2], format!("{redis} -n 0 --scan --pattern 1AAI\\*"));
    let accounts = "hsmd-as-service --service accounts";
    // What was published between the list and the restarts goes with the flush.
    let rolled = [
        "systemctl start hsmd-rolling-restart.service".into(),
        "systemctl --quiet is-active hsmd-auth".into(),
        "systemctl --quiet is-active hsmd-app".into(),
        "systemctl --quiet is-active hsmd-accounts".into(),
        format!("{redis} -n 0 del KEYS"),
        format!("{redis} -n 1 del KEYS"),
        format!("{redis} -n 0 flushdb"),
        format!("{redis} -n 1 flushdb"),
        format!("{accounts} withdraw --all"),
    ];
    assert_eq!(ending[4..13], rolled);
    assert_eq!(ending[13], format!("{accounts} end-sessions"));
    assert!(ending[14..].iter().any(|line| line.ends_with("/health/key")), "{ending:?}");
    let purge = after_asking("purge-keys-and-roll-services --target systemd");
    let listed = ["0", "1"].map(|number| format!("{redis} -n {number} --scan --pattern 1AAI\\*"));
    assert_eq!((&purge[0], &purge[1..3], &purge[3..12]), (&status, &listed[..], &rolled[..]));
    assert!(purge[12..].iter().any(|line| line.ends_with("/health/key")), "{purge:?}");
}

#[test]
fn a_dry_run_shows_what_would_be_done_to_the_deployments() {
    let kubectl = "kubectl --namespace hsmd";
    assert_eq!(
        shown("export-hsm-identity --target k8s"),
        [format!("{kubectl} exec service/hsmd -- hsmctl identity")]
    );
    let button = shown("red-button --target k8s --reason stolen");
    assert!(button[0].starts_with(&format!("{kubectl} get deployments ")), "{button:?}");
    let hsmctl = format!("{kubectl} exec service/hsmd -- hsmctl --output json");
    let taint = "taint --expected HEAD --reason stolen --event-file /tmp/hsmd-taint.json";
    assert_eq!(button[2], format!("{hsmctl} {taint}"));
    for (line, database) in button[3..5].iter().zip(["0", "1"]) {
        assert!(line.starts_with(&format!("{kubectl} exec deployment/redis -- sh -c ")), "{line}");
        assert!(line.ends_with(&format!(" redis-cli -e -n {database} flushdb")), "{line}");
    }
    assert!(button[5].starts_with(&format!("{kubectl} get pods --selector ")), "{button:?}");
    assert!(button[6].starts_with(&format!("{kubectl} exec auth-POD -- bash -c ")), "{button:?}");
    let rotate = shown("rotate-hsm-key --target k8s --reason monthly");
    assert_eq!(rotate[2], format!("{hsmctl} rotate --expected HEAD --reason monthly"));
    let roll = shown("purge-keys-and-roll-services --target k8s");
    assert_eq!(
        roll[5..9],
        [
            format!("{kubectl} rollout restart deployment/auth deployment/app deployment/accounts"),
            format!("{kubectl} rollout status --timeout 5m deployment/auth"),
            format!("{kubectl} rollout status --timeout 5m deployment/app"),
            format!("{kubectl} rollout status --timeout 5m deployment/accounts"),
        ]
    );
    let accounts = "exec deployment/accounts -- hsmd-accounts --config /etc/hsmd/accounts.toml";
    let redis = ["-n 0 del KEYS", "-n 1 del KEYS", "-n 0 flushdb", "-n 1 flushdb"];
    for (line, ending) in roll[9..13].iter().zip(redis) {
        assert!(line.ends_with(&format!(" redis-cli -e {ending}")), "{line}");
    }
    assert_eq!(roll[13], format!("{kubectl} {accounts} withdraw --all"));
    assert!(roll[15].starts_with(&format!("{kubectl} exec auth-POD -- bash -c ")), "{roll:?}");
}

#[test]
fn what_cannot_be_taken_back_is_asked_for_first() {
    let folder = TempDir::new().unwrap();
    let identity = folder.path().join("identity");
    std::fs::write(&identity, "E").unwrap();
    for arguments in [
        "nuclear-reset",
        "red-button --target systemd",
        "red-button --target k8s",
        "purge-keys-and-roll-services --target k8s",
    ] {
        let output = script(folder.path(), arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.contains("not confirmed"), "{arguments}: {said}");
    }
    assert!(identity.exists());
    let output = script(folder.path(), "nuclear-reset --yes");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path().exists());
}

#[test]
fn what_is_not_understood_is_not_done() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        "red-button --yse",
        "red-button --target",
        "rotate-hsm-key --target moon",
        "nuclear-reset --target systemd --yes",
        "red-button --expected E",
        "purge-keys-and-roll-services --end-sessions --yes",
    ] {
        assert_eq!(script(folder.path(), arguments).status.code(), Some(64), "{arguments}");
    }
    let output = script(folder.path(), "rotate-hsm-key");
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no installation in"));
}
