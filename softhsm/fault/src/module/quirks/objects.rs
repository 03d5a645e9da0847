//! The functions that find, make, read, use and destroy objects: with handles given twice, foreign
//! objects hidden, keys overwritten or kept.

use std::collections::HashSet;
use std::ffi::c_void;

use cryptoki_sys::*;

use super::super::target::Target;
use super::UNLOADED;
use super::numbering::Numbering;
use super::template::{Template, refusal};
use crate::quirks::Quirk;

/// How many handles are asked for at once.
const AT_ONCE: usize = 64;

/// The objects of the token as this process sees them.
#[derive(Debug, Default)]
pub(in super::super) struct Objects {
    numbering: Numbering,
    /// Those that were there at the first login since `C_Initialize`, and this process's own.
    known: Option<HashSet<CK_OBJECT_HANDLE>>,
    /// What the search that runs finds in the place of its first object.
    misdirected: Option<CK_OBJECT_HANDLE>,
}

impl Target {
    fn tracks_objects(&self) -> bool {
        self.has(Quirk::HandleReuse) || self.has(Quirk::HiddenObjects)
    }

    /// Takes the token's objects in, if that has not been done since `C_Initialize`.
    fn look_once(&self, session: CK_SESSION_HANDLE) {
        if !self.tracks_objects() || self.objects.lock().known.is_some() || !self.logged_in(session)
        {
            return;
        }
        let mut found = self.find(session, &mut []);
        // In the same order in every run and process: by CKA_ID, which counts up, then by class.
        found.sort_by_cached_key(|object| {
            (self.attribute(session, *object, CKA_ID), self.attribute(session, *object, CKA_CLASS))
        });
        let mut objects = self.objects.lock();
        for object in &found {
            objects.numbering.given(*object);
        }
        objects.known = Some(found.into_iter().collect());
    }

    fn logged_in(&self, session: CK_SESSION_HANDLE) -> bool {
        // SAFETY: zeros are a valid description of a session.
        let mut info: CK_SESSION_INFO = unsafe { std::mem::zeroed() };
        let code = behind!(self, C_GetSessionInfo(session, &raw mut info));
        code == CKR_OK && matches!(info.state, CKS_RO_USER_FUNCTIONS | CKS_RW_USER_FUNCTIONS)
    }

    fn find(
        &self,
        session: CK_SESSION_HANDLE,
        template: &mut [CK_ATTRIBUTE],
    ) -> Vec<CK_OBJECT_HANDLE> {
        let (pointer, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
        let mut found = Vec::new();
        if behind!(self, C_FindObjectsInit(session, pointer, count)) != CKR_OK {
            return found;
        }
        loop {
            let mut some = [0; AT_ONCE];
            let mut count = 0;
            let room = AT_ONCE as CK_ULONG;
            let code =
                behind!(self, C_FindObjects(session, some.as_mut_ptr(), room, &raw mut count));
            if code != CKR_OK || count == 0 {
                break;
            }
            found.extend(&some[..count as usize]);
        }
        behind!(self, C_FindObjectsFinal(session));
        found
    }

    /// The first bytes of an attribute; empty when the object has none.
    fn attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        attribute: CK_ATTRIBUTE_TYPE,
    ) -> Vec<u8> {
        let mut value = [0_u8; 64];
        let mut asked = CK_ATTRIBUTE {
            type_: attribute,
            pValue: value.as_mut_ptr().cast::<c_void>(),
            ulValueLen: value.len() as CK_ULONG,
        };
        let code = behind!(self, C_GetAttributeValue(session, object, &raw mut asked, 1));
        let length = if code == CKR_OK { asked.ulValueLen as usize } else { 0 };
        value.get(..length).unwrap_or_default().to_vec()
    }

    /// The module's handle for the one that the caller gave.
    fn real(&self, given: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        if !self.has(Quirk::HandleReuse) {
            return given;
        }
        // An unknown one stays unknown to the module behind.
        self.objects.lock().numbering.real(given).unwrap_or(CK_INVALID_HANDLE)
    }

    /// Takes in an object that this process made, and returns the handle to give for it.
    fn made(&self, real: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
        if !self.tracks_objects() {
            return real;
        }
        let mut objects = self.objects.lock();
        if let Some(known) = &mut objects.known {
            known.insert(real);
        }
        if self.has(Quirk::HandleReuse) { objects.numbering.given(real) } else { real }
    }

    /// Prepares what a search with this template finds.
    fn misdirect(&self, session: CK_SESSION_HANDLE, template: &Template) {
        let data = template.value(CKA_CLASS) == Some(&CKO_DATA.to_ne_bytes()[..]);
        let newest = || {
            let mut found = self.find(session, &mut []);
            let private = CKO_PRIVATE_KEY.to_ne_bytes();
            found.retain(|object| self.attribute(session, *object, CKA_CLASS) == private);
            found.into_iter().max_by_key(|object| self.attribute(session, *object, CKA_ID))
        };
        let misdirected = if data && self.has(Quirk::MisdirectedFinds) { newest() } else { None };
        self.objects.lock().misdirected = misdirected;
    }

    /// Destroys every key with the CKA_ID of a template.
    fn overwrite(&self, session: CK_SESSION_HANDLE, template: &Template) {
        let Some(id) = template.value(CKA_ID) else { return };
        let mut id = id.to_vec();
        for mut class in [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY] {
            let mut wanted = [
                CK_ATTRIBUTE {
                    type_: CKA_CLASS,
                    pValue: (&raw mut class).cast::<c_void>(),
                    ulValueLen: size_of_val(&class) as CK_ULONG,
                },
                CK_ATTRIBUTE {
                    type_: CKA_ID,
                    pValue: id.as_mut_ptr().cast::<c_void>(),
                    ulValueLen: id.len() as CK_ULONG,
                },
            ];
            for object in self.find(session, &mut wanted) {
                behind!(self, C_DestroyObject(session, object));
            }
        }
    }
}

