//! The kill points of the model are those of the code: neither has one that the other lacks.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what can't be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hsmd_model::kill_points;

#[test]
fn model_and_code_have_the_same_kill_points() {
    let mut in_code = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), &mut in_code);
    let in_model: BTreeSet<String> = kill_points().into_iter().map(str::to_owned).collect();
    assert_eq!(in_code, in_model);
}

/// The names in `crash_point!("…")`, also when the call is broken over lines.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for call in text.split("crash_point!(").skip(1) {
                let name =
                    call.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
                let (name, _) = name.unwrap_or_else(|| panic!("{}: a literal", path.display()));
                names.insert(name.to_owned());
            }
        }
    }
}
