//! The quirks of real modules and refused templates.

use super::*;
use hsmd_fault::{Quirk, Refusal};

fn private_keys(session: &Session, id: &[u8]) -> Vec<ObjectHandle> {
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(id.to_vec())];
    session.find_objects(&template).expect("find")
}

fn pair(session: &Session, label: &str, id: &[u8]) -> (ObjectHandle, ObjectHandle) {
    let ours = [
        Attribute::Token(true),
        Attribute::Id(id.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let public = [&ours[..], &[Attribute::EcParams(P256.to_vec())]].concat();
    let private = [&ours[..], &[Attribute::Sign(true)]].concat();
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).expect("a pair")
}

fn data(session: &Session, label: &str) -> Result<ObjectHandle, Error> {
    session.create_object(&data_template(label))
}

fn data_template(label: &str) -> [Attribute; 5] {
    [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value(vec![7]),
    ]
}

fn label(session: &Session, object: ObjectHandle) -> String {
    let found = session.get_attributes(object, &[AttributeType::Label]).expect("a label");
    match found.as_slice() {
        [Attribute::Label(label)] => String::from_utf8_lossy(label).into_owned(),
        other => panic!("expected a label, got {other:?}"),
    }
}

impl Bench {
    fn begin_anew(&self) {
        self.context.clone().finalize().expect("C_Finalize");
        initialise(&self.context).expect("C_Initialize");
    }
}

#[test]
fn a_new_object_gets_a_handle_in_use() {
    with_token("quirks::a_new_object_gets_a_handle_in_use", |bench| {
        bench.control.quirk(Quirk::HandleReuse, true).expect("set");
        bench.begin_anew();
        let session = bench.session();
        let [a, _, c] = ["a", "b", "c"].map(|label| data(&session, label).expect("an object"));
        session.destroy_object(a).expect("the lowest");
        let d = data(&session, "d").expect("an object");
        assert_eq!(d.handle(), c.handle());
        assert_eq!(label(&session, d), "c", "the older object answers");
        session.destroy_object(d).expect("destroy d");
        let left = session.find_objects(&[Attribute::Label(b"d".to_vec())]).expect("find");
        assert_eq!(left.len(), 1, "c went in its place");
        drop(session);
        bench.begin_anew();
        let session = bench.session();
        let all = session.find_objects(&data_template("d")[..3]).expect("find");
        let labels: Vec<_> = all.iter().map(|object| label(&session, *object)).collect();
        assert_eq!(labels.len(), 2, "handles differ after C_Initialize: {labels:?}");
        assert!(labels.contains(&"b".to_owned()) && labels.contains(&"d".to_owned()));
    });
}

#[test]
fn ids_are_cut_to_two_bytes() {
    with_token("quirks::ids_are_cut_to_two_bytes", |bench| {
        bench.control.quirk(Quirk::ShortIds, true).expect("set");
        let session = bench.session();
        pair(&session, "key", b"00000000");
        assert_eq!(private_keys(&session, b"00000001").len(), 1, "key 0 is found for key 1");
        bench.control.quirk(Quirk::ShortIds, false).expect("set");
        assert_eq!(private_keys(&session, b"00").len(), 1);
    });
}

#[test]
fn what_others_make_shows_after_initialising() {
    with_token("quirks::what_others_make_shows_after_initialising", |bench| {
        bench.control.quirk(Quirk::HiddenObjects, true).expect("set");
        bench.begin_anew();
        let session = bench.session();
        pair(&session, "ours", b"1");
        assert_eq!(private_keys(&session, b"1").len(), 1, "one's own shows");
        // Another process, without the module before the token.
        let object = [
            "--module",
            MODULE,
            "--token-label",
            LABEL,
            "--login",
            "--pin",
            PIN,
            "--keypairgen",
            "--key-type",
            "EC:prime256v1",
            "--id",
            "32",
        ];
        let made = Command::new("pkcs11-tool").args(object).output().expect("run pkcs11-tool");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(private_keys(&session, b"2").is_empty());
        drop(session);
        bench.begin_anew();
        assert_eq!(private_keys(&bench.session(), b"2").len(), 1);
    });
}

#[test]
fn a_second_pair_overwrites_the_first() {
    with_token("quirks::a_second_pair_overwrites_the_first", |bench| {
        let session = bench.session();
        pair(&session, "first", b"00000001");
        pair(&session, "other", b"00000002");
        bench.control.quirk(Quirk::OverwrittenIds, true).expect("set");
        pair(&session, "second", b"00000001");
        let left = private_keys(&session, b"00000001");
        assert_eq!(left.iter().map(|key| label(&session, *key)).collect::<Vec<_>>(), ["second"]);
        assert_eq!(private_keys(&session, b"00000002").len(), 1);
    });
}

#[test]
fn keys_on_the_token_stay() {
    with_token("quirks::keys_on_the_token_stay", |bench| {
        let session = bench.session();
        let (public, private) = pair(&session, "key", b"1");
        bench.control.quirk(Quirk::UndestroyableKeys, true).expect("set");
        refused(session.destroy_object(private), RvError::ActionProhibited);
        session.destroy_object(public).expect("the public part goes");
        let (_, passing) = generate(&session).expect("a session key");
        session.destroy_object(passing).expect("so does a key of the session");
        bench.control.quirk(Quirk::UndestroyableKeys, false).expect("set");
        session.destroy_object(private).expect("destroy");
    });
}

#[test]
fn a_search_for_data_gives_a_key() {
    with_token("quirks::a_search_for_data_gives_a_key", |bench| {
        let session = bench.session();
        pair(&session, "older", b"1");
        let (_, newest) = pair(&session, "newest", b"2");
        data(&session, "data").expect("an object");
        let template = &data_template("data")[..3];
        assert_ne!(session.find_objects(template).expect("find"), [newest]);
        bench.control.quirk(Quirk::MisdirectedFinds, true).expect("set");
        assert_eq!(session.find_objects(template).expect("find"), [newest]);
        assert_eq!(private_keys(&session, b"1").len(), 1, "other searches find what is there");
    });
}

#[test]
fn a_foreign_slot_cannot_be_described() {
    with_token("quirks::a_foreign_slot_cannot_be_described", |bench| {
        let slots = || bench.context.get_slots_with_token().expect("slots");
        let before = slots();
        for quirk in [Quirk::ForeignSlotFails, Quirk::ForeignSlotGarbled] {
            bench.control.quirk(quirk, true).expect("set");
            let with = slots();
            assert_eq!(with[1..], before, "it comes first");
            let described = bench.context.get_token_info(with[0]);
            let refused = matches!(described, Err(Error::Pkcs11(RvError::DeviceError, _)));
            assert!(described.is_err() && refused == (quirk == Quirk::ForeignSlotFails));
            bench.context.get_token_info(with[1]).expect("ours");
            bench.control.quirk(quirk, false).expect("set");
        }
        assert_eq!(slots(), before);
    });
}

#[test]
fn a_pin_is_entered_at_a_pad() {
    with_token("quirks::a_pin_is_entered_at_a_pad", |bench| {
        let slot = bench.context.get_slots_with_initialized_token().expect("slots")[0];
        let has_pad = || {
            let info = bench.context.get_token_info(slot).expect("a description");
            info.protected_authentication_path()
        };
        assert!(!has_pad());
        bench.control.quirk(Quirk::PinPad, true).expect("set");
        assert!(has_pad());
    });
}

#[test]
fn templates_are_refused_for_an_attribute() {
    with_token("quirks::templates_are_refused_for_an_attribute", |bench| {
        let session = bench.session();
        let refuse = |name: &str, condition: &str, code_name: &str| {
            let condition = condition.parse().expect("a condition");
            let refusal = Refusal { condition, code: code(code_name), keeps_lock: false };
            bench.control.refuse(function(name), refusal, Times::always()).expect("set");
        };
        refuse("C_CreateObject", "CKA_PRIVATE=false", "CKR_ATTRIBUTE_VALUE_INVALID");
        data(&session, "a").expect("it is true");
        refuse("C_CreateObject", "CKA_PRIVATE=true", "CKR_ATTRIBUTE_VALUE_INVALID");
        refused(data(&session, "b"), RvError::AttributeValueInvalid);
        refuse("C_GenerateKeyPair", "CKA_DECRYPT", "CKR_GENERAL_ERROR");
        generate(&session).expect("no such attribute");
        refuse("C_GenerateKeyPair", "CKA_VERIFY", "CKR_TEMPLATE_INCONSISTENT");
        refused(generate(&session), RvError::TemplateInconsistent);
        assert_eq!(bench.control.status().function("C_GenerateKeyPair").refused, 1);
        bench.control.clear(Scope::All).expect("clear");
        generate(&session).expect("cleared");
    });
}

#[test]
fn a_refusal_that_keeps_the_lock_hangs_the_next_call() {
    with_token("quirks::a_refusal_that_keeps_the_lock_hangs_the_next_call", |bench| {
        let session = bench.session();
        let condition = "CKA_PRIVATE=true".parse().expect("a condition");
        let code = code("CKR_ATTRIBUTE_VALUE_INVALID");
        let refusal = Refusal { condition, code, keeps_lock: true };
        bench.control.refuse(function("C_CreateObject"), refusal, Times::next(1)).expect("set");
        refused(data(&session, "a"), RvError::AttributeValueInvalid);
        let thread = std::thread::spawn(move || data(&session, "b").map(drop));
        wait_for("the call hangs", || bench.control.status().function("C_CreateObject").hung == 1);
        assert!(!thread.is_finished());
        bench.control.release().expect("release");
        thread.join().expect("the thread").expect("goes on");
    });
}
