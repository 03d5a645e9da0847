//! The parts of `hsmd/src/grpc`: their order, and what only one of them does.

use std::collections::BTreeSet;

use super::{code, sources};

/// The parts of hsmd/src/grpc, from the leaves upwards: each imports only from those before it.
const GRPC_PARTS: [&str; 6] = ["budget", "status", "convert", "transport", "layers", "services"];

/// What a file below hsmd/src/grpc imports from there, as the path of a module: `layers::context`.
fn grpc_imports(path: &str, text: &str) -> BTreeSet<String> {
    let code = code(text.split("#[cfg(test)]").next().unwrap());
    let own = path.strip_prefix("hsmd/src/grpc/").unwrap().trim_end_matches(".rs");
    let mut found = BTreeSet::new();
    for (prefix, parent) in [("crate::grpc::", ""), (" super::", own)] {
        for (at, _) in code.match_indices(prefix) {
            let rest = code[at + prefix.len()..]
                .split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let parent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parts = parent.split('/').chain(rest.take(1).flat_map(|rest| rest.split("::")));
            let parts: Vec<_> = parts.filter(|part| !part.is_empty()).take(2).collect();
            found.insert(parts.join("/"));
        }
    }
    found
}

#[test]
fn imports_of_grpc_point_downwards_and_make_no_circle() {
    let mut files: Vec<(String, BTreeSet<String>)> = Vec::new();
    for (path, text) in sources("hsmd/src/grpc") {
        let name = path.strip_prefix("hsmd/src/grpc/").unwrap().trim_end_matches(".rs").to_owned();
        let part = name.split('/').next().unwrap();
        let rank = |part: &str| GRPC_PARTS.iter().position(|known| *known == part);
        let own = rank(part).unwrap_or_else(|| panic!("{path} belongs to no known part of grpc"));
        let imports = grpc_imports(&path, &text);
        for import in &imports {
            let other = rank(import.split('/').next().unwrap());
            assert!(other.is_some_and(|other| other <= own), "{path} imports {import}");
        }
        files.push((name, imports));
    }
    assert!(files.iter().any(|(name, imports)| {
        name == "layers/reply"
            && imports.contains("layers/context")
            && imports.contains("status/not_signed")
    }));
    // Files whose imports are all known go; what is left imports in a circle.
    loop {
        let names: BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
        let before = files.len();
        let is_left = |import: &String, name: &String| {
            names.iter().any(|n| n != name && (import == n || import.starts_with(&format!("{n}/"))))
        };
        files.retain(|(name, imports)| imports.iter().any(|import| is_left(import, name)));
        if files.len() == before {
            break;
        }
    }
    assert!(files.is_empty(), "a circle of imports: {files:?}");
}

#[test]
fn one_place_judges_a_call_and_one_records_it() {
    for (path, text) in sources("hsmd/src/grpc") {
        let code = code(&text);
        let judges = ["layers/context.rs", "layers/authorization.rs"];
        let judges = judges.map(|file| format!("hsmd/src/grpc/{file}")).contains(&path);
        assert!(judges || !code.contains("policy.load()"), "{path} asks the policy");
        let records = path == "hsmd/src/grpc/layers/reply.rs";
        for recorder in ["audit.write", "metrics.request"] {
            assert!(records || !code.contains(recorder), "{path} names {recorder}");
        }
    }
}
