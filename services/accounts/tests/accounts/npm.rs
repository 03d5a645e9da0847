//! The library's own client, in the newest version and in 1.2.8, under Node.

use crate::{
    stack::{PAGE, Settings, Stack},
    tools::{ended_well, node},
};

#[test]
fn the_unchanged_client_works_in_both_versions() {
    let stack = Stack::start();
    // Tokens name the address that clients come by, so it is chosen before.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let site = format!("public_url = \"{base}\"\ntrusted_origins = [\"{PAGE}\"]\n");
    let outbox = stack.path("outbox.jsonl");
    let more = format!("[mail]\noutbox = \"{}\"\n", outbox.display());
    let settings =
        Settings { site, more, listen: base["http://".len()..].to_owned(), ..Settings::default() };
    let _accounts = stack.accounts_with(&settings).ready();
    for version in ["new", "old"] {
        let output = node("client.mjs").args([version, &base, PAGE]).output();
        assert_eq!(ended_well(output.expect("node starts")), format!("passed {version}\n"));
    }
}
