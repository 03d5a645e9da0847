//! What concerns a log as a whole: identity, anchors, the published form, order of faults, live
//! generations.

use std::time::Duration;

use hsmd_chain::testing::{Draft, LogBuilder, at, published};
use hsmd_chain::{
    Anchor, Digest, Head, KeyLog, Lifetime, LogError, Signature, SignedEvent, Timestamp,
};

type Mutation<'a> = &'a dyn Fn(&SignedEvent) -> (String, Signature);

fn now(log: &LogBuilder) -> Timestamp {
    log.head().event().created_at()
}

fn verify(log: &LogBuilder, anchor: &Anchor) -> Result<KeyLog, LogError> {
    KeyLog::verify(log.events().to_vec(), anchor, now(log), Duration::ZERO)
}

fn verify_json(json: &str, log: &LogBuilder) -> Result<KeyLog, LogError> {
    KeyLog::verify_json(json.as_bytes(), &log.anchor(), now(log), Duration::ZERO)
}

fn head(log: &LogBuilder, number: usize) -> Head {
    Head { sequence_number: number as u32, id: log.id(number) }
}

#[test]
fn an_empty_log_proves_nothing() {
    let log = LogBuilder::new("empty");
    assert!(matches!(verify_json("[]", &log), Err(LogError::Empty)));
    let nothing = KeyLog::verify([], &log.anchor(), now(&log), Duration::ZERO);
    assert!(matches!(nothing, Err(LogError::Empty)));
}

#[test]
fn a_log_must_be_the_identitys() {
    let log = LogBuilder::new("one").rotate();
    let other = LogBuilder::new("other");
    let refused = verify(&log, &other.anchor());
    let Err(LogError::Identity { expected, found }) = refused else { panic!("{refused:?}") };
    assert_eq!((expected, found), (other.identity(), log.identity()));
}

