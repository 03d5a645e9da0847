//! The members of a body, with the library's words for what is wrong with them.

use serde_json::{Map, Value};

use crate::{
    error::{ApiError, INVALID_CALLBACK, INVALID_REDIRECT, Refusal},
    origin::Origins,
    users::is_email,
};

/// The longest texts, in characters.
pub(crate) const NAME: usize = 256;
pub(crate) const URL: usize = 2048;
const TEXT: usize = 4096;

/// The members of one body, and what was found wrong with those that were asked for.
pub(in crate::api) struct Fields<'a> {
    members: &'a Map<String, Value>,
    origins: &'a Origins,
    problems: Vec<String>,
    /// A URL that leads to where no user is sent; checked after the form of all members.
    refused: Option<Refusal>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(members: &'a Map<String, Value>, origins: &'a Origins) -> Self {
        Self { members, origins, problems: Vec::new(), refused: None }
    }

    /// Ends the reading: all problems in one refusal.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if !self.problems.is_empty() {
            return Err(ApiError::Validation(self.problems.join("; ")));
        }
        self.refused.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    pub(in crate::api) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A text that must be there.
    pub(in crate::api) fn string(&mut self, name: &str) -> String {
        self.bounded(name, TEXT)
    }

    /// A password. How long it may be is not a question of form.
    pub(in crate::api) fn password(&mut self, name: &str) -> String {
        self.bounded(name, usize::MAX)
    }

    /// A password that must say something.
    pub(in crate::api) fn filled_password(&mut self, name: &str) -> String {
        let text = self.password(name);
        if self.members.get(name).is_some_and(|value| value.as_str() == Some("")) {
            self.problem(name, "Too small: expected string to have >=1 characters");
        }
        text
    }

    pub(in crate::api) fn name(&mut self) -> String {
        self.bounded("name", NAME)
    }

    /// An address, in lower case.
    pub(in crate::api) fn email(&mut self, name: &str) -> String {
        let known = self.problems.len();
        let text = self.string(name);
        if self.problems.len() == known && !is_email(&text) {
            self.problem(name, "Invalid email address");
        }
        text.to_ascii_lowercase()
    }

    /// A text that may be left out.
    pub(in crate::api) fn optional(&mut self, name: &str) -> Option<String> {
        self.has(name).then(|| self.string(name))
    }

    pub(in crate::api) fn image(&mut self) -> Option<String> {
        self.has("image").then(|| self.bounded("image", URL))
    }

    pub(in crate::api) fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.members.get(name)?;
        if value.as_bool().is_none() {
            self.unexpected(name, "boolean");
        }
        value.as_bool()
    }

    /// What `null` clears: `Some(None)`.
    pub(in crate::api) fn clearable_image(&mut self) -> Option<Option<String>> {
        match self.members.get("image")? {
            Value::Null => Some(None),
            _ => self.image().map(Some),
        }
    }

    /// A text, which may be given as a number.
    pub(in crate::api) fn loose_name(&mut self) -> Option<String> {
        match self.members.get("name")? {
            Value::Number(number) => Some(number.to_string()),
            _ => Some(self.name()),
        }
    }

    /// Where a browser is sent afterwards.
    pub(in crate::api) fn callback(&mut self) -> Option<String> {
        self.url("callbackURL", INVALID_CALLBACK)
    }

    pub(in crate::api) fn redirect(&mut self) -> Option<String> {
        self.url("redirectTo", INVALID_REDIRECT)
    }

    fn url(&mut self, name: &str, refusal: Refusal) -> Option<String> {
        let url = self.optional(name)?;
        if !url.is_empty() && !self.origins.allows_redirect(&url) {
            self.refused.get_or_insert(refusal);
        }
        (!url.is_empty()).then_some(url)
    }

    fn bounded(&mut self, name: &str, longest: usize) -> String {
        let Some(Value::String(text)) = self.members.get(name) else {
            self.unexpected(name, "string");
            return String::new();
        };
        if text.chars().nth(longest).is_some() {
            self.problem(name, &format!("Too big: expected string to have <={longest} characters"));
        }
        // No text of the database's holds it.
        if text.contains('\0') {
            self.problem(name, "Invalid input: U+0000 is not allowed");
        }
        text.clone()
    }

    fn unexpected(&mut self, name: &str, expected: &str) {
        let received = self.members.get(name).map_or("undefined", kind);
        self.problem(name, &format!("Invalid input: expected {expected}, received {received}"));
    }

    fn problem(&mut self, name: &str, text: &str) {
        self.problems.push(format!("[body.{name}] {text}"));
    }
}

/// What is wrong with a body that is no object.
pub(super) fn not_an_object(value: &Value) -> String {
    format!("[body] Invalid input: expected object, received {}", kind(value))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    fn read<T>(json: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, String> {
        let origins =
            Origins::new(Origin::try_from("https://a.example.com".to_owned()).unwrap(), &[]);
        let members: Map<String, Value> = serde_json::from_str(json).unwrap();
        let mut fields = Fields::new(&members, &origins);
        let value = read(&mut fields);
        fields.finish().map(|()| value).map_err(|error| error.to_string())
    }

    #[test]
    fn problems_are_listed_in_the_librarys_words() {
        let sign_up = |json: &str| {
            read(json, |fields| {
                (fields.name(), fields.email("email"), fields.filled_password("password"))
            })
        };
        assert_eq!(
            sign_up("{}").unwrap_err(),
            "[body.name] Invalid input: expected string, received undefined; \
             [body.email] Invalid input: expected string, received undefined; \
             [body.password] Invalid input: expected string, received undefined"
        );
        assert_eq!(
            sign_up(r#"{"name":7,"email":"nope","password":""}"#).unwrap_err(),
            "[body.name] Invalid input: expected string, received number; \
             [body.email] Invalid email address; \
             [body.password] Too small: expected string to have >=1 characters"
        );
        let good = sign_up(r#"{"name":"","email":"A@B.co","password":"x","id":"1"}"#);
        assert_eq!(good.unwrap(), (String::new(), "a@b.co".to_owned(), "x".to_owned()));
        let zero = sign_up(r#"{"name":"a\u0000","email":"a@b.co","password":"x"}"#);
        assert!(zero.unwrap_err().contains("U+0000"));
        let long = format!(r#"{{"name":"{}","email":"a@b.co","password":"x"}}"#, "n".repeat(257));
        assert!(sign_up(&long).unwrap_err().contains("<=256"));
    }

    #[test]
    fn images_and_urls() {
        assert!(read(r#"{"image":null}"#, |it| it.image()).is_err());
        assert_eq!(read(r#"{"image":null}"#, |it| it.clearable_image()), Ok(Some(None)));
        assert_eq!(read("{}", |it| it.clearable_image()), Ok(None));
        assert_eq!(read(r#"{"callbackURL":"/x"}"#, |it| it.callback()), Ok(Some("/x".to_owned())));
        assert_eq!(
            read(r#"{"callbackURL":"//x"}"#, |it| it.callback()).unwrap_err(),
            "Invalid callbackURL"
        );
        assert_eq!(
            read(r#"{"redirectTo":"//x"}"#, |it| it.redirect()).unwrap_err(),
            "Invalid redirectURL"
        );
        assert_eq!(read(r#"{"name":7}"#, |it| it.loose_name()), Ok(Some("7".to_owned())));
    }
}
