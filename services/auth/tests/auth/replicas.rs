//! Two replicas asked at once: what must happen once happens once.

use std::{collections::BTreeMap, sync::Barrier, thread};

use hsmd_protocol::{
    LinkDevice, Operation, PrivateKey, RotateDevice,
    client::{self, Outgoing},
    key_hash,
};

use crate::{
    client::{Account, Http, chain, key, nonce, refresh, sign},
    stack::Stack,
};

/// Posts all requests at the same moment, in turn to one replica and the other, and counts statuses.
fn at_once(replicas: [&Http; 2], route: &str, requests: &[String]) -> BTreeMap<u16, usize> {
    let start = Barrier::new(requests.len());
    let mut counts = BTreeMap::new();
    thread::scope(|scope| {
        let threads: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(number, request)| {
                // A client of its own: connections are not shared.
                let (http, start) = (Http::new(&replicas[number % 2].url), &start);
                scope.spawn(move || {
                    start.wait();
                    http.post(route, request).status
                })
            })
            .collect();
        for thread in threads {
            *counts.entry(thread.join().expect("no panic")).or_default() += 1;
        }
    });
    counts
}

/// How many requests are posted at once.
const MANY: usize = 12;

fn many(request: impl Fn() -> String) -> Vec<String> {
    (0..MANY).map(|_| request()).collect()
}

#[test]
fn what_must_happen_once_happens_once() {
    let stack = Stack::start();
    let (a, b) = (stack.auth(), stack.auth());
    let both = [&a.http, &b.http];
    let one_of_many = |refusal| BTreeMap::from([(200, 1), (refusal, MANY - 1)]);
    for _ in 0..3 {
        let (account, create) = Account::draft();
        let counts = at_once(both, "/account/create", &many(|| create.text.clone()));
        assert_eq!(counts, one_of_many(409), "one identity");

        let challenge = account.challenge(&a.http);
        let answers = many(|| account.answer(challenge, &chain()).text);
        let counts = at_once(both, "/session/create", &answers);
        assert_eq!(counts, one_of_many(401), "one answer to a challenge");

        let (session, token) = account.session(&a.http);
        let refreshes = many(|| refresh(&token, &session, 1).text);
        let counts = at_once(both, "/session/refresh", &refreshes);
        assert_eq!(counts, one_of_many(401), "one refresh of a token");

        let rotations = many(|| other_commitment(&account).text);
        let counts = at_once(both, RotateDevice::ROUTE, &rotations);
        assert_eq!(counts, one_of_many(401), "one rotation of a key");

        one_device_for_two_accounts(both);
    }
}

/// A rotation that reveals the committed key and commits to one that nobody has.
fn other_commitment(account: &Account) -> Outgoing<RotateDevice> {
    let (mut authentication, signer) = account.rotation(1);
    authentication.rotation_hash = key_hash(key().public_key());
    sign(&RotateDevice { authentication }, signer)
}

/// The same keys, linked to two accounts at once, become a device of one of them.
fn one_device_for_two_accounts(both: [&Http; 2]) {
    let keys = chain();
    let requests: Vec<_> = (0..2)
        .map(|_| {
            let account = Account::create(both[0]);
            let (authentication, signer): (_, &PrivateKey) = account.rotation(1);
            let link = client::link_container(account.identity, &keys);
            sign(&LinkDevice { authentication, link }, signer).text
        })
        .collect();
    let counts = at_once(both, LinkDevice::ROUTE, &requests);
    assert_eq!(counts, BTreeMap::from([(200, 1), (409, 1)]), "one account for a device");
}

#[test]
fn one_replica_goes_on_where_the_other_began() {
    let stack = Stack::start();
    let (a, b) = (stack.auth(), stack.auth());
    let account = Account::create(&a.http);
    let challenge = account.challenge(&a.http);
    let session = chain();
    let token = b.http.send(&account.answer(challenge, &session)).access.token;
    let token = a.http.send(&refresh(&token, &session, 1)).access.token;
    // Its server is gone, its endorsement is not.
    drop(a);
    b.http.send(&refresh(&token, &session, 2));
    let request = Outgoing::request_session(account.identity, nonce());
    let (first, second) = (b.http.send(&request), b.http.send(&request));
    assert_ne!(first, second, "a challenge is fresh each time");
}
