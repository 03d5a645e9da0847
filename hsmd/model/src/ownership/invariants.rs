//! What must hold in every state that can be reached.

use stateright::Property;

use super::actions::Ownership;
use super::state::{Event, State};

/// No number has two events in databases, records, journals, logs in memory, or before a reader.
pub(super) const ONE_HISTORY: &str = "one event a number, whatever the databases";
/// Two daemons never both sign.
pub(super) const ONE_OWNER: &str = "the token has one owner";
/// When a taint has answered, no signature of the tainted generation is handed out.
pub(super) const SIGNATURES: &str = "no signature by a tainted generation after the taint's answer";
/// A reader who asks one daemon and then another never sees the log become shorter, or a gap.
pub(super) const READERS: &str = "a reader never sees a rollback";

/// What a reader has seen stands in a database, a record or a folder.
pub(super) const KEPT: &str = "what a reader has seen is kept";

/// The names of the properties.
pub const PROPERTIES: [&str; 5] = [ONE_HISTORY, ONE_OWNER, SIGNATURES, READERS, KEPT];

pub(super) fn properties() -> Vec<Property<Ownership>> {
    vec![
        Property::always(ONE_HISTORY, |_, state| one_history(state)),
        Property::always(ONE_OWNER, |_, state: &State| {
            !state.daemons.iter().all(|daemon| daemon.is_admitted())
        }),
        Property::always(SIGNATURES, |_, state: &State| state.wrong != Some(SIGNATURES)),
        Property::always(READERS, |_, state: &State| state.wrong != Some(READERS)),
        Property::always(KEPT, |_, state| kept(state)),
    ]
}

fn one_history(state: &State) -> bool {
    let mut seen: [Option<u8>; 6] = [None; 6];
    let mut agrees =
        |event: &Event| *seen[usize::from(event.number)].get_or_insert(event.text) == event.text;
    state.databases.iter().flat_map(|database| &database.log).all(&mut agrees)
        && state.token.records.iter().flatten().flat_map(|r| &r.events).all(&mut agrees)
        && state.folders.iter().flat_map(|folder| &folder.events).all(&mut agrees)
        && state.daemons.iter().flat_map(|daemon| &daemon.log).all(&mut agrees)
        && state.reader.iter().all(&mut agrees)
}

fn kept(state: &State) -> bool {
    state.reader.iter().all(|event| {
        state.databases.iter().any(|database| database.log.contains(event))
            || state.token.records.iter().flatten().any(|record| record.events.contains(event))
            || state.folders.iter().any(|folder| folder.events.contains(event))
    })
}
