//! `/open-api/generate-schema`: the endpoints as OpenAPI 3.1. Answers are described by their own types, the
//! rest by one table, which a test compares with the routes: bodies are read member by member with the
//! library's messages, so there are no types of them.

mod schemas;
mod table;

use serde_json::Value;
use table::{Body, ENDPOINTS, Endpoint, Member, Reply};
use utoipa::openapi::{
    Content, InfoBuilder, LicenseBuilder, OpenApiBuilder, Paths, Ref, RefOr, Required, Response,
    ResponseBuilder, Schema, SecurityRequirement, Server, Type,
    path::{Operation, OperationBuilder, Parameter, ParameterBuilder},
    request_body::{RequestBody, RequestBodyBuilder},
    schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder},
};

use crate::{api::BASE, origin::Origin};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The version that the library's server names; utoipa names the same without its corrections.
const VERSION: &str = "3.1.1";

/// The whole document.
pub(crate) fn document(server: &Origin) -> Value {
    let mut paths = Paths::new();
    for endpoint in ENDPOINTS {
        let methods = vec![endpoint.method.clone()];
        paths.add_path_operation(endpoint.path, methods, operation(endpoint));
    }
    let license = LicenseBuilder::new()
        .name("MIT OR Apache-2.0")
        .identifier(Some("MIT OR Apache-2.0"))
        .build();
    let info = InfoBuilder::new()
        .title("hsmd-accounts")
        .description(Some("E-mail and password accounts, sessions and JWTs"))
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(license));
    let document = OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([Server::new(format!("{}{BASE}", server.as_str()))]))
        .paths(paths)
        .components(Some(schemas::components(server.is_https())))
        .build();
    // Names and texts: nothing of it can't be written.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(version) = document.get_mut("openapi") {
        *version = VERSION.into();
    }
    document
}

/// The paths that are described, for the test.
#[cfg(test)]
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    ENDPOINTS.iter().map(|endpoint| endpoint.path)
}

fn operation(endpoint: &Endpoint) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(endpoint.id))
        .summary(Some(endpoint.summary))
        .request_body(request(&endpoint.body));
    for (member, place) in endpoint.parameters {
        operation = operation.parameter(parameter(member, place.clone()));
    }
    if endpoint.session {
        operation = operation.security(SecurityRequirement::new(schemas::SESSION, [""; 0]));
        operation = operation.response("401", failure("There is no session"));
    }
    let limited = "A limit is reached; Retry-After says when to come again";
    let away = "A part that is needed does not answer now";
    for (status, description) in [("429", limited), ("503", away)].iter().chain(endpoint.errors) {
        operation = operation.response(*status, failure(description));
    }
    let (status, answer) = answer(&endpoint.reply);
    operation.response(status, answer).build()
}

fn parameter(member: &Member, place: utoipa::openapi::path::ParameterIn) -> Parameter {
    ParameterBuilder::new()
        .name(member.name)
        .parameter_in(place)
        .required(required(member.required))
        .schema(Some(of_type(member.kind.clone())))
        .build()
}

fn request(body: &Body) -> Option<RequestBody> {
    let (members, types) = match body {
        Body::None => return None,
        Body::Json(members) => (members, &[JSON][..]),
        Body::Login(members) => (members, &[JSON, FORM][..]),
    };
    let mut schema = ObjectBuilder::new();
    for member in *members {
        schema = schema.property(member.name, of_type(member.kind.clone()));
        if member.required {
            schema = schema.required(member.name);
        }
    }
    let schema: Schema = schema.build().into();
    let mut request = RequestBodyBuilder::new();
    for media in types {
        request = request.content(*media, Content::new(Some(schema.clone())));
    }
    let needed = members.iter().any(|member| member.required);
    Some(request.required(Some(required(needed))).build())
}

/// What comes back when all is well.
fn answer(reply: &Reply) -> (&'static str, Response) {
    let json = |schema: RefOr<Schema>| {
        ResponseBuilder::new().description("Done").content(JSON, Content::new(Some(schema))).build()
    };
    match reply {
        Reply::One(name) => ("200", json(refer(name))),
        Reply::OneOrNull(name) => {
            let either = AnyOfBuilder::new().item(refer(name)).item(of_type(Type::Null));
            ("200", json(Schema::AnyOf(either.build()).into()))
        }
        Reply::List(name) => {
            ("200", json(Schema::from(ArrayBuilder::new().items(refer(name)).build()).into()))
        }
        Reply::Html => {
            let page = Content::new(Some(of_type(Type::String)));
            let page = ResponseBuilder::new().description("A page").content("text/html", page);
            ("200", page.build())
        }
        Reply::Redirect => ("302", Response::new("On to the page that the link names")),
    }
}

fn failure(description: &str) -> Response {
    let error = Content::new(Some(refer("Error")));
    ResponseBuilder::new().description(description).content(JSON, error).build()
}

fn refer(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

fn of_type(kind: Type) -> Schema {
    ObjectBuilder::new().schema_type(kind).build().into()
}

fn required(needed: bool) -> Required {
    if needed { Required::True } else { Required::False }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document_of(server: &str) -> Value {
        document(&Origin::try_from(server.to_owned()).unwrap())
    }

    #[test]
    fn the_cookie_is_called_as_browsers_get_it() {
        for (server, name) in [
            ("https://accounts.example.com", "__Secure-better-auth.session_token"),
            ("http://127.0.0.1:8031", "better-auth.session_token"),
        ] {
            let scheme = &document_of(server)["components"]["securitySchemes"][schemas::SESSION];
            assert_eq!(scheme["name"], name);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document_of("https://accounts.example.com");
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
        assert_eq!(document["openapi"], VERSION);
        let ids: std::collections::BTreeSet<_> = ENDPOINTS.iter().map(|it| it.id).collect();
        assert_eq!(ids.len(), ENDPOINTS.len(), "each operation has a name of its own");
    }

    #[test]
    fn bodies_say_what_they_need() {
        let document = document_of("https://accounts.example.com");
        let body = &document["paths"]["/sign-up/email"]["post"]["requestBody"];
        assert_eq!(body["required"], true);
        let schema = &body["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["name", "email", "password"]));
        assert!(document["paths"]["/sign-out"]["post"].get("requestBody").is_none());
        assert_eq!(document["servers"][0]["url"], "https://accounts.example.com/api/auth");
    }

    /// What is described is what is written: the members, and which of them are always there.
    #[test]
    fn answers_are_described_by_their_types() {
        let document = document_of("https://accounts.example.com");
        let schemas = &document["components"]["schemas"];
        let required = |name: &str| {
            let list = schemas[name]["required"].as_array().unwrap();
            list.iter()
                .map(|name| name.as_str().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        };
        let user = ["createdAt", "email", "emailVerified", "id", "image", "name", "updatedAt"];
        assert!(required("User").into_iter().eq(user), "{}", schemas["User"]);
        assert_eq!(schemas["User"]["properties"]["image"]["type"], json!(["string", "null"]));
        assert!(required("SignedIn").into_iter().eq(["token", "user"]), "{}", schemas["SignedIn"]);
        assert!(schemas["Session"]["properties"].get("remember").is_none());
        assert_eq!(schemas["Time"]["format"], "date-time");
    }
}
