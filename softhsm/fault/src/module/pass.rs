//! What happens to a call on its way: counted, and, when the control file says so, harmed.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::*;

use super::target::Target;
use crate::functions;
use crate::memory::Record;

/// How often a hanging call looks whether it may go on.
const HANG_POLL: Duration = Duration::from_millis(1);

/// Where a function puts bytes out: the buffer, and its length on entry and return.
pub(super) type Output = (*mut CK_BYTE, *mut CK_ULONG);

/// Passes a call on to the module behind.
///
/// # Safety
/// `output`, where given, is as PKCS#11 wants it of `call`'s function: a null pointer to ask for the
/// length, or a buffer of the length that the second pointer says.
pub(super) unsafe fn pass<const FUNCTION: usize>(
    output: Option<Output>,
    call: impl FnOnce(&CK_FUNCTION_LIST) -> CK_RV,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return CKR_GENERAL_ERROR };
    let record = &target.memory().functions[FUNCTION];
    record.calls.fetch_add(1, Ordering::Relaxed);
    let length_query = output.is_some_and(|(buffer, _)| buffer.is_null());
    if length_query {
        record.length_queries.fetch_add(1, Ordering::Relaxed);
    }
    let word = target.memory().word.load(Ordering::Acquire);
    if word == target.calm.load(Ordering::Relaxed) {
        return call(&target.functions);
    }
    if length_query {
        return match token_trouble::<FUNCTION>(target) {
            Some(code) => code,
            None => call(&target.functions),
        };
    }
    // SAFETY: the caller's promise, and the output is no length query.
    unsafe { harm::<FUNCTION>(target, record, output, call) }
}

/// Passes a call on that something is wrong with, or may be.
///
/// # Safety
/// As [`pass`]; the buffer of `output` is not null.
#[cold]
unsafe fn harm<const FUNCTION: usize>(
    target: &Target,
    record: &Record,
    output: Option<Output>,
    call: impl FnOnce(&CK_FUNCTION_LIST) -> CK_RV,
) -> CK_RV {
    hang(target, record);
    delay(record);
    if let Some(code) = token_trouble::<FUNCTION>(target) {
        return code;
    }
    if record.fail.hits() {
        record.failed.fetch_add(1, Ordering::Relaxed);
        let code = record.fail_code.load(Ordering::Acquire);
        if record.fail_after.load(Ordering::Acquire) != 0 {
            call(&target.functions);
        }
        return code;
    }
    let code = call(&target.functions);
    if let Some((buffer, length)) = output
        && code == CKR_OK
        && !length.is_null()
        && record.corrupt.hits()
    {
        record.corrupted.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the call succeeded, so `length` was valid and now says how many bytes of the buffer
        // it has written.
        unsafe {
            if let Some(last) = (*length).checked_sub(1) {
                *buffer.add(last as usize) ^= 1;
            }
        }
    }
    code
}

fn hang(target: &Target, record: &Record) {
    let releases = &target.memory().releases;
    let before = releases.load(Ordering::Acquire);
    if target.lock_is_kept() || record.hang.hits() {
        record.hung.fetch_add(1, Ordering::AcqRel);
        while releases.load(Ordering::Acquire) == before {
            sleep(HANG_POLL);
        }
    }
}

fn delay(record: &Record) {
    let fixed = record.delay_micros.load(Ordering::Acquire);
    let jitter = match record.jitter_micros.load(Ordering::Acquire) {
        0 => 0,
        most => scatter(record.calls.load(Ordering::Relaxed)) % (most + 1),
    };
    if fixed + jitter > 0 {
        sleep(Duration::from_micros(fixed + jitter));
    }
}

/// A number from the call's number that looks like chance and is the same in every run (SplitMix64).
fn scatter(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a call gets because the token is away, or is back but this process has not initialised again.
fn token_trouble<const FUNCTION: usize>(target: &Target) -> Option<CK_RV> {
    let epoch = target.memory().word_without_faults();
    let away = epoch & 2 != 0;
    if !away && epoch == target.calm.load(Ordering::Acquire) {
        return None;
    }
    match (functions::NAMES[FUNCTION], away) {
        // The library is there without a token. And a session that was logged in says so for ever.
        ("C_Initialize" | "C_Finalize" | "C_GetInfo" | "C_GetSessionInfo", _) => None,
        // Slots are there without a token; the exports say that they are empty.
        ("C_GetSlotList" | "C_GetSlotInfo", true) => None,
        ("C_GetSlotList" | "C_GetSlotInfo" | "C_WaitForSlotEvent", _) => Some(CKR_GENERAL_ERROR),
        (
            "C_GetTokenInfo" | "C_GetMechanismList" | "C_GetMechanismInfo" | "C_InitToken"
            | "C_OpenSession" | "C_CloseAllSessions",
            true,
        ) => Some(CKR_TOKEN_NOT_PRESENT),
        (_, true) => Some(CKR_DEVICE_REMOVED),
        (_, false) => Some(CKR_DEVICE_ERROR),
    }
}
