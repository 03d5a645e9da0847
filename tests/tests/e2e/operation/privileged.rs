//! What takes root to play: users of the machine who are no callers, and a network in which packets get lost.

mod names;
mod users;
