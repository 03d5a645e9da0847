//! Templates on their way to the module: refused for an attribute, or with their CKA_ID cut.

use std::sync::atomic::Ordering;

use cryptoki_sys::*;

use super::super::target::Target;
use crate::attributes::Condition;
use crate::functions;
use crate::memory::Record;
use crate::quirks::Quirk;

/// How much of a CKA_ID is left.
const SHORT_ID: CK_ULONG = 2;

/// A template of a caller.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<CK_ATTRIBUTE>);

impl Template {
    /// The template at `attributes`, with its CKA_ID cut if that is set.
    ///
    /// # Safety
    /// As PKCS#11 has it: null, or `count` attributes, each with a value of its length, all of them
    /// valid for as long as this is used.
    pub(super) unsafe fn read(
        target: &Target,
        attributes: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
    ) -> Self {
        if attributes.is_null() {
            return Self(Vec::new());
        }
        // SAFETY: not null, so by the caller's promise `count` attributes.
        let given = unsafe { std::slice::from_raw_parts(attributes, count as usize) };
        let mut own = given.to_vec();
        if target.has(Quirk::ShortIds) {
            for attribute in own.iter_mut().filter(|attribute| attribute.type_ == CKA_ID) {
                attribute.ulValueLen = attribute.ulValueLen.min(SHORT_ID);
            }
        }
        Self(own)
    }

    pub(super) fn pointer(&mut self) -> *mut CK_ATTRIBUTE {
        self.0.as_mut_ptr()
    }

    pub(super) fn count(&self) -> CK_ULONG {
        self.0.len() as CK_ULONG
    }

    /// The value of an attribute.
    pub(super) fn value(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        let found = self.0.iter().find(|found| found.type_ == attribute)?;
        if found.pValue.is_null() {
            return Some(&[]);
        }
        // SAFETY: not null, so by the promise of `read` a value of its length.
        Some(unsafe {
            std::slice::from_raw_parts(found.pValue.cast::<u8>(), found.ulValueLen as usize)
        })
    }

    fn meets(&self, condition: Condition) -> bool {
        let Some(value) = self.value(condition.attribute) else { return false };
        condition.value.is_none_or(|wanted| value.first().is_some_and(|b| (*b != 0) == wanted))
    }
}

/// What a function answers to these templates before it does anything.
pub(super) fn refusal(target: &Target, function: &str, templates: &[&Template]) -> Option<CK_RV> {
    let record = &target.memory().functions[functions::index(function)?];
    let condition = condition(record)?;
    if !templates.iter().any(|template| template.meets(condition)) || !record.refuse.hits() {
        return None;
    }
    record.refused.fetch_add(1, Ordering::Relaxed);
    if record.refuse_keeps_lock.load(Ordering::Acquire) != 0 {
        target.keep_lock();
    }
    Some(record.refuse_code.load(Ordering::Acquire))
}

fn condition(record: &Record) -> Option<Condition> {
    let value = match record.refuse_value.load(Ordering::Acquire) {
        0 => None,
        number => Some(number == 2),
    };
    let attribute = record.refuse_attribute.load(Ordering::Acquire);
    (record.refuse.read().1 > 0).then_some(Condition { attribute, value })
}
