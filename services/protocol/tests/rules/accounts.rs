//! The checks of accounts and devices, each violated once, and what a success changes.

use crate::world::{RECOVERY, World, chain, hash, key, refused, sign};
use hsmd_protocol::{
    Authentication, ChangeRecoveryKey, CreateAccount, DeleteAccount, DeviceReference,
    LinkContainer, LinkDevice, Operation, RecoverAccount, RecoverableAuthentication, Recovery,
    RotateDevice, UnlinkDevice, client, device_id, identity_id,
};

fn changed<T: Clone>(value: &T, change: impl FnOnce(&mut T)) -> T {
    let mut value = value.clone();
    change(&mut value);
    value
}

#[tokio::test]
async fn create_account() {
    let world = World::new().await;
    let bob = client::new_account(&chain(11), hash(110));
    let create = |authentication: RecoverableAuthentication, signer| {
        sign(&CreateAccount { authentication }, signer)
    };
    let with = |change: fn(&mut RecoverableAuthentication)| create(changed(&bob, change), 11);
    let alice = client::new_account(&chain(1), hash(RECOVERY));
    // Alice's device under an identity of its own: another recovery hash.
    let stolen = client::new_account(&chain(1), hash(111));
    let cases = [
        ("signed by another key", create(bob.clone(), 12), "Signature"),
        ("another recovery hash", with(|a| a.recovery_hash = hash(9)), "IdentityFormula"),
        ("another identity", with(|a| a.identity = hash(9)), "IdentityFormula"),
        ("another device", with(|a| a.device = hash(9)), "DeviceFormula"),
        ("registered before", create(alice, 1), "IdentityExists"),
        ("its device registered before", create(stolen, 1), "DeviceExists"),
    ];
    refused(&world, CreateAccount::ROUTE, &cases).await;

    let mut world = world;
    world.post(CreateAccount::ROUTE, &create(bob.clone(), 11)).await.expect("a new account");
    assert_eq!(world.store.accounts[&bob.identity].recovery_hash, hash(110));
    let (owner, device) = world.store.devices[&bob.device];
    assert_eq!((owner, device.rotation_hash), (bob.identity, hash(12)));
}

#[tokio::test]
async fn rotate_device() {
    let world = World::new().await;
    let good = world.rotation();
    let rotate =
        |authentication: Authentication, signer| sign(&RotateDevice { authentication }, signer);
    let with = |change: fn(&mut Authentication), signer| rotate(changed(&good, change), signer);
    let cases = [
        ("signed by the current key", rotate(good.clone(), 1), "Signature"),
        ("an unknown identity", with(|a| a.identity = hash(9), 2), "IdentityUnknown"),
        ("an unknown device", with(|a| a.device = hash(9), 2), "DeviceUnknown"),
        ("the current key", with(|a| a.public_key = *key(1).public_key(), 1), "Hash"),
        ("an uncommitted key", with(|a| a.public_key = *key(9).public_key(), 9), "Hash"),
    ];
    refused(&world, RotateDevice::ROUTE, &cases).await;

    let mut world = world;
    let message = rotate(good, 2);
    world.post(RotateDevice::ROUTE, &message).await.expect("a rotation");
    let (_, device) = world.store.devices[&world.device];
    assert_eq!((device.public_key, device.rotation_hash), (*key(2).public_key(), hash(3)));
    refused(&world, RotateDevice::ROUTE, &[("replayed", message, "Hash")]).await;
}

#[tokio::test]
async fn a_device_of_another_account_does_not_rotate() {
    let mut world = World::new().await;
    let bob = client::new_account(&chain(11), hash(110));
    let create = sign(&CreateAccount { authentication: bob.clone() }, 11);
    world.post(CreateAccount::ROUTE, &create).await.expect("a new account");
    let authentication = changed(&world.rotation(), |a| a.identity = bob.identity);
    let cases = [("bob's account", sign(&RotateDevice { authentication }, 2), "DeviceUnknown")];
    refused(&world, RotateDevice::ROUTE, &cases).await;
}

#[tokio::test]
async fn link_device() {
    let world = World::new().await;
    let container = client::link_container(world.identity, &chain(21));
    let new = container.authentication().clone();
    let link = |authentication: Authentication, link: &LinkContainer, signer| {
        sign(&LinkDevice { authentication, link: link.clone() }, signer)
    };
    let with = |change: fn(&mut Authentication), signer| {
        link(world.rotation(), &LinkContainer::sign(changed(&new, change), &key(signer)), 2)
    };
    let uncommitted = changed(&world.rotation(), |a| a.public_key = *key(9).public_key());
    let own = client::link_container(world.identity, &chain(1));
    let cases = [
        ("signed by another key", link(world.rotation(), &container, 1), "Signature"),
        ("a container signed by another key", with(|_| {}, 22), "Signature"),
        ("another identity", with(|a| a.identity = hash(9), 21), "IdentitiesDiffer"),
        ("another device", with(|a| a.device = hash(9), 21), "DeviceFormula"),
        ("an uncommitted rotation", link(uncommitted, &container, 9), "Hash"),
        ("a device linked before", link(world.rotation(), &own, 2), "DeviceExists"),
    ];
    refused(&world, LinkDevice::ROUTE, &cases).await;

    let mut world = world;
    let message = link(world.rotation(), &container, 2);
    world.post(LinkDevice::ROUTE, &message).await.expect("a link");
    assert_eq!(world.store.devices[&new.device].0, world.identity);
    assert_eq!(world.store.devices[&world.device].1.rotation_hash, hash(3), "rotated");
}

