//! The authorization layer: the one place where gRPC asks the policy. What the path decides is decided
//! before anything of the request is read; what the request's purpose decides, when its service asks.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use super::context::{CallContext, Listener};
use crate::authz::SignPermit;
use crate::config::AdminAction;
use crate::daemon::state::Shared;
use crate::grpc::status;

/// What a call needs, by its listener and its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Health and reflection are open to every peer that can connect; an unknown path is refused later.
    Nothing,
    /// A configured caller. Its purpose is judged when it is known.
    Caller,
    /// A caller who may sign documents at all: a batch is large, and is not read for any other.
    Sign,
    /// A caller who may read the key log.
    Read,
    /// An admin who may do this.
    Admin(AdminAction),
}

/// Refuses a call that its caller may not make. An admin's permit travels with the request.
pub fn authorize<B>(
    shared: &Shared,
    context: &CallContext,
    request: &mut http::Request<B>,
) -> Result<(), Status> {
    match needs(context.listener, request.uri().path()) {
        Needs::Nothing => Ok(()),
        Needs::Caller => context.caller.as_ref().map(drop).map_err(status::denied),
        Needs::Sign => {
            let permitted = shared.policy.load().signs_at_all(&context.peer, context.at);
            permitted.map_err(|denied| status::denied(&denied))
        }
        Needs::Read => {
            let permit = shared.policy.load().read(&context.peer, context.at);
            permit.map(drop).map_err(|denied| status::denied(&denied))
        }
        Needs::Admin(action) => {
            let permit = shared.policy.load().admin(&context.peer, context.at, action);
            let permit = permit.map_err(|denied| status::denied(&denied))?;
            request.extensions_mut().insert(Arc::new(permit));
            Ok(())
        }
    }
}

/// The permit for an endorsement.
pub fn endorse(
    shared: &Shared,
    context: &CallContext,
    purpose: &str,
    ttl: Duration,
) -> Result<SignPermit, Status> {
    let permit = shared.policy.load().endorse(&context.peer, context.at, purpose, ttl);
    permit.map_err(|denied| status::denied(&denied))
}

/// The permit for documents of these purposes, or the position of the first that is refused.
pub fn sign<'a>(
    shared: &Shared,
    context: &CallContext,
    purposes: impl IntoIterator<Item = &'a str>,
) -> Result<SignPermit, (usize, Status)> {
    let permit = shared.policy.load().sign(&context.peer, context.at, purposes);
    permit.map_err(|(position, denied)| (position, status::denied(&denied)))
}

/// Whether a call that goes on may still read the key log: rights are lost and certificates end.
pub fn still_reads(shared: &Shared, context: &CallContext) -> Result<(), Status> {
    let now = shared.clock.now().map_err(|error| Status::internal(error.to_string()))?;
    let permit = shared.policy.load().read(&context.peer, now);
    permit.map(drop).map_err(|denied| status::denied(&denied))
}

fn needs(listener: Listener, path: &str) -> Needs {
    let path = path.strip_prefix('/').unwrap_or_default();
    let (service, method) = path.split_once('/').unwrap_or_default();
    match (listener, service, method) {
        (_, "grpc.health.v1.Health", _) => Needs::Nothing,
        (_, "grpc.reflection.v1.ServerReflection", _) => Needs::Nothing,
        (_, "grpc.reflection.v1alpha.ServerReflection", _) => Needs::Nothing,
        (Listener::Service, "hsmd.v1.KeyLog", "GetHead" | "ListEvents" | "WatchEvents") => {
            Needs::Read
        }
        (Listener::Service, "hsmd.v1.Signer", "Sign" | "SignBatch") => Needs::Sign,
        (Listener::Service, ..) => Needs::Caller,
        (Listener::Admin, "hsmd.v1.Admin", "Status" | "ListActions") => {
            Needs::Admin(AdminAction::Status)
        }
        (Listener::Admin, "hsmd.v1.Admin", "Rotate") => Needs::Admin(AdminAction::Rotate),
        (Listener::Admin, "hsmd.v1.Admin", "Taint") => Needs::Admin(AdminAction::Taint),
        (Listener::Admin, ..) => Needs::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_and_reflection_are_open_on_the_service_listener() {
        for (path, expected) in [
            ("/grpc.health.v1.Health/Watch", Needs::Nothing),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Needs::Nothing),
            ("/grpc.health.v1.Healthy/Watch", Needs::Caller),
            ("/hsmd.v1.KeyLog/WatchEvents", Needs::Read),
            ("/hsmd.v1.KeyLog/Else", Needs::Caller),
            ("/hsmd.v1.Signer/Sign", Needs::Sign),
            ("/hsmd.v1.Signer/Endorse", Needs::Caller),
            ("/hsmd.v1.Admin/Taint", Needs::Caller),
            ("", Needs::Caller),
        ] {
            assert_eq!(needs(Listener::Service, path), expected, "{path}");
        }
    }

    #[test]
    fn each_admin_call_needs_its_own_right() {
        for (method, expected) in [
            ("Status", Needs::Admin(AdminAction::Status)),
            ("ListActions", Needs::Admin(AdminAction::Status)),
            ("Rotate", Needs::Admin(AdminAction::Rotate)),
            ("Taint", Needs::Admin(AdminAction::Taint)),
        ] {
            assert_eq!(needs(Listener::Admin, &format!("/hsmd.v1.Admin/{method}")), expected);
        }
    }
}
