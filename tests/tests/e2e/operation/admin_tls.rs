//! Admin calls over mutual TLS: off by default, on a listener of its own, for admins by their
//! certificates' names.

use std::process::Stdio;

use hsmd_proto::v1;
use hsmd_tests::{Hsmd, program, write_private};
use tonic::Code;

use crate::operation::pki::{Authority, Files, SERVER};
use crate::operation::remote::Dial;
use crate::operation::{DOCUMENT, Tls, address, assert_refused, head, with_callers};

const OPS: &str = "spiffe://example.org/ops";
const WATCH: &str = "watch.example.org";

/// A daemon that also admits admins over TLS: `ops` who may do all, `watch` who may look.
async fn with_admins() -> (Hsmd, Tls) {
    let hsmd = with_callers(Hsmd::initialised().await, "");
    let tls = Tls {
        address: address(),
        servers: Authority::new("servers"),
        clients: Authority::new("admins"),
    };
    Files(&hsmd).write(&tls.server(), &tls.clients.pem);
    let hsmd = hsmd
        .set("listen.admin_tls.address", tls.address.to_string())
        .set("listen.admin_tls.certificate", "@/tls.crt")
        .set("listen.admin_tls.key", "@/tls.key")
        .set("listen.admin_tls.client_ca", "@/ca.crt");
    let admin = |name: &str, san: &str, allow: &str| {
        format!("name = \"{name}\"\nsan = \"{san}\"\nallow = [{allow}]").parse().unwrap()
    };
    let hsmd = hsmd
        .push("admin", admin("ops", OPS, "\"status\", \"rotate\", \"taint\""))
        .push("admin", admin("watch", WATCH, "\"status\""));
    (hsmd, tls)
}

#[tokio::test]
async fn named_admins_do_what_they_are_allowed_and_nobody_else_anything() {
    let (hsmd, tls) = with_admins().await;
    let daemon = hsmd.serve().await;
    let ops = tls.dial(&[OPS]).remote(&hsmd).rpc;
    let watch = tls.dial(&[WATCH]).remote(&hsmd).rpc;
    let stranger = tls.dial(&["spiffe://example.org/another"]).remote(&hsmd).rpc;
    let both = tls.dial(&[OPS, WATCH]).remote(&hsmd).rpc;
    let denied = Code::PermissionDenied;

    let generation = daemon.head().await.event().id();
    assert_refused(watch.rotate(generation.as_str()).await, denied, "ACTION_NOT_ALLOWED");
    for rpc in [&stranger, &both] {
        let refused = rpc.status().await.unwrap_err();
        assert_eq!(refused.code, denied, "{refused:?}");
        assert_eq!(rpc.taint(generation.as_str()).await.unwrap_err().code, denied);
    }
    watch.status().await.unwrap();
    let (event, performed) = ops.rotate(generation.as_str()).await.unwrap();
    assert!(performed);
    ops.taint(event.event().id().as_str()).await.unwrap();
    let actions =
        watch.admin.clone().list_actions(v1::ListActionsRequest::default()).await.unwrap();
    let by: Vec<_> = actions.into_inner().records.into_iter().map(|record| record.caller).collect();
    assert_eq!(by[1..], ["ops", "ops"], "the record names the admin");

    // Nothing but admin calls is served there, and a certificate of another authority gets no connection.
    assert_eq!(ops.sign(DOCUMENT).await.unwrap_err().code, Code::Unimplemented);
    assert_eq!(head(&ops).await.unwrap_err().code, Code::Unimplemented);
    let foreign = Authority::new("others").issue(&[OPS]);
    let dial = Dial::tls(tls.address, tls.servers.client(Some(&foreign)));
    dial.greeted().await.map(drop).unwrap_err();
    daemon.sign(DOCUMENT).await.unwrap();
    assert_eq!(hsmd.history().await.events().len(), 3);
}

#[tokio::test]
async fn hsmctl_reaches_it() {
    let (hsmd, tls) = with_admins().await;
    let daemon = hsmd.serve().await;
    let own = tls.clients.issue(&[OPS]);
    write_private(&hsmd.path("ops.crt"), &own.certificate);
    write_private(&hsmd.path("ops.key"), &own.key);
    write_private(&hsmd.path("servers.crt"), &tls.servers.pem);
    let output = tokio::process::Command::new(program("hsmctl"))
        .args(["rotate", "--reason", "from afar", "--server-name", SERVER])
        .args(["--admin-endpoint", &format!("https://{}", tls.address)])
        .arg("--ca-file")
        .arg(hsmd.path("servers.crt"))
        .arg("--cert-file")
        .arg(hsmd.path("ops.crt"))
        .arg("--key-file")
        .arg(hsmd.path("ops.key"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daemon.head().await.event().sequence_number(), 1);
}

#[tokio::test]
async fn without_the_listener_no_certificate_is_an_admin() {
    let (hsmd, tls) = Tls::of(with_callers(Hsmd::initialised().await, ""));
    let daemon = hsmd.serve().await;
    let rpc = tls.dial(&[OPS]).remote(&hsmd).rpc;
    let refused = rpc.status().await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied, "{refused:?}");
    daemon.status().await.unwrap();
    let admin = format!("name = \"ops\"\nsan = \"{OPS}\"\nallow = [\"status\"]").parse().unwrap();
    let hsmd = hsmd.push("admin", admin);
    hsmd.run(&["check", "--config-only"]).await.ended(64, "a san needs listen.admin_tls");
}
