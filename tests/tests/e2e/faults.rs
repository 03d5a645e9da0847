//! What happens on a bad day: each fault is played on real parts, and what was seen, by callers and by
//! the operator, is a row of docs/faults.md.
//!
//! Each fault is a test of its own, `faults::SECTION::row::FAULT`. It asserts what must hold ([`Seen`]) and
//! compares its row with the page; with `HSMD_WRITE_FAULTS=1` it writes the row instead ([`page`]).

pub(crate) mod clock;
mod commit;
pub(crate) mod database;
pub(crate) mod history;
mod overload;
mod ownership;
mod page;
mod peers;
mod process;
mod quirks;
mod recovery;
pub(crate) mod seen;
mod soak;
mod token;

use seen::Seen;

/// A part of the page: faults in their order, each with what an operator does about it.
pub(crate) struct Section {
    title: &'static str,
    faults: &'static [(&'static str, &'static str)],
}

/// The section that a module plays: its title, and for each fault the function that plays it, what goes
/// wrong, and what an operator does about it. Makes a test of each.
macro_rules! faults {
    ($title:literal: $($play:ident: $fault:literal, $operator:literal;)+) => {
        pub(crate) const SECTION: $crate::faults::Section =
            $crate::faults::Section { title: $title, faults: &[$(($fault, $operator)),+] };

        mod row {
            $(
                #[tokio::test]
                async fn $play() {
                    $crate::faults::page::compare($fault, $operator, super::$play()).await;
                }
            )+
        }
    };
}
use faults;
