//! Configurations that would let anybody in, and the one way to let anybody in on purpose.

use hsmd_tests::Hsmd;
use tonic::Code;

use crate::operation::{DOCUMENT, assert_refused, head, service_key, with_callers, with_plaintext};

const ANYBODY: &str = r#"
    [[caller]]
    name = "anybody"
    plaintext = true
    sign = ["document"]
"#;

#[tokio::test]
async fn plaintext_is_for_loopback_and_only_in_so_many_words() {
    let hsmd = Hsmd::fresh().await;
    let unsafe_ones: [(&[(&str, toml::Value)], &str); 8] = [
        (&[("listen.plaintext.address", "0.0.0.0:1".into())], "not a loopback address"),
        (&[("listen.plaintext.address", "192.0.2.1:1".into())], "not a loopback address"),
        (&[("listen.plaintext.address", "[::]:1".into())], "not a loopback address"),
        (&[("listen.plaintext.address", "localhost:1".into())], "socket address"),
        (
            &[("listen.plaintext.anybody_on_this_machine_may_call", false.into())],
            "needs anybody_on_this_machine_may_call = true",
        ),
        (&[("listen.plaintext.caller", "nobody".into())], "is not the name of a [[caller]]"),
        // A caller known in another way can't be everybody as well.
        (&[("listen.plaintext.caller", "tester".into())], "is not the name of a [[caller]]"),
        (&[("listen.plaintext.tls", false.into())], "unknown field"),
    ];
    let mut settled = hsmd;
    for (settings, words) in unsafe_ones {
        let (mut hsmd, _) = with_plaintext(with_callers(settled, ANYBODY));
        for (path, value) in settings {
            hsmd = hsmd.set(path, value.clone());
        }
        for command in ["serve", "check", "init"] {
            hsmd.run(&[command]).await.ended(64, words);
        }
        // What a case has set is set anew by the next; what it has added goes with its table.
        settled = hsmd.set("listen.plaintext", toml::Table::new());
    }
    let (hsmd, _) = with_plaintext(settled);
    let text = std::fs::read_to_string(hsmd.path("hsmd.toml")).unwrap();
    let unsaid = text.replace("anybody_on_this_machine_may_call = true\n", "");
    assert_ne!(unsaid, text);
    hsmd.set("listen.plaintext", "127.0.0.1:1").run(&["check"]).await.ended(64, "plaintext");
}

#[tokio::test]
async fn everybody_on_the_machine_is_one_caller_with_its_own_rights() {
    let (hsmd, dial) = with_plaintext(with_callers(Hsmd::initialised().await, ANYBODY));
    let _daemon = hsmd.serve().await;
    let anybody = dial.remote(&hsmd).rpc;
    anybody.sign(DOCUMENT).await.unwrap();
    assert_refused(head(&anybody).await, Code::PermissionDenied, "READ_NOT_ALLOWED");
    let refused = anybody.endorse("access", &service_key(), crate::operation::HOUR).await;
    assert_refused(refused, Code::PermissionDenied, "PURPOSE_NOT_ALLOWED");
    assert_refused(anybody.status().await, Code::Unimplemented, "");
}

#[tokio::test]
async fn a_tls_listener_without_its_parts_is_no_configuration() {
    for missing in ["address", "certificate", "key", "client_ca"] {
        let (hsmd, _) = crate::operation::Tls::of(Hsmd::fresh().await);
        hsmd.run(&["check"]).await;
        let path = hsmd.path("hsmd.toml");
        let mut table: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let tls = table["listen"]["tls"].as_table_mut().unwrap();
        tls.remove(missing).unwrap();
        let hsmd = hsmd.set("listen.tls", tls.clone());
        hsmd.run(&["check"]).await.ended(64, &format!("missing field `{missing}`"));
    }
    let (hsmd, _) = crate::operation::Tls::of(Hsmd::fresh().await);
    let hsmd = hsmd.set("listen.tls.min_version", "1.1");
    hsmd.run(&["check"]).await.ended(64, "min_version: unknown variant");
}
