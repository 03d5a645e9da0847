//! What each command does, and what it prints: one line of JSON, except where a text is asked for.

use std::path::Path;

use hsmd_chain::cesr::Digest;
use hsmd_protocol::{
    ChangeRecoveryKey, CreateAccount, DeleteAccount, DeviceReference, LinkContainer, LinkDevice,
    PrivateKey, ReceivedToken, RecoverAccount, RecoverableAuthentication, RotateDevice,
    UnlinkDevice,
    client::{self, KeyChain, Outgoing},
    key_hash,
};
use serde_json::json;

use crate::{
    arguments::{self, Arguments, Command},
    device::{self, Commit, Device, Servers},
    error::DeviceError,
    outside::{nonce, random},
    secret::{self, Secret},
    state::{State, StateFile},
};

/// Carries out a command and returns what is to be printed.
pub(crate) fn run(arguments: Arguments) -> Result<String, DeviceError> {
    let path = arguments.state.as_path();
    match arguments.command {
        Command::Create { recovery, servers } => create(path, &recovery, servers),
        Command::LinkContainer { identity } => link_container(path, identity),
        Command::Link { container, servers } => link(open(path, servers)?, &container),
        Command::Unlink { device, servers } => unlink(open(path, servers)?, device),
        Command::Rotate { servers } => rotate(open(path, servers)?),
        Command::Session { servers } => session(open(path, servers)?),
        Command::Refresh { servers } => refresh(open(path, servers)?),
        Command::Access { app, path: route, request, trusted } => {
            let mut file = StateFile::open(path)?;
            device::access(&mut file, &Servers::new(&trusted), &app, &route, &request)
        }
        Command::Recover { identity, recovery, new_recovery, servers } => {
            recover(path, identity, &recovery, &new_recovery, servers)
        }
        Command::ChangeRecovery { new_recovery, servers } => {
            change_recovery(open(path, servers)?, &new_recovery)
        }
        Command::Delete { servers } => delete(open(path, servers)?),
        Command::Show => Ok(show(&StateFile::open(path)?.state)),
    }
}

fn create(
    path: &Path,
    recovery: &Path,
    servers: arguments::Servers,
) -> Result<String, DeviceError> {
    let recovery_hash = key_hash(open_or_make_key(recovery)?.public_key());
    // A state that is there may be an earlier attempt's, whose reply was lost.
    let (file, again) = open_or_make(path, |keys| {
        let new = client::new_account(keys, recovery_hash);
        (new.identity, new.device)
    })?;
    let authentication = client::new_account(&file.state.keys, recovery_hash);
    let request =
        Outgoing::signed(&CreateAccount { authentication }, nonce(), file.state.keys.current());
    let mut device = device(file, servers);
    match device.send(&request) {
        Err(error) if again && error.refusal().is_some_and(|(status, _)| status == 409) => {
            // It was carried out if the account knows this device.
            device.begin_session()?;
        }
        outcome => {
            outcome?;
            device.file.save()?;
        }
    }
    Ok(show(&device.file.state))
}

fn link_container(path: &Path, identity: Digest) -> Result<String, DeviceError> {
    let (file, _) = open_or_make(path, |keys| {
        (identity, client::link_container(identity, keys).authentication().device)
    })?;
    file.save()?;
    Ok(client::link_container(identity, &file.state.keys).to_json())
}

fn link(mut device: Device, container: &str) -> Result<String, DeviceError> {
    let link = LinkContainer::parse(container.trim())
        .and_then(|link| link.verify().map(|()| link))
        .map_err(|error| DeviceError::Argument("the link container", error))?;
    device.rotate(
        |authentication| LinkDevice { authentication, link: link.clone() },
        Commit::ToNextKey,
    )?;
    Ok(json!({ "linked": link.authentication().device }).to_string())
}

fn unlink(mut device: Device, other: Option<Digest>) -> Result<String, DeviceError> {
    let unlinked = other.unwrap_or(device.device());
    let own = unlinked == device.device();
    let commit = if own { Commit::ToNothing } else { Commit::ToNextKey };
    let link = DeviceReference { device: unlinked };
    device.rotate(|authentication| UnlinkDevice { authentication, link: link.clone() }, commit)?;
    Ok(json!({ "unlinked": unlinked }).to_string())
}

