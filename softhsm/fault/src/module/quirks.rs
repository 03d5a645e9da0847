//! A second layer between the forwarded calls and the module behind: the quirks of real modules.
//!
//! `install` replaces some functions in the copy of the module's function list. Each asks first whether
//! one of its quirks is set, and hands the call on if not.

/// Calls a function of the module behind.
macro_rules! behind {
    ($target:expr, $name:ident($($argument:expr),*)) => {
        match $target.behind.$name {
            // SAFETY: the module behind gets arguments that our caller owes to this function, or
            // our own, which are valid for the call.
            Some(function) => unsafe { function($($argument),*) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}
mod numbering;
mod objects;
mod slots;
mod template;

use std::sync::atomic::Ordering;

use cryptoki_sys::*;
use parking_lot::Mutex;

pub(super) use self::objects::Objects;
use super::target::Target;
use crate::quirks::Quirk;

/// Puts the quirky functions in the place of the module's own.
pub(super) fn install(list: &mut CK_FUNCTION_LIST) {
    list.C_GetSlotList = Some(slots::get_slot_list);
    list.C_GetSlotInfo = Some(slots::get_slot_info);
    list.C_GetTokenInfo = Some(slots::get_token_info);
    list.C_Login = Some(objects::login);
    list.C_FindObjectsInit = Some(objects::find_objects_init);
    list.C_FindObjects = Some(objects::find_objects);
    list.C_CreateObject = Some(objects::create_object);
    list.C_GenerateKeyPair = Some(objects::generate_key_pair);
    list.C_CopyObject = Some(objects::copy_object);
    list.C_DestroyObject = Some(objects::destroy_object);
    list.C_GetAttributeValue = Some(objects::get_attribute_value);
    list.C_SetAttributeValue = Some(objects::set_attribute_value);
    list.C_SignInit = Some(objects::sign_init);
    list.C_VerifyInit = Some(objects::verify_init);
}

impl Target {
    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.memory().quirks.load(Ordering::Acquire) & quirk.bit() != 0
    }

    /// Forgets what this process knows of objects: `C_Initialize` begins anew.
    pub(super) fn forget_objects(&self) {
        *self.objects.lock() = Objects::default();
    }
}

/// What a quirky function does without a target: nothing was ever loaded, so it is never called.
const UNLOADED: CK_RV = CKR_GENERAL_ERROR;

/// The state of this process's objects.
pub(super) type Shared = Mutex<Objects>;
