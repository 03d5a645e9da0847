//! A plain HTTP client, and a browser's part: a jar of cookies and an origin.

use serde_json::{Value, json};
use ureq::{
    Agent,
    http::{HeaderMap, Request, Response, header},
};

use crate::stack::PAGE;

/// Speaks to one replica and interprets nothing.
#[derive(Clone)]
pub(crate) struct Http {
    agent: Agent,
    pub(crate) url: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Http {
    pub(crate) fn new(url: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
        Self { agent: config.into(), url: url.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// Below `/api/auth`, from a trusted page.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("origin", PAGE)];
        self.send("POST", &format!("/api/auth{path}"), &headers, Some(&body.to_string()))
    }

    /// Anything. An answer that does not come has status 0.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body.to_owned()).expect("a request")),
            None => self.agent.run(request.body(()).expect("a request")),
        };
        match answer {
            Ok(response) => Answer::of(response),
            Err(_) => Answer { status: 0, headers: HeaderMap::new(), body: String::new() },
        }
    }
}

impl Answer {
    fn of(response: Response<ureq::Body>) -> Self {
        let (parts, mut body) = response.into_parts();
        let body = body.read_to_string().unwrap_or_default();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A member by its path, like `/user/id`.
    pub(crate) fn at(&self, pointer: &str) -> String {
        match self.json().pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => panic!("no {pointer} in {self:?}"),
        }
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        let lines = self.headers.get_all(header::SET_COOKIE).iter();
        lines.map(|line| line.to_str().expect("text")).collect()
    }

    /// Whether it makes the browser forget its session: the three lines.
    pub(crate) fn clears(&self) -> bool {
        let cleared = |line: &&&str| line.contains("=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax");
        self.cookies().iter().filter(cleared).count() == 3
    }

    /// The pair that a browser sends back.
    pub(crate) fn session_cookie(&self) -> String {
        let pairs = self.cookies().into_iter().filter_map(|line| line.split(';').next());
        let mut sessions =
            pairs.filter(|pair| pair.contains("session_token=") && !pair.ends_with('='));
        sessions.next().unwrap_or_else(|| panic!("no session in {self:?}")).to_owned()
    }
}

/// A user with a session.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) http: Http,
    pub(crate) cookie: String,
}

pub(crate) const PASSWORD: &str = "correct horse";

impl Browser {
    pub(crate) fn sign_up(http: &Http, email: &str) -> Self {
        let body = json!({"name": "Ann", "email": email, "password": PASSWORD});
        let answer = http.post("/sign-up/email", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { http: http.clone(), cookie: answer.session_cookie() }
    }

    pub(crate) fn sign_in(http: &Http, email: &str, password: &str) -> Option<Self> {
        let body = json!({"email": email, "password": password});
        let answer = http.post("/sign-in/email", &body);
        (answer.status == 200).then(|| Self { http: http.clone(), cookie: answer.session_cookie() })
    }

    /// Its session cookie's token and secret.
    pub(crate) fn parts(&self) -> (&str, &str) {
        let (_, value) = self.cookie.split_once('=').expect("a value");
        value.split_once('.').expect("two parts")
    }

    /// The same browser with another cookie.
    pub(crate) fn with(&self, value: &str) -> Self {
        Self { cookie: format!("better-auth.session_token={value}"), ..self.clone() }
    }

    /// The same browser at another replica.
    pub(crate) fn at(&self, http: &Http) -> Self {
        Self { http: http.clone(), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let cookie = self.cookie.as_str();
        self.http.send("GET", &format!("/api/auth{path}"), &[("cookie", cookie)], None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let headers =
            [("content-type", "application/json"), ("origin", PAGE), ("cookie", &self.cookie)];
        let path = format!("/api/auth{path}");
        self.http.send("POST", &path, &headers, Some(&body.to_string()))
    }

    /// Whether its session is good.
    pub(crate) fn is_signed_in(&self) -> bool {
        let answer = self.get("/get-session");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body != "null"
    }

    /// A JWT of its user.
    pub(crate) fn token(&self) -> String {
        let answer = self.get("/token");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.at("/token")
    }
}