fn rotate(mut device: Device) -> Result<String, DeviceError> {
    device.rotate(|authentication| RotateDevice { authentication }, Commit::ToNextKey)?;
    Ok(show(&device.file.state))
}

fn session(mut device: Device) -> Result<String, DeviceError> {
    device.begin_session()?;
    Ok(show(&device.file.state))
}

fn refresh(mut device: Device) -> Result<String, DeviceError> {
    device.refresh_session()?;
    Ok(show(&device.file.state))
}

fn recover(
    path: &Path,
    identity: Digest,
    recovery: &Path,
    new_recovery: &Path,
    servers: arguments::Servers,
) -> Result<String, DeviceError> {
    let Secret(recovery_key) = secret::read(recovery)?;
    let next_hash = key_hash(open_or_make_key(new_recovery)?.public_key());
    let members =
        |keys: &KeyChain| client::recovered_device(identity, keys, &recovery_key, next_hash);
    let (file, again) = open_or_make(path, |keys| (identity, members(keys).device))?;
    let authentication = members(&file.state.keys);
    let request = Outgoing::signed(&RecoverAccount { authentication }, nonce(), &recovery_key);
    let mut device = device(file, servers);
    match device.send(&request) {
        Err(error) if again && error.refusal() == Some((401, "BA104")) => {
            // The recovery key has been replaced: by our earlier attempt, if the account knows us.
            device.begin_session()?;
        }
        outcome => {
            outcome?;
            device.file.save()?;
        }
    }
    Ok(show(&device.file.state))
}

fn change_recovery(mut device: Device, new_recovery: &Path) -> Result<String, DeviceError> {
    let recovery_hash = key_hash(open_or_make_key(new_recovery)?.public_key());
    device.rotate(
        |rotation| ChangeRecoveryKey {
            authentication: RecoverableAuthentication {
                device: rotation.device,
                identity: rotation.identity,
                public_key: rotation.public_key,
                recovery_hash,
                rotation_hash: rotation.rotation_hash,
            },
        },
        Commit::ToNextKey,
    )?;
    Ok(json!({ "recoveryHash": recovery_hash }).to_string())
}

fn delete(mut device: Device) -> Result<String, DeviceError> {
    device.rotate(|authentication| DeleteAccount { authentication }, Commit::ToNextKey)?;
    Ok(json!({ "deleted": device.identity() }).to_string())
}

fn show(state: &State) -> String {
    let mut shown = json!({
        "identity": state.identity,
        "device": state.device,
        "publicKey": state.keys.current().public_key(),
    });
    let session = state.session.as_ref();
    if let Some(Ok(token)) = session.map(|session| ReceivedToken::decode(&session.token)) {
        shown["session"] = json!({
            "expiry": token.claims().expiry,
            "refreshExpiry": token.claims().refresh_expiry,
        });
    }
    shown.to_string()
}

fn open(path: &Path, servers: arguments::Servers) -> Result<Device, DeviceError> {
    Ok(device(StateFile::open(path)?, servers))
}

fn device(file: StateFile, servers: arguments::Servers) -> Device {
    Device::new(file, Servers::new(&servers.trusted), servers.auth)
}

/// The state at `path` and true; or, if there is none, that of a new device, whose identity and id
/// follow from its keys. A state of another device is left alone.
fn open_or_make(
    path: &Path,
    names: impl Fn(&KeyChain) -> (Digest, Digest),
) -> Result<(StateFile, bool), DeviceError> {
    if path.exists() {
        let file = StateFile::open(path)?;
        if names(&file.state.keys) != (file.state.identity, file.state.device) {
            return Err(DeviceError::Exists(path.into()));
        }
        return Ok((file, true));
    }
    let keys = KeyChain::generate(&mut random());
    let (identity, device) = names(&keys);
    let state = State { identity, device, keys, session: None, hsm: None };
    Ok((StateFile::create(path, state)?, false))
}

/// The recovery key in a file, which is made if there is none.
fn open_or_make_key(path: &Path) -> Result<PrivateKey, DeviceError> {
    if path.exists() {
        let Secret(key) = secret::read(path)?;
        return Ok(key);
    }
    let key = PrivateKey::generate(&mut random());
    secret::write(path, &Secret(key.clone()))?;
    Ok(key)
}
