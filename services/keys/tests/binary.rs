//! The binary: what it refuses to start with, that it starts while everything else is down, and that it
//! stops when asked to.
#![expect(clippy::unwrap_used, reason = "a failed step should end the test here")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

const EXAMPLE: &str = include_str!("../keys.example.toml");

fn spawn(folder: &Path, config: &str) -> Child {
    let path = folder.join("keys.toml");
    std::fs::write(&path, config).unwrap();
    Command::new(env!("CARGO_BIN_EXE_hsmd-keys"))
        .arg("--config")
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_configuration_that_is_not_whole_is_exit_code_64() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to, named) in [
        ("identity =", "# identity =", "identity"),
        ("listen =", "listens =", "listens"),
        ("url = \"unix:///run/redis/redis.sock\"", "url = \"redis://:secret@h\"", "[redis]"),
        ("filter = \"info\"", "filter = \"=,\"", "filter"),
    ] {
        let output =
            spawn(folder.path(), &EXAMPLE.replacen(from, to, 1)).wait_with_output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{message}");
        assert!(message.contains(named), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_hsmd-keys")).arg("--nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn it_starts_while_all_is_down_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let config = EXAMPLE
        .replace("127.0.0.1:8010", "127.0.0.1:0")
        .replace(
            "log_file = \"/var/lib/hsmd-keys/",
            &format!("log_file = \"{}/", folder.path().display()),
        )
        .replace("unix:///run/", &format!("unix://{}/", folder.path().display()));
    let mut child = spawn(folder.path(), &config);
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening address=") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let address = line.trim().rsplit_once('=').unwrap().1.to_owned();
    assert!(get(&address, "/live").starts_with("HTTP/1.1 200"));
    let ready = get(&address, "/ready");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("the key log is stale"), "{ready}");
    assert!(get(&address, "/hsm/keys").starts_with("HTTP/1.1 503"));

    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    // Read to the end, so that it never waits for us.
    log.read_to_string(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{line}");
    assert!(TcpStream::connect(&address).is_err());
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