#[tokio::test]
async fn unlink_device() {
    let world = World::new().await;
    let unlink = |authentication: Authentication, device, signer| {
        sign(&UnlinkDevice { authentication, link: DeviceReference { device } }, signer)
    };
    let uncommitted = changed(&world.rotation(), |a| a.public_key = *key(9).public_key());
    let cases = [
        ("signed by another key", unlink(world.rotation(), world.device, 1), "Signature"),
        ("an uncommitted rotation", unlink(uncommitted, world.device, 9), "Hash"),
        ("an unknown device", unlink(world.rotation(), hash(9), 2), "DeviceUnknown"),
    ];
    refused(&world, UnlinkDevice::ROUTE, &cases).await;

    let mut world = world;
    let message = unlink(world.rotation(), world.device, 2);
    world.post(UnlinkDevice::ROUTE, &message).await.expect("an unlinking");
    let next = client::rotation(world.identity, world.device, &chain(2).reveal(1).expect("four"));
    let cases = [("afterwards", sign(&RotateDevice { authentication: next }, 3), "DeviceRevoked")];
    refused(&world, RotateDevice::ROUTE, &cases).await;
}

#[tokio::test]
async fn recover_account() {
    let world = World::new().await;
    let good = client::recovered_device(world.identity, &chain(31), &key(RECOVERY), hash(101));
    let recover =
        |authentication: Recovery, signer| sign(&RecoverAccount { authentication }, signer);
    let with = |change: fn(&mut Recovery), signer| recover(changed(&good, change), signer);
    let cases = [
        ("signed by the new device", recover(good.clone(), 31), "Signature"),
        ("another device", with(|a| a.device = hash(9), RECOVERY), "DeviceFormula"),
        ("an unknown identity", with(|a| a.identity = hash(9), RECOVERY), "IdentityUnknown"),
        ("another recovery key", with(|a| a.recovery_key = *key(9).public_key(), 9), "Hash"),
        (
            "a device registered before",
            recover(
                client::recovered_device(world.identity, &chain(1), &key(RECOVERY), hash(101)),
                RECOVERY,
            ),
            "DeviceExists",
        ),
    ];
    refused(&world, RecoverAccount::ROUTE, &cases).await;

    let mut world = world;
    let message = recover(good.clone(), RECOVERY);
    world.post(RecoverAccount::ROUTE, &message).await.expect("a recovery");
    assert!(world.store.devices[&world.device].1.revoked, "the lost device");
    assert!(!world.store.devices[&good.device].1.revoked, "the new one");
    refused(&world, RecoverAccount::ROUTE, &[("replayed", message, "Hash")]).await;
    let old = sign(&RotateDevice { authentication: world.rotation() }, 2);
    refused(&world, RotateDevice::ROUTE, &[("the lost device", old, "DeviceRevoked")]).await;
}

#[tokio::test]
async fn change_recovery_key() {
    let world = World::new().await;
    let Authentication { device, identity, public_key, rotation_hash } = world.rotation();
    let recovery_hash = hash(101);
    let good =
        RecoverableAuthentication { device, identity, public_key, recovery_hash, rotation_hash };
    let change = |authentication: RecoverableAuthentication, signer| {
        sign(&ChangeRecoveryKey { authentication }, signer)
    };
    let uncommitted = changed(&good, |a| a.public_key = *key(9).public_key());
    let cases = [
        ("signed by another key", change(good.clone(), 1), "Signature"),
        ("an uncommitted rotation", change(uncommitted, 9), "Hash"),
    ];
    refused(&world, ChangeRecoveryKey::ROUTE, &cases).await;

    let mut world = world;
    world.post(ChangeRecoveryKey::ROUTE, &change(good, 2)).await.expect("a change");
    let recover = |recovery_key| {
        let authentication =
            client::recovered_device(identity, &chain(31), &key(recovery_key), hash(102));
        sign(&RecoverAccount { authentication }, recovery_key)
    };
    refused(&world, RecoverAccount::ROUTE, &[("the old key", recover(RECOVERY), "Hash")]).await;
    world.post(RecoverAccount::ROUTE, &recover(101)).await.expect("the new key");
}

#[tokio::test]
async fn delete_account() {
    let world = World::new().await;
    let delete =
        |authentication: Authentication, signer| sign(&DeleteAccount { authentication }, signer);
    let uncommitted = changed(&world.rotation(), |a| a.public_key = *key(9).public_key());
    let cases = [
        ("signed by another key", delete(world.rotation(), 1), "Signature"),
        ("an uncommitted rotation", delete(uncommitted, 9), "Hash"),
    ];
    refused(&world, DeleteAccount::ROUTE, &cases).await;

    let mut world = world;
    world.post(DeleteAccount::ROUTE, &delete(world.rotation(), 2)).await.expect("a deletion");
    let next = client::rotation(world.identity, world.device, &chain(2).reveal(1).expect("four"));
    let rotate = sign(&RotateDevice { authentication: next }, 3);
    refused(&world, RotateDevice::ROUTE, &[("its device", rotate, "DeviceRevoked")]).await;
    let authentication =
        client::recovered_device(world.identity, &chain(31), &key(RECOVERY), hash(101));
    let recover = sign(&RecoverAccount { authentication }, RECOVERY);
    refused(&world, RecoverAccount::ROUTE, &[("recovery", recover, "IdentityUnknown")]).await;
    let new = client::new_account(&chain(1), hash(RECOVERY));
    assert_eq!(new.identity, identity_id(&new.public_key, &new.rotation_hash, &new.recovery_hash));
    assert_eq!(new.device, device_id(&new.public_key, &new.rotation_hash));
    let create = sign(&CreateAccount { authentication: new }, 1);
    refused(&world, CreateAccount::ROUTE, &[("created again", create, "IdentityExists")]).await;
}
