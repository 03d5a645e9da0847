//! What must hold in every state that can be reached.

use stateright::Property;

use crate::actions::History;
use crate::world::{Event, State};

/// No number has two events, in the log, a journal, or the memory of a process that could append.
pub(crate) const ONE_HISTORY: &str = "one history";
/// The log counts 0, 1, 2 and each key is the one that its predecessor committed to.
pub(crate) const CHAIN: &str = "every number once, every key committed";
/// The head's key and the one that it commits to are on the token.
pub(crate) const KEYS: &str = "the head's keys are there";
/// An event exists only because an administrator asked that its predecessor be replaced.
pub(crate) const ASKED_FOR: &str = "no admin request is carried out twice";
/// A signature names its key; nothing that a tainted generation signed is made or leaves from the
/// COMMIT of the taint on; when Taint has answered, the private key is gone.
pub(crate) const SIGNATURES: &str = "signatures name their key and the tainted are dead";
/// Whatever happened, a start goes on without a person, and so do the daemons that are alive.
pub(crate) const GOES_ON: &str = "always able to continue";

/// The names of the properties.
pub const PROPERTIES: [&str; 6] = [ONE_HISTORY, CHAIN, KEYS, ASKED_FOR, SIGNATURES, GOES_ON];

pub(crate) fn properties() -> Vec<Property<History>> {
    vec![
        Property::always(ONE_HISTORY, |_, state| one_history(state)),
        Property::always(CHAIN, |_, state| chain(state)),
        Property::always(KEYS, |_, state| keys(state)),
        Property::always(ASKED_FOR, |_, state| asked_for(state)),
        Property::always(SIGNATURES, |_, state: &State| state.wrong.is_none()),
        Property::always(GOES_ON, |model: &History, state| model.goes_on(state)),
    ]
}

fn one_history(state: &State) -> bool {
    let mut seen: [Option<u8>; 8] = [None; 8];
    let mut agrees = |event: &Event| {
        let first = seen[usize::from(event.number)].get_or_insert(event.text);
        *first == event.text
    };
    state.log.iter().all(&mut agrees)
        && state.copy.iter().filter_map(|copy| copy.event.as_ref()).all(&mut agrees)
        && state.disks.iter().all(|disk| {
            let intent = disk.intent.as_ref().and_then(|entries| entries.event.as_ref());
            intent.into_iter().chain(disk.journal.event.as_ref()).all(&mut agrees)
        })
        && state.daemons.iter().filter_map(|me| me.entries.event.as_ref()).all(&mut agrees)
}

fn chain(state: &State) -> bool {
    let numbered = state.log.iter().enumerate().all(|(i, event)| usize::from(event.number) == i);
    numbered && state.log.windows(2).all(|pair| pair[1].key == pair[0].next)
}

fn keys(state: &State) -> bool {
    let there = |head: &Event| state.has_private(head.key) && state.has_private(head.next);
    state.log.last().is_none_or(there)
}

fn asked_for(state: &State) -> bool {
    state.log.iter().skip(1).all(|event| {
        state
            .requests
            .iter()
            .any(|request| request.expected + 1 == event.number && (request.taint || !event.taint))
    })
}
