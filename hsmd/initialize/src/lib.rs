//! `C_Initialize` with the string that some modules want in the reserved field of its arguments: NSS
//! (`configdir='sql:/…'`) and yubihsm_pkcs11 (`connector=http://…`).
//!
//! A crate of its own because this needs the one `unsafe` block of what is shipped, so that all others
//! can forbid it.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error;

/// Initialises a module that may use the system's locks; `reserved` is the module's own string.
///
/// # Errors
/// `C_Initialize` fails.
pub fn initialize(module: &Pkcs11, reserved: Option<&CStr>) -> Result<(), Error> {
    let flags = CInitializeFlags::OS_LOCKING_OK;
    let Some(reserved) = reserved else {
        return module.initialize(CInitializeArgs::new(flags));
    };
    let pointer = NonNull::from(reserved).cast::<c_void>();
    #[expect(unsafe_code, reason = "cryptoki takes the reserved string as a pointer only")]
    // SAFETY: the pointer is to a string that ends with a zero byte, which is what the modules that
    // look at this field read there; others must refuse a value that is not null. It outlives the call,
    // and modules copy what they keep.
    let arguments = unsafe { CInitializeArgs::new_with_reserved(flags, pointer) };
    module.initialize(arguments)
}
