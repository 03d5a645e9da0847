//! The named schemas: what answers are made of.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ComponentsBuilder, KnownFormat, Object, RefOr, Schema, SchemaFormat, Type,
        schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType},
        security::{ApiKey, ApiKeyValue, SecurityScheme},
    },
};

use super::{of_type, refer};
use crate::{
    api::{Account, Current, SignedIn, session_name},
    sessions::Session,
    time::Time,
    users::User,
};

/// How a request shows its session.
pub(super) const SESSION: &str = "session";

/// `secure`: browsers come by TLS.
pub(super) fn components(secure: bool) -> Components {
    let jwks = ObjectBuilder::new()
        .property("keys", ArrayBuilder::new().items(RefOr::T(Schema::from(jwk()))).build())
        .required("keys");
    let cookie = ApiKeyValue::new(session_name(secure));
    ComponentsBuilder::new()
        .schema_from::<User>()
        .schema_from::<Session>()
        .schema_from::<SignedIn<'_>>()
        .schema_from::<Current<'_>>()
        .schema_from::<Account>()
        .schema("Time", Time::schema())
        .schema("Status", object(&[("status", Type::Boolean)], &[("message", Type::String)]))
        .schema("Success", object(&[("success", Type::Boolean)], &[("message", Type::String)]))
        .schema("Verified", verified())
        .schema("Token", object(&[("token", Type::String)], &[]))
        .schema("Jwks", jwks.build())
        .schema("Ok", object(&[("ok", Type::Boolean)], &[]))
        .schema("Document", of_type(Type::Object))
        .schema(
            "Error",
            object(
                &[("message", Type::String), ("error", Type::String)],
                &[("code", Type::String), ("requestId", Type::String)],
            ),
        )
        .security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)))
        .build()
}

/// An object of members that are always there, and of such that may be.
fn object(always: &[(&str, Type)], perhaps: &[(&str, Type)]) -> Object {
    let mut object = ObjectBuilder::new();
    for (name, kind) in always.iter().chain(perhaps) {
        object = object.property(*name, of_type(kind.clone()));
    }
    for (name, _) in always {
        object = object.required(*name);
    }
    object.build()
}

/// The user is there when the link has changed something of theirs, and `null` when it need not.
fn verified() -> Object {
    let user = AnyOfBuilder::new().item(refer("User")).item(of_type(Type::Null)).build();
    ObjectBuilder::new()
        .property("status", of_type(Type::Boolean))
        .required("status")
        .property("user", Schema::from(user))
        .build()
}

/// One member of `keys`.
fn jwk() -> Object {
    let one =
        |value: &str| ObjectBuilder::new().schema_type(Type::String).enum_values(Some([value]));
    let hsmd = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("The HSM's endorsement of the key"));
    let mut jwk = ObjectBuilder::new()
        .property("kty", one("EC").build())
        .property("crv", one("P-256").build())
        .property("alg", one("ES256").build())
        .property("use", one("sig").build())
        .property("hsmd", hsmd.build());
    for name in ["x", "y", "kid"] {
        jwk = jwk.property(name, of_type(Type::String));
    }
    for name in ["kty", "crv", "x", "y", "alg", "use", "kid", "hsmd"] {
        jwk = jwk.required(name);
    }
    jwk.build()
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
        RefOr::T(text.format(Some(format)).build().into())
    }
}

impl ToSchema for Time {}
