//! The tree against RFC 9162 section 2.1, written down a second time as the RFC defines it:
//! recursively. Any size, any index, any length of a path.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use hsmd_chain::batch::ProofError;
use hsmd_chain::body::BodyError;
use hsmd_chain::testing::LogBuilder;
use hsmd_chain::{BatchedSignature, Digest, MerkleTree, SignedPayload};
use proptest::prelude::*;

type Hash = [u8; 32];

/// MTH of the RFC.
fn mth(leaves: &[String]) -> Hash {
    match leaves {
        [leaf] => blake3::hash(&[&[0x00], leaf.as_bytes()].concat()).into(),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            blake3::hash(&[&[0x01], &mth(left)[..], &mth(right)[..]].concat()).into()
        }
    }
}

/// PATH of the RFC.
fn path(index: usize, leaves: &[String]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut inside, other) = if index < k {
        (path(index, left), mth(right))
    } else {
        (path(index - k, right), mth(left))
    };
    inside.push(other);
    inside
}

/// The largest power of two smaller than n.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

fn documents(size: usize) -> Vec<String> {
    (0..size).map(|number| format!(r#"{{"purpose":"document","number":{number}}}"#)).collect()
}

fn raw(path: &[Digest]) -> Vec<Hash> {
    path.iter().map(Digest::to_raw).collect()
}

#[test]
fn every_tree_up_to_70_leaves_is_that_of_the_rfc() {
    for size in 1..=70 {
        let leaves = documents(size);
        let tree = MerkleTree::new(leaves.iter().map(String::as_str)).unwrap();
        assert_eq!(tree.root().to_raw(), mth(&leaves), "size {size}");
        for index in 0..size {
            let made = tree.path(index as u32).unwrap();
            assert_eq!(raw(&made), path(index, &leaves), "leaf {index} of {size}");
        }
    }
}

/// The item with another place and path.
fn moved(item: &BatchedSignature, index: u32, path: &[Digest]) -> BatchedSignature {
    let path: Vec<&str> = path.iter().map(Digest::as_str).collect();
    BatchedSignature::from_parts(item.payload(), index, &path, item.batch().clone()).unwrap()
}

#[test]
fn every_other_index_and_path_length_is_refused() {
    let builder = LogBuilder::new("paths");
    for size in 1..=17_u32 {
        let items = builder.batch(0, &documents(size as usize));
        for item in &items {
            assert_eq!(item.check_proof(), Ok(()));
            for index in (0..size + 3).chain([u32::MAX]).filter(|&index| index != item.index()) {
                let refused = moved(item, index, item.path()).check_proof();
                let outside = matches!(refused, Err(ProofError::Index { .. }));
                assert_eq!(outside, index >= size, "{index} of {size}: {refused:?}");
                assert!(refused.is_err(), "{index} of {size}");
            }
            let long = [item.path(), item.path(), &[Digest::of(b"more")]].concat();
            for length in (0..long.len()).filter(|&length| length != item.path().len()) {
                let refused = moved(item, item.index(), &long[..length]).check_proof();
                let expected = item.path().len();
                assert_eq!(refused, Err(ProofError::PathLength { expected, found: length }));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_item_of_any_batch(
        size in 1..400_usize, pick: prop::sample::Index, other: prop::sample::Index, bit in 0..8_u32,
    ) {
        let builder = LogBuilder::new("any");
        let (log, now) = (builder.log(), builder.head().event().created_at());
        let leaves = documents(size);
        let items = builder.batch(0, &leaves);
        let item = &items[pick.index(size)];
        prop_assert_eq!(raw(item.path()), path(pick.index(size), &leaves));
        let parsed = SignedPayload::parse(item.to_json()).unwrap();
        prop_assert_eq!(&parsed, &SignedPayload::from(item.clone()));
        parsed.verify(&log, now, Duration::ZERO).unwrap();

        // Any bit of any hash of the path.
        let mut changed = item.path().to_vec();
        if let Some(last) = changed.len().checked_sub(1) {
            let at = other.index(last + 1);
            let mut hash = changed[at].to_raw();
            hash[other.index(32)] ^= 1 << bit;
            changed[at] = Digest::from_raw(&hash);
            let refused = SignedPayload::from(moved(item, item.index(), &changed));
            let refused = refused.verify(&log, now, Duration::ZERO);
            prop_assert_eq!(refused, Err(BodyError::Proof(ProofError::Root)));
        }

        // Another leaf's payload, in this one's place.
        let place = other.index(size);
        if place != item.index() as usize {
            let path: Vec<&str> = item.path().iter().map(Digest::as_str).collect();
            let swapped = BatchedSignature::from_parts(
                leaves[place].as_str(), item.index(), &path, item.batch().clone(),
            ).unwrap();
            prop_assert_eq!(swapped.check_proof(), Err(ProofError::Root));
        }
    }
}
