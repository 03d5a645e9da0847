//! Errors with their causes, for logs and for people.

use std::{error::Error, io::Write as _};

/// An error with all its causes in one line, separated by colons. A cause whose text the line ends with
/// already is left out: transport errors often repeat the words of their cause.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |&cause| cause.source()) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Tells a person on standard error why a program ends. A closed standard error is no reason to fail.
pub fn report(program: &str, error: &dyn Error) {
    let _written = writeln!(std::io::stderr(), "{program}: {}", chain(error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text, source }
    }

    #[test]
    fn every_cause_is_named_once() {
        for (texts, expected) in [
            (&["cannot start"][..], "cannot start"),
            (
                &["cannot start", "cannot read a", "not found"],
                "cannot start: cannot read a: not found",
            ),
            (&["transport: reset", "reset", "reset"], "transport: reset"),
        ] {
            assert_eq!(chain(&layers(texts)), expected);
        }
    }
}
