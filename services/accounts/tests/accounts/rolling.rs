//! Rotations, restarts, taints and the loss of a replica, under verifiers that know nothing of us.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::{
    balancer::Balancer,
    client::{Browser, Http, PASSWORD},
    stack::{PAGE, Replica, Settings, Stack, wait_for},
    tools::{Beside, node, python, told},
};

const EMAIL: &str = "ann@example.com";

/// How many rounds of each loop follow on what was done, and count with it.
const ROUNDS: usize = 20;

/// The generations that have endorsed what a replica lists; none while it answers 503.
fn generations(replica: &Replica) -> BTreeSet<String> {
    let answer = replica.http.get("/api/auth/jwks");
    if answer.status == 503 {
        return BTreeSet::new();
    }
    let keys = answer.json()["keys"].as_array().expect("a list").clone();
    let generation = |key: &Value| key["hsmd"]["body"]["hsm"]["generationId"].to_string();
    keys.iter().map(generation).collect()
}

/// What the loops say while something is done and in some rounds after it.
fn during(loops: &[Beside; 2], what: impl FnOnce()) -> Vec<String> {
    let before = loops.each_ref().map(Beside::count);
    what();
    for it in loops {
        let end = it.count() + ROUNDS;
        wait_for("more rounds", || it.count() >= end);
    }
    loops.iter().zip(before).flat_map(|(it, before)| it.after(before)).collect()
}

/// Sign-in, get-session, token and verification, in turn by jose's createRemoteJWKSet and PyJWT's
/// PyJWKClient as they are: no refusal when the HSM's key is rotated and when the replicas are restarted
/// one after the other, and after a taint nothing but 503 while keys wait for their endorsement.
#[test]
fn unchanged_verifiers_refuse_nothing() {
    let stack = Stack::start();
    let balancer = Balancer::start(&stack.runtime);
    let site = format!("public_url = \"{}\"\ntrusted_origins = [\"{PAGE}\"]\n", balancer.url);
    // Verifiers ask again for an unknown key only 30 s after they last did, and no cache is between.
    let tokens = "listing_delay = \"35s\"\n".to_owned();
    let settings = Settings { site, tokens, ..Settings::default() };
    let start = || stack.accounts_with(&settings);
    let mut replicas = [start(), start()].map(Replica::ready);
    balancer.lead_to(&replicas);
    let ann = Browser::sign_up(&Http::new(&balancer.url), EMAIL);
    let token = ann.token();
    let arguments = [balancer.url.as_str(), PAGE, EMAIL, PASSWORD];
    let loops = [
        Beside::start(node("loop.mjs").args(arguments)),
        Beside::start(python("loop.py").args(arguments)),
    ];
    for it in &loops {
        wait_for("the first rounds", || it.count() >= ROUNDS);
        let refused: Vec<_> =
            it.after(0).into_iter().filter(|line| !line.starts_with("ok ")).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }

    let renewed = |before: &BTreeSet<String>| {
        wait_for("keys that the next generation endorsed", || {
            replicas.iter().all(|it| {
                let now = generations(it);
                !now.is_empty() && now.is_disjoint(before)
            })
        });
    };
    let before = generations(&replicas[0]);
    let rotate = || drop(stack.runtime.block_on(stack.hsm.daemon().rotate_head()));
    let lines = during(&loops, || {
        rotate();
        renewed(&before);
    });
    assert!(lines.iter().all(|line| line.starts_with("ok ")), "a rotation: {lines:?}");

    let before = generations(&replicas[0]);
    let lines = during(&loops, || {
        stack.taint();
        renewed(&before);
    });
    let good = |line: &String| line.starts_with("ok ") || line.starts_with("waiting ");
    assert!(lines.iter().all(good), "a taint: {lines:?}");
    for it in &loops {
        let last = it.after(it.count() - 1);
        assert!(last[0].starts_with("ok "), "{last:?}");
    }
    assert!(ann.is_signed_in(), "no one signs in again");
    let verified = told(node("verify.mjs").args([&balancer.url; 2]), &token);
    assert_eq!(verified, "ok\n", "the same key comes back");

    let old: BTreeSet<_> = lines.iter().filter(|line| line.starts_with("ok ")).cloned().collect();
    let lines = during(&loops, || {
        for number in 0..replicas.len() {
            // What a balancer does that asks for /ready, and what an orchestrator waits for.
            balancer
                .lead_to(replicas.iter().enumerate().filter(|it| it.0 != number).map(|it| it.1));
            replicas[number].process.terminate();
            stack.runtime.block_on(replicas[number].process.ended());
            replicas[number] = start().ready();
            balancer.lead_to(&replicas);
        }
    });
    assert!(lines.iter().all(|line| line.starts_with("ok ")), "a rolling restart: {lines:?}");
    let all: BTreeSet<_> = lines.into_iter().collect();
    assert_eq!(all.difference(&old).count(), 2, "tokens by both new keys: {old:?} {all:?}");
    assert!(ann.is_signed_in());
}

#[test]
fn tokens_of_a_killed_replica_verify_until_they_expire() {
    let stack = Stack::start();
    // Both are long enough for a verifier to start in, on a busy machine.
    let tokens =
        "listing_delay = \"1s\"\nlifetime = \"36s\"\nskew = \"15s\"\nendorsement = \"180s\"\n";
    let settings = Settings { tokens: tokens.to_owned(), ..Settings::default() };
    let start = || stack.accounts_with(&settings);
    let [first, second] = [start(), start()].map(Replica::ready);
    let ann = Browser::sign_up(&first.http, EMAIL);
    let keys = || second.http.get("/api/auth/jwks").json()["keys"].as_array().map(Vec::len);
    wait_for("both keys", || keys() == Some(2));
    let token = ann.token();
    // SIGKILL.
    drop(first);
    let site = "http://127.0.0.1:8031";
    let verdict = || told(node("verify.mjs").args([second.http.url.as_str(), site]), &token);
    let mut verified = 0;
    let end = loop {
        match verdict() {
            good if good == "ok\n" => verified += 1,
            other => break other,
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    assert_eq!(end, "ERR_JWT_EXPIRED\n");
    assert!(verified > 0);
    wait_for("the key to go", || keys() == Some(1));
    assert!(ann.at(&second.http).is_signed_in());
}
