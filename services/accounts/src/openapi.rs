//! `/open-api/generate-schema`: the endpoints as OpenAPI 3.1, from one table. A test compares it with
//! the routes.
//!
//! The table names members and answers as the endpoints read and write them; deriving it would need types
//! that exist for that alone, since bodies are read member by member with the library's messages.

mod table;

use serde_json::{Map, Value, json};
use table::{Body, ENDPOINTS, Endpoint, Member, Reply};

use crate::api::BASE;

/// The whole document.
pub(crate) fn document(server: &str) -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(endpoint.method.to_owned(), operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "hsmd-accounts",
            "description": "E-mail and password accounts, sessions and JWTs",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": format!("{server}{BASE}") }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": "better-auth.session_token" },
            },
        },
    })
}

/// The paths with their methods, for the test.
#[cfg(test)]
pub(crate) fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    ENDPOINTS.iter().map(|endpoint| (endpoint.method, endpoint.path))
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut operation = json!({
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "responses": responses(endpoint),
    });
    let parameters: Vec<_> = endpoint.parameters.iter().map(parameter).collect();
    if let Value::Object(members) = &mut operation {
        if !parameters.is_empty() {
            members.insert("parameters".to_owned(), parameters.into());
        }
        if endpoint.session {
            members.insert("security".to_owned(), json!([{ "session": [] }]));
        }
        if let Some(body) = request(&endpoint.body) {
            members.insert("requestBody".to_owned(), body);
        }
    }
    operation
}

fn parameter((member, place): &(Member, &str)) -> Value {
    json!({
        "name": member.name,
        "in": place,
        "required": member.required,
        "schema": { "type": member.kind },
    })
}

fn request(body: &Body) -> Option<Value> {
    let (members, types) = match body {
        Body::None => return None,
        Body::Json(members) => (members, &["application/json"][..]),
        Body::Login(members) => {
            (members, &["application/json", "application/x-www-form-urlencoded"][..])
        }
    };
    let properties: Map<_, _> = members
        .iter()
        .map(|member| (member.name.to_owned(), json!({ "type": member.kind })))
        .collect();
    let required: Vec<_> =
        members.iter().filter(|member| member.required).map(|member| member.name).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let content: Map<_, _> =
        types.iter().map(|&media| (media.to_owned(), json!({ "schema": schema }))).collect();
    Some(json!({ "required": !required.is_empty(), "content": content }))
}

fn responses(endpoint: &Endpoint) -> Value {
    let refer = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let good = match endpoint.reply {
        Reply::One(name) => json!({ "description": "Done", "content": content(refer(name)) }),
        Reply::OneOrNull(name) => {
            let schema = json!({ "anyOf": [refer(name), { "type": "null" }] });
            json!({ "description": "Done", "content": content(schema) })
        }
        Reply::List(name) => {
            let schema = json!({ "type": "array", "items": refer(name) });
            json!({ "description": "Done", "content": content(schema) })
        }
        Reply::Html => json!({
            "description": "A page",
            "content": { "text/html": { "schema": { "type": "string" } } },
        }),
        Reply::Redirect => json!({ "description": "On to the page that the link names" }),
    };
    let status = if matches!(endpoint.reply, Reply::Redirect) { "302" } else { "200" };
    let mut responses = Map::new();
    responses.insert(status.to_owned(), good);
    let mut errors = vec![("429", "A limit is reached; Retry-After says when to come again")];
    errors.push(("503", "A part that is needed does not answer now"));
    errors.extend(endpoint.errors);
    if endpoint.session {
        errors.push(("401", "There is no session"));
    }
    for (status, description) in errors {
        let error = json!({ "description": description, "content": content(refer("Error")) });
        responses.insert(status.to_owned(), error);
    }
    responses.into()
}

fn schemas() -> Value {
    let object = |members: &[(&str, Value)]| {
        let properties: Map<_, _> =
            members.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
        let required: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    };
    let optional = |mut schema: Value, names: &[&str]| {
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|name| !names.iter().any(|optional| name == optional));
        }
        schema
    };
    let text = || json!({ "type": "string" });
    let time = || json!({ "type": "string", "format": "date-time" });
    let truth = || json!({ "type": "boolean" });
    let nullable = || json!({ "type": ["string", "null"] });
    let refer = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let signed_in = object(&[
        ("redirect", truth()),
        ("token", nullable()),
        ("url", text()),
        ("user", refer("User")),
        ("session", refer("Session")),
    ]);
    let jwk = object(&[
        ("kty", json!({ "const": "EC" })),
        ("crv", json!({ "const": "P-256" })),
        ("x", text()),
        ("y", text()),
        ("alg", json!({ "const": "ES256" })),
        ("use", json!({ "const": "sig" })),
        ("kid", text()),
        ("hsmd", json!({ "type": "object", "description": "The HSM's endorsement of the key" })),
    ]);
    json!({
        "User": object(&[
            ("id", text()), ("name", text()), ("email", json!({ "type": "string", "format": "email" })),
            ("emailVerified", truth()), ("image", nullable()),
            ("createdAt", time()), ("updatedAt", time()),
        ]),
        "Session": object(&[
            ("id", text()), ("token", text()), ("userId", text()), ("expiresAt", time()),
            ("createdAt", time()), ("updatedAt", time()), ("ipAddress", text()), ("userAgent", text()),
        ]),
        "SignedIn": optional(signed_in, &["redirect", "url", "session"]),
        "Current": object(&[("session", refer("Session")), ("user", refer("User"))]),
        "Account": object(&[
            ("id", text()), ("accountId", text()), ("providerId", text()), ("userId", text()),
            ("createdAt", time()), ("updatedAt", time()),
            ("scopes", json!({ "type": "array", "items": text() })),
        ]),
        "Status": optional(
            object(&[("status", truth()), ("message", text()), ("user", json!({}))]),
            &["message", "user"],
        ),
        "Success": optional(object(&[("success", truth()), ("message", text())]), &["message"]),
        "Token": object(&[("token", text())]),
        "Jwks": object(&[("keys", json!({ "type": "array", "items": jwk }))]),
        "Ok": object(&[("ok", truth())]),
        "Document": { "type": "object" },
        "Error": optional(
            object(&[("message", text()), ("code", text()), ("error", text()), ("requestId", text())]),
            &["code", "requestId"],
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("https://accounts.example.com");
        let text = document.to_string();
        let names: Vec<_> = text
            .split("\"#/components/schemas/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(names.len() > 40);
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        let ids: std::collections::BTreeSet<_> = ENDPOINTS.iter().map(|it| it.id).collect();
        assert_eq!(ids.len(), ENDPOINTS.len(), "each operation has a name of its own");
    }

    #[test]
    fn bodies_say_what_they_need() {
        let document = document("https://accounts.example.com");
        let body = &document["paths"]["/sign-up/email"]["post"]["requestBody"];
        assert_eq!(body["required"], true);
        let schema = &body["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["name", "email", "password"]));
        assert!(document["paths"]["/sign-out"]["post"].get("requestBody").is_none());
        assert_eq!(document["servers"][0]["url"], "https://accounts.example.com/api/auth");
    }
}