pub(super) unsafe extern "C" fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    let code = behind!(target, C_Login(session, user, pin, length));
    if code == CKR_OK {
        target.look_once(session);
    }
    code
}

pub(super) unsafe extern "C" fn find_objects_init(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    target.look_once(session);
    // SAFETY: our caller's promise.
    let mut template = unsafe { Template::read(target, attributes, count) };
    if let Some(code) = refusal(target, "C_FindObjectsInit", &[&template]) {
        return code;
    }
    target.misdirect(session, &template);
    behind!(target, C_FindObjectsInit(session, template.pointer(), template.count()))
}

pub(super) unsafe extern "C" fn find_objects(
    session: CK_SESSION_HANDLE,
    found: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    loop {
        let code = behind!(target, C_FindObjects(session, found, room, count));
        // SAFETY: the call succeeded, so `count` was valid.
        if code == CKR_OK && unsafe { *count } > 0 {
            let misdirected = target.objects.lock().misdirected.take();
            // SAFETY: `found` holds as many handles, at least one.
            misdirected.into_iter().for_each(|key| unsafe { *found = key });
        }
        if code != CKR_OK || !target.tracks_objects() {
            return code;
        }
        // SAFETY: the call succeeded, so `count` was valid, and `found` holds as many handles.
        let some = unsafe { std::slice::from_raw_parts_mut(found, *count as usize) };
        let all = some.len();
        let mut objects = target.objects.lock();
        let mut kept = 0;
        for at in 0..all {
            let real = some[at];
            let hidden = target.has(Quirk::HiddenObjects)
                && objects.known.as_ref().is_some_and(|known| !known.contains(&real));
            if hidden {
                continue;
            }
            let reused = target.has(Quirk::HandleReuse);
            some[kept] = if reused { objects.numbering.given(real) } else { real };
            kept += 1;
        }
        // Nothing found is the end of the search: not when all of it was hidden.
        if kept > 0 || all == 0 {
            // SAFETY: as above.
            unsafe { *count = kept as CK_ULONG };
            return CKR_OK;
        }
    }
}

pub(super) unsafe extern "C" fn create_object(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    target.look_once(session);
    // SAFETY: our caller's promise.
    let mut template = unsafe { Template::read(target, attributes, count) };
    if let Some(code) = refusal(target, "C_CreateObject", &[&template]) {
        return code;
    }
    let code =
        behind!(target, C_CreateObject(session, template.pointer(), template.count(), object));
    // SAFETY: written only when the call succeeded, and then `object` was valid.
    unsafe { give(target, code, object) };
    code
}

pub(super) unsafe extern "C" fn generate_key_pair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    target.look_once(session);
    // SAFETY: our caller's promise, for both.
    let (mut public, mut private) = unsafe {
        (
            Template::read(target, public, public_count),
            Template::read(target, private, private_count),
        )
    };
    if let Some(code) = refusal(target, "C_GenerateKeyPair", &[&public, &private]) {
        return code;
    }
    if target.has(Quirk::OverwrittenIds) {
        target.overwrite(session, &private);
    }
    let (public, public_count) = (public.pointer(), public.count());
    let (private, private_count) = (private.pointer(), private.count());
    let code = behind!(
        target,
        C_GenerateKeyPair(
            session,
            mechanism,
            public,
            public_count,
            private,
            private_count,
            public_key,
            private_key
        )
    );
    // SAFETY: written only when the call succeeded, and then both were valid.
    unsafe {
        give(target, code, public_key);
        give(target, code, private_key);
    }
    code
}

pub(super) unsafe extern "C" fn copy_object(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    copy: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    let code = behind!(target, C_CopyObject(session, target.real(object), attributes, count, copy));
    // SAFETY: written only when the call succeeded, and then `copy` was valid.
    unsafe { give(target, code, copy) };
    code
}

/// Replaces the handle that the module behind returned by the one to give.
///
/// # Safety
/// If `code` is CKR_OK, `object` is a place for a handle, and holds one.
unsafe fn give(target: &Target, code: CK_RV, object: *mut CK_OBJECT_HANDLE) {
    if code == CKR_OK {
        // SAFETY: the caller's promise.
        unsafe { *object = target.made(*object) };
    }
}

pub(super) unsafe extern "C" fn destroy_object(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    let real = target.real(object);
    if target.has(Quirk::UndestroyableKeys)
        && target.attribute(session, real, CKA_CLASS) == CKO_PRIVATE_KEY.to_ne_bytes()
        && target.attribute(session, real, CKA_TOKEN) == [CK_TRUE]
    {
        return CKR_ACTION_PROHIBITED;
    }
    let code = behind!(target, C_DestroyObject(session, real));
    if code == CKR_OK {
        target.objects.lock().numbering.remove(real);
    }
    code
}

pub(super) unsafe extern "C" fn get_attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    behind!(target, C_GetAttributeValue(session, target.real(object), attributes, count))
}

pub(super) unsafe extern "C" fn set_attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    behind!(target, C_SetAttributeValue(session, target.real(object), attributes, count))
}

pub(super) unsafe extern "C" fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    behind!(target, C_SignInit(session, mechanism, target.real(key)))
}

pub(super) unsafe extern "C" fn verify_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let Some(target) = Target::of_this_process() else { return UNLOADED };
    behind!(target, C_VerifyInit(session, mechanism, target.real(key)))
}
