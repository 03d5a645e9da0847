//! What each PKCS#11 return code asks for: the table of error classes.

use cryptoki::error::RvError;

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request was wrong; the session is as good as before.
    Caller,
    /// The session is lost: open another, log in, find the keys again.
    Session,
    /// The module or the device is lost: `C_Finalize` and `C_Initialize`.
    Device,
    /// Trying again would do harm or nothing: wait for a person.
    Fatal,
}

/// The class of each return code, without a default: a code that cryptoki learns has to be placed here.
///
/// What we ask of a token is always the same, so most codes of the caller's class say that the token
/// can't do what hsmd needs. Codes without a name here, vendors' own and those after v2.40, are taken
/// for the device's: reopening everything is the one cure that covers them.
pub fn classify(rv: &RvError) -> Class {
    use RvError as R;
    match rv {
        R::ActionProhibited
        | R::ArgumentsBad
        | R::AttributeReadOnly
        | R::AttributeSensitive
        | R::AttributeTypeInvalid
        | R::AttributeValueInvalid
        | R::CurveNotSupported
        | R::DataInvalid
        | R::DataLenRange
        | R::DomainParamsInvalid
        | R::EncryptedDataInvalid
        | R::EncryptedDataLenRange
        | R::ExceededMaxIterations
        | R::FunctionNotParallel
        | R::FunctionNotSupported
        | R::FunctionRejected
        | R::InformationSensitive
        | R::KeyFunctionNotPermitted
        | R::KeyIndigestible
        | R::KeyNotWrappable
        | R::KeySizeRange
        | R::KeyTypeInconsistent
        | R::KeyUnextractable
        | R::MechanismInvalid
        | R::MechanismParamInvalid
        | R::NoEvent
        | R::PublicKeyInvalid
        | R::RandomSeedNotSupported
        | R::SavedStateInvalid
        | R::SignatureInvalid
        | R::SignatureLenRange
        | R::StateUnsaveable
        | R::TemplateIncomplete
        | R::TemplateInconsistent
        | R::TokenWriteProtected
        | R::UnwrappingKeyHandleInvalid
        | R::UnwrappingKeySizeRange
        | R::UnwrappingKeyTypeInconsistent
        | R::WrappedKeyInvalid
        | R::WrappedKeyLenRange
        | R::WrappingKeyHandleInvalid
        | R::WrappingKeySizeRange
        | R::WrappingKeyTypeInconsistent => Class::Caller,

        // A buffer that was too small and an operation that was cancelled leave the session in the
        // middle of an operation; a device that is out of memory gets back what the session held.
        R::BufferTooSmall
        | R::Cancel
        | R::DeviceMemory
        | R::FunctionCanceled
        | R::KeyChanged
        | R::KeyHandleInvalid
        | R::KeyNeeded
        | R::KeyNotNeeded
        | R::ObjectHandleInvalid
        | R::OperationActive
        | R::OperationNotInitialized
        | R::SessionClosed
        | R::SessionCount
        | R::SessionExists
        | R::SessionHandleInvalid
        | R::SessionParallelNotSupported
        | R::SessionReadOnly
        | R::SessionReadOnlyExists
        | R::SessionReadWriteSoExists
        | R::UserAlreadyLoggedIn
        | R::UserAnotherAlreadyLoggedIn
        | R::UserNotLoggedIn
        | R::UserTooManyTypes => Class::Session,

        R::CantLock
        | R::CryptokiAlreadyInitialized
        | R::CryptokiNotInitialized
        | R::DeviceError
        | R::DeviceRemoved
        | R::FipsSelfTestFailed
        | R::FunctionFailed
        | R::GeneralError
        | R::HostMemory
        | R::LibraryLoadFailed
        | R::MutexBad
        | R::MutexNotLocked
        | R::NeedToCreateThreads
        | R::RandomNoRng
        | R::SlotIdInvalid
        | R::TokenNotPresent
        | R::TokenNotRecognized
        | R::UnknownErrorCode(_)
        | R::VendorDefined(_) => Class::Device,

        R::NewPinMode
        | R::NextOtp
        | R::PinExpired
        | R::PinIncorrect
        | R::PinInvalid
        | R::PinLenRange
        | R::PinLocked
        | R::PinTooWeak
        | R::UserPinNotInitialized
        | R::UserTypeInvalid => Class::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::error::Rv;

    use super::*;
    use crate::token::error::ckr;

    /// Every code of the specification that has a name, in its class.
    #[rustfmt::skip]
    const TABLE: [(Class, &str); 4] = [
        (Class::Caller, "
            CKR_ACTION_PROHIBITED CKR_ARGUMENTS_BAD CKR_ATTRIBUTE_READ_ONLY CKR_ATTRIBUTE_SENSITIVE
            CKR_ATTRIBUTE_TYPE_INVALID CKR_ATTRIBUTE_VALUE_INVALID CKR_CURVE_NOT_SUPPORTED
            CKR_DATA_INVALID CKR_DATA_LEN_RANGE CKR_DOMAIN_PARAMS_INVALID CKR_ENCRYPTED_DATA_INVALID
            CKR_ENCRYPTED_DATA_LEN_RANGE CKR_EXCEEDED_MAX_ITERATIONS CKR_FUNCTION_NOT_PARALLEL
            CKR_FUNCTION_NOT_SUPPORTED CKR_FUNCTION_REJECTED CKR_INFORMATION_SENSITIVE
            CKR_KEY_FUNCTION_NOT_PERMITTED CKR_KEY_INDIGESTIBLE CKR_KEY_NOT_WRAPPABLE
            CKR_KEY_SIZE_RANGE CKR_KEY_TYPE_INCONSISTENT CKR_KEY_UNEXTRACTABLE CKR_MECHANISM_INVALID
            CKR_MECHANISM_PARAM_INVALID CKR_NO_EVENT CKR_PUBLIC_KEY_INVALID
            CKR_RANDOM_SEED_NOT_SUPPORTED CKR_SAVED_STATE_INVALID CKR_SIGNATURE_INVALID
            CKR_SIGNATURE_LEN_RANGE CKR_STATE_UNSAVEABLE CKR_TEMPLATE_INCOMPLETE
            CKR_TEMPLATE_INCONSISTENT CKR_TOKEN_WRITE_PROTECTED CKR_UNWRAPPING_KEY_HANDLE_INVALID
            CKR_UNWRAPPING_KEY_SIZE_RANGE CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT CKR_WRAPPED_KEY_INVALID
            CKR_WRAPPED_KEY_LEN_RANGE CKR_WRAPPING_KEY_HANDLE_INVALID CKR_WRAPPING_KEY_SIZE_RANGE
            CKR_WRAPPING_KEY_TYPE_INCONSISTENT
        "),
        (Class::Session, "
            CKR_BUFFER_TOO_SMALL CKR_CANCEL CKR_DEVICE_MEMORY CKR_FUNCTION_CANCELED CKR_KEY_CHANGED
            CKR_KEY_HANDLE_INVALID CKR_KEY_NEEDED CKR_KEY_NOT_NEEDED CKR_OBJECT_HANDLE_INVALID
            CKR_OPERATION_ACTIVE CKR_OPERATION_NOT_INITIALIZED CKR_SESSION_CLOSED CKR_SESSION_COUNT
            CKR_SESSION_EXISTS CKR_SESSION_HANDLE_INVALID CKR_SESSION_PARALLEL_NOT_SUPPORTED
            CKR_SESSION_READ_ONLY CKR_SESSION_READ_ONLY_EXISTS CKR_SESSION_READ_WRITE_SO_EXISTS
            CKR_USER_ALREADY_LOGGED_IN CKR_USER_ANOTHER_ALREADY_LOGGED_IN CKR_USER_NOT_LOGGED_IN
            CKR_USER_TOO_MANY_TYPES
        "),
        (Class::Device, "
            CKR_CANT_LOCK CKR_CRYPTOKI_ALREADY_INITIALIZED CKR_CRYPTOKI_NOT_INITIALIZED
            CKR_DEVICE_ERROR CKR_DEVICE_REMOVED CKR_FIPS_SELF_TEST_FAILED
            CKR_FUNCTION_FAILED CKR_GENERAL_ERROR CKR_HOST_MEMORY CKR_LIBRARY_LOAD_FAILED
            CKR_MUTEX_BAD CKR_MUTEX_NOT_LOCKED CKR_NEED_TO_CREATE_THREADS CKR_RANDOM_NO_RNG
            CKR_SLOT_ID_INVALID CKR_TOKEN_NOT_PRESENT CKR_TOKEN_NOT_RECOGNIZED
        "),
        (Class::Fatal, "
            CKR_NEW_PIN_MODE CKR_NEXT_OTP CKR_PIN_EXPIRED CKR_PIN_INCORRECT CKR_PIN_INVALID
            CKR_PIN_LEN_RANGE CKR_PIN_LOCKED CKR_PIN_TOO_WEAK CKR_USER_PIN_NOT_INITIALIZED
            CKR_USER_TYPE_INVALID
        "),
    ];

    #[test]
    fn every_code_has_the_class_that_cures_it() {
        let mut table: Vec<_> = TABLE
            .iter()
            .flat_map(|(class, names)| names.split_whitespace().map(|name| (name.into(), *class)))
            .collect();
        table.sort_by(|a: &(String, Class), b| a.0.cmp(&b.0));
        // The codes of v2.40 end at 0x200; cryptoki names each that the specification names.
        let mut named = Vec::new();
        for code in 1..=0x200 {
            match Rv::from(code) {
                Rv::Error(rv @ RvError::UnknownErrorCode(_)) => {
                    assert_eq!(classify(&rv), Class::Device);
                }
                Rv::Error(rv) => named.push((ckr(&rv), classify(&rv))),
                Rv::Ok => unreachable!("0 is CKR_OK"),
            }
        }
        named.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(named, table);
    }

    #[test]
    fn codes_without_a_name_are_the_devices() {
        // CKR_TOKEN_RESOURCE_EXCEEDED and CKR_TOKEN_NOT_INITIALIZED of v3, and vendors' own.
        for code in [0x201, 0x208, 0x8000_0000, 0x8000_0001, 0xffff_ffff] {
            let Rv::Error(rv) = Rv::from(code) else { unreachable!("0 is CKR_OK") };
            assert_eq!(classify(&rv), Class::Device, "{code:#x}");
        }
    }
}