#[test]
fn a_log_must_contain_the_remembered_head() {
    let log = LogBuilder::new("anchor").rotate().rotate().rotate();
    for number in 0..4 {
        let anchor = Anchor::with_head(log.identity(), head(&log, number));
        let text = anchor.to_string();
        assert_eq!(text.parse::<Anchor>().unwrap(), anchor);
        assert_eq!(verify(&log, &anchor).unwrap().position(), head(&log, 3));
    }
    let remembered = head(&log, 3);
    let anchor = Anchor::with_head(log.identity(), remembered);
    let older = log.rewound_to(3);
    let refused = verify(&older, &anchor);
    let Err(LogError::Rollback { remembered: expected, offered }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((expected, offered), (remembered, head(&older, 2)));
    let fork = log.stolen_at(2, "thief").rotate().rotate().rotate();
    let refused = verify(&fork, &anchor);
    let Err(LogError::Forked { remembered: expected, found }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((expected, found), (remembered, fork.id(3)));
}

#[test]
fn anchors_have_one_text() {
    let log = LogBuilder::new("anchor").rotate();
    let (identity, id) = (log.identity(), log.id(1));
    for good in
        [format!("{identity}"), format!("{identity}@1:{id}"), format!("{identity}@0:{identity}")]
    {
        assert_eq!(good.parse::<Anchor>().unwrap().to_string(), good);
    }
    for bad in [
        format!("{identity}@"),
        format!("{identity}@1"),
        format!("{identity}@:{id}"),
        format!("{identity}@01:{id}"),
        format!("{identity}@+1:{id}"),
        format!("{identity}@100000000:{id}"),
        format!("{identity}@1:{}", &id.as_str()[1..]),
        format!("{identity}@0:{id}"),
        format!("{identity} @1:{id}"),
        format!("{}@1:{id}", &identity.as_str()[1..]),
        String::new(),
    ] {
        assert!(bad.parse::<Anchor>().is_err(), "{bad}");
    }
}

#[test]
fn the_published_form_is_strict_about_its_members() {
    let log = LogBuilder::new("published").rotate();
    let json = log.to_json();
    assert_eq!(verify_json(&json, &log).unwrap().to_json(), json);
    let events = log.events();
    let element = |number: usize| events[number].to_json();
    let signature = events[1].signature();
    let text = events[1].text();
    for bad in [
        String::new(),
        "null".to_owned(),
        "{}".to_owned(),
        json[..json.len() - 1].to_owned(),
        format!("{json},"),
        format!("{json}[]"),
        element(0),
        format!("[{},]", element(0)),
        format!("[{},null]", element(0)),
        format!("[{},[{text},\"{signature}\"]]", element(0)),
        format!("[{},{{\"payload\":{text}}}]", element(0)),
        format!("[{},{{\"signature\":\"{signature}\"}}]", element(0)),
        format!("[{},{{\"payload\":{text},\"signature\":\"{signature}\",\"x\":1}}]", element(0)),
        format!(
            "[{},{{\"payload\":{text},\"payload\":{text},\"signature\":\"{signature}\"}}]",
            element(0)
        ),
        format!("[{},{{\"payload\":{text},\"signature\":null}}]", element(0)),
        format!(
            "[{},{{\"payload\":{},\"signature\":\"{signature}\"}}]",
            element(0),
            serde_json::to_string(text).unwrap()
        ),
        format!("[{},{}]", element(1), element(0)),
        format!("[{},{},{}]", element(0), element(1), element(1)),
        format!("[{},{}]", element(0), element(0)),
        format!("[{}]", element(1)),
        "[".repeat(100_000),
        format!("[{{\"payload\":{}", "[".repeat(100_000)),
    ] {
        assert!(verify_json(&bad, &log).is_err(), "{bad:.200}");
    }
}

#[test]
fn generations_live_as_long_as_the_window_says() {
    let log = LogBuilder::new("live").rotate().rotate().taint().rotate().log();
    let window = Duration::from_secs(2 * 3600);
    let id = |number: u32| log.event(number).unwrap().event().id();
    let expected = [
        Lifetime::Until(at("2026-01-01T03:00:00.000Z")),
        Lifetime::Until(at("2026-01-01T04:00:00.000Z")),
        Lifetime::Tainted,
        Lifetime::Until(at("2026-01-01T06:00:00.000Z")),
        Lifetime::Open,
    ];
    for (number, lifetime) in (0..).zip(expected) {
        assert_eq!(log.stops_being_live(&id(number), window), Some(lifetime));
    }
    let live = |text: &str| -> Vec<u32> {
        let events: Vec<_> = log.live(at(text), window).collect();
        for number in 0..5 {
            let listed = events.iter().any(|event| event.event().id() == id(number));
            assert_eq!(log.is_live(&id(number), at(text), window), listed);
        }
        events.iter().map(|event| event.event().sequence_number()).collect()
    };
    assert_eq!(live("2026-01-01T03:00:00.000Z"), [4, 3, 1, 0]);
    assert_eq!(live("2026-01-01T03:00:00.001Z"), [4, 3, 1]);
    assert_eq!(live("2026-01-01T04:00:00.000Z"), [4, 3, 1], "a taint spares earlier generations");
    assert_eq!(live("2026-01-01T04:00:00.001Z"), [4, 3]);
    assert_eq!(live("2026-01-01T06:00:00.000Z"), [4, 3]);
    assert_eq!(live("2026-01-01T06:00:00.001Z"), [4]);
    assert_eq!(live("9999-12-31T23:59:59.999Z"), [4]);
    let forever: Vec<_> = log.live(Timestamp::MAX, Duration::MAX).collect();
    assert_eq!(forever.len(), 4);
    let stranger = Digest::of(b"stranger");
    assert_eq!(log.stops_being_live(&stranger, window), None);
    assert!(!log.is_live(&stranger, at("2026-01-01T03:00:00.000Z"), window));
    assert!(log.generation(&stranger).is_none());
}

#[test]
fn the_first_faulty_event_is_blamed_wherever_the_threads_are() {
    let log = LogBuilder::of_length("first fault", 300);
    let bad_signature = |event: &SignedEvent| {
        let signature = log.key(299).sign(event.text().as_bytes());
        (event.text().to_owned(), signature)
    };
    let bad_link = |event: &SignedEvent| {
        let other = format!("\"{}\"", Digest::of(b"other"));
        let number = event.event().sequence_number() as usize;
        Draft::of(event.event()).set("previous", &other, "").sealed().signed(log.key(number))
    };
    let malformed = |event: &SignedEvent| ("{\"id\":1}".to_owned(), *event.signature());
    let faults: [(Mutation<'_>, &str); 3] =
        [(&bad_signature, "Signature"), (&bad_link, "Previous"), (&malformed, "Malformed")];
    for (first, expected) in &faults {
        for (second, _) in &faults {
            for (one, two) in [(3, 299), (120, 170), (160, 161), (298, 299)] {
                let mut events: Vec<_> = log
                    .events()
                    .iter()
                    .map(|event| (event.text().to_owned(), *event.signature()))
                    .collect();
                events[one] = first(&log.events()[one]);
                events[two] = second(&log.events()[two]);
                let json = published(events.iter().map(|(text, signed)| (text.as_str(), signed)));
                let refused =
                    KeyLog::verify_json(json.as_bytes(), &log.anchor(), now(&log), Duration::ZERO);
                let Err(LogError::Event { position, source }) = refused else {
                    panic!("{expected} at {one}: {refused:?}");
                };
                assert_eq!((position, format!("{source:?}").starts_with(expected)), (one, true));
            }
        }
    }
}
