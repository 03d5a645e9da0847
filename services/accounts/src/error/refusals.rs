//! The refusals with the library's codes and texts.

use axum::http::StatusCode;

use super::Refusal;

macro_rules! refusals {
    ($($name:ident = $status:ident, $code:expr, $message:literal;)*) => {
        $(pub(crate) const $name: Refusal =
            Refusal { status: StatusCode::$status, code: $code, message: $message };)*
    };
}

refusals! {
    UNAUTHORIZED = UNAUTHORIZED, Some("UNAUTHORIZED"), "Unauthorized";
    INVALID_JSON = BAD_REQUEST, Some("BAD_REQUEST"), "Invalid JSON in request body";
    TOO_LARGE = PAYLOAD_TOO_LARGE, Some("PAYLOAD_TOO_LARGE"), "Request body is too large";
    INVALID_ORIGIN = FORBIDDEN, Some("INVALID_ORIGIN"), "Invalid origin";
    MISSING_ORIGIN = FORBIDDEN, Some("MISSING_OR_NULL_ORIGIN"), "Missing or null Origin";
    CROSS_SITE_LOGIN = FORBIDDEN, Some("CROSS_SITE_NAVIGATION_LOGIN_BLOCKED"),
        "Cross-site navigation login blocked. This request appears to be a CSRF attack.";
    INVALID_CALLBACK = FORBIDDEN, Some("INVALID_CALLBACK_URL"), "Invalid callbackURL";
    INVALID_REDIRECT = FORBIDDEN, Some("INVALID_REDIRECT_URL"), "Invalid redirectURL";
    USER_EXISTS = UNPROCESSABLE_ENTITY, Some("USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"),
        "User already exists. Use another email.";
    SIGN_UP_DISABLED = BAD_REQUEST, Some("EMAIL_PASSWORD_SIGN_UP_DISABLED"),
        "Email and password sign up is not enabled";
    PASSWORD_TOO_SHORT = BAD_REQUEST, Some("PASSWORD_TOO_SHORT"), "Password too short";
    PASSWORD_TOO_LONG = BAD_REQUEST, Some("PASSWORD_TOO_LONG"), "Password too long";
    INVALID_CREDENTIALS = UNAUTHORIZED, Some("INVALID_EMAIL_OR_PASSWORD"), "Invalid email or password";
    INVALID_EMAIL = BAD_REQUEST, Some("INVALID_EMAIL"), "Invalid email";
    EMAIL_NOT_VERIFIED = FORBIDDEN, Some("EMAIL_NOT_VERIFIED"), "Email not verified";
    DEFERRED_SESSION = METHOD_NOT_ALLOWED, Some("METHOD_NOT_ALLOWED_DEFER_SESSION_REQUIRED"),
        "POST method requires deferSessionRefresh to be enabled in session config";
    INVALID_PASSWORD = BAD_REQUEST, Some("INVALID_PASSWORD"), "Invalid password";
    EMAIL_FIXED = BAD_REQUEST, Some("EMAIL_CAN_NOT_BE_UPDATED"), "Email can not be updated";
    NO_FIELDS = BAD_REQUEST, None, "No fields to update";
    SESSION_EXPIRED = BAD_REQUEST, Some("SESSION_EXPIRED"),
        "Session expired. Re-authenticate to perform this action.";
    RESET_DISABLED = BAD_REQUEST, Some("RESET_PASSWORD_DISABLED"), "Reset password isn't enabled";
    INVALID_TOKEN = BAD_REQUEST, Some("INVALID_TOKEN"), "Invalid token";
    INVALID_VERIFICATION = UNAUTHORIZED, Some("INVALID_TOKEN"), "Invalid token";
    EXPIRED_VERIFICATION = UNAUTHORIZED, Some("TOKEN_EXPIRED"), "Token expired";
    USER_NOT_FOUND = UNAUTHORIZED, Some("USER_NOT_FOUND"), "User not found";
    INVALID_USER = UNAUTHORIZED, Some("INVALID_USER"), "Invalid user";
    INVALID_DELETE_TOKEN = NOT_FOUND, Some("INVALID_TOKEN"), "Invalid token";
    NO_USER_INFO = NOT_FOUND, Some("FAILED_TO_GET_USER_INFO"), "Failed to get user info";
    VERIFICATION_DISABLED = BAD_REQUEST, Some("VERIFICATION_EMAIL_NOT_ENABLED"),
        "Verification email isn't enabled";
    EMAIL_MISMATCH = BAD_REQUEST, Some("EMAIL_MISMATCH"), "Email mismatch";
    ALREADY_VERIFIED = BAD_REQUEST, Some("EMAIL_ALREADY_VERIFIED"), "Email is already verified";
    CHANGE_DISABLED = BAD_REQUEST, Some("CHANGE_EMAIL_DISABLED"), "Change email is disabled";
    SAME_EMAIL = BAD_REQUEST, None, "Email is the same";
}
