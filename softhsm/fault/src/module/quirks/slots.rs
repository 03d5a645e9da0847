//! One more slot, whose token can't be described, and tokens with a pad for their PIN.

use cryptoki_sys::*;

use super::super::target::Target;
use super::UNLOADED;
use crate::quirks::Quirk;

/// The number of the foreign slot; SoftHSM's are small or random, and none has been this one.
const FOREIGN: CK_SLOT_ID = 0xf0f0_f0f0;

fn has_foreign_slot(target: &Target) -> bool {
    target.has(Quirk::ForeignSlotFails) || target.has(Quirk::ForeignSlotGarbled)
}

pub(super) unsafe extern "C" fn get_slot_list(
    with_token: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    if !has_foreign_slot(target) || count.is_null() {
        return behind!(target, C_GetSlotList(with_token, slots, count));
    }
    // SAFETY: not null, so by the caller's promise a place for one number.
    let room = unsafe { *count };
    if slots.is_null() {
        let code = behind!(target, C_GetSlotList(with_token, slots, count));
        // SAFETY: as above.
        unsafe { *count += 1 };
        return code;
    }
    if room == 0 {
        return CKR_BUFFER_TOO_SMALL;
    }
    let mut rest = room - 1;
    // SAFETY: the buffer has `room` places, at least one.
    let others = unsafe { slots.add(1) };
    let code = behind!(target, C_GetSlotList(with_token, others, &raw mut rest));
    // SAFETY: as above.
    unsafe {
        *slots = FOREIGN;
        *count = rest + 1;
    }
    code
}

pub(super) unsafe extern "C" fn get_slot_info(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    if slot != FOREIGN || info.is_null() {
        return behind!(target, C_GetSlotInfo(slot, info));
    }
    // SAFETY: not null, so by the caller's promise a place for a description; zeros are one.
    unsafe {
        *info = std::mem::zeroed();
        (*info).slotDescription = [b' '; 64];
        (*info).manufacturerID = [b' '; 32];
        (*info).flags = CKF_TOKEN_PRESENT;
    }
    CKR_OK
}

pub(super) unsafe extern "C" fn get_token_info(
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    if slot != FOREIGN || info.is_null() {
        let code = behind!(target, C_GetTokenInfo(slot, info));
        if code == CKR_OK && !info.is_null() && target.has(Quirk::PinPad) {
            // SAFETY: not null, so by the caller's promise a place for a description, which was just written.
            unsafe { (*info).flags |= CKF_PROTECTED_AUTHENTICATION_PATH };
        }
        return code;
    }
    if target.has(Quirk::ForeignSlotFails) {
        return CKR_DEVICE_ERROR;
    }
    // SAFETY: not null, so by the caller's promise a place for a description; zeros are one.
    unsafe {
        *info = std::mem::zeroed();
        (*info).label = [b' '; 32];
        (*info).flags = CKF_TOKEN_INITIALIZED | CKF_CLOCK_ON_TOKEN;
        (*info).utcTime = *b"not a clock time";
    }
    CKR_OK
}
