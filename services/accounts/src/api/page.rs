//! `/account`: the page where people sign up and in, see their sessions and change their password. HTML
//! from the server, without a script. Its forms go through the endpoints' own functions, so the same
//! rules hold; what they answer becomes a page.

mod device;
mod html;

use askama::Template as _;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION,
            REFERRER_POLICY, SET_COOKIE,
        },
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::{
    Caller,
    answers::cleared,
    body::{Empty, Fields, Form, Posted},
    password::{self, Change},
    sessions::{self, Revoke},
    sign_in::{self, SignIn},
    sign_up::{self, SignUp},
};
use crate::{
    Accounts,
    error::ApiError,
    sessions::{NoSession, list},
};
use html::{Page, View};

/// Where it is.
pub(super) const PAGE: &str = "/account";

/// No script, and nothing from elsewhere. The one image is the empty icon.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("../../assets/account.css");

/// A body as a form of HTML posts it, from this very site.
struct Html<F>(F);

impl<F: Form> Form for Html<F> {
    const LOGIN: bool = true;
    const OPTIONAL: bool = F::OPTIONAL;

    fn read(fields: &mut Fields<'_>) -> Self {
        Self(F::read(fields))
    }
}

/// A posted form, or why it was refused.
type Submitted<F> = Result<Posted<Html<F>>, ApiError>;

pub(super) fn router() -> Router<Accounts> {
    Router::new()
        .route("/account", get(show))
        .route("/account/style.css", get(style))
        .route("/account/sign-up", post(sign_up))
        .route("/account/sign-in", post(sign_in))
        .route("/account/sign-out", post(sign_out))
        .route("/account/revoke", post(revoke))
        .route("/account/revoke-others", post(revoke_others))
        .route("/account/change-password", post(change_password))
}

async fn style() -> Response {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=3600")];
    (headers, STYLE).into_response()
}

async fn show(State(accounts): State<Accounts>, caller: Caller) -> Response {
    view(&accounts, &caller, StatusCode::OK, None).await
}

async fn sign_up(state: State<Accounts>, caller: Caller, form: Submitted<SignUp>) -> Response {
    let answer = async {
        let Posted(Html(form)) = form?;
        sign_up::sign_up(state.clone(), caller.clone(), Posted(form)).await
    };
    let answer = answer.await;
    if answer.is_ok() && state.config().users.require_email_verification {
        let next = "We have sent you a mail: open its link, then sign in here.";
        return view(&state, &caller, StatusCode::OK, Some(next)).await;
    }
    done(&state, &caller, answer).await
}

async fn sign_in(state: State<Accounts>, caller: Caller, form: Submitted<SignIn>) -> Response {
    let answer = async {
        let Posted(Html(form)) = form?;
        sign_in::sign_in(state.clone(), caller.clone(), Posted(form)).await
    };
    done(&state, &caller, answer.await).await
}

async fn sign_out(state: State<Accounts>, caller: Caller, form: Submitted<Empty>) -> Response {
    let answer = async {
        form?;
        sessions::sign_out(state.clone(), caller.clone(), Posted(Empty)).await
    };
    done(&state, &caller, answer.await).await
}

async fn revoke(state: State<Accounts>, caller: Caller, form: Submitted<Revoke>) -> Response {
    let answer = async {
        let Posted(Html(form)) = form?;
        sessions::revoke(state.clone(), caller.clone(), Posted(form)).await
    };
    done(&state, &caller, answer.await).await
}

async fn revoke_others(state: State<Accounts>, caller: Caller, form: Submitted<Empty>) -> Response {
    let answer = async {
        form?;
        sessions::revoke_others(state.clone(), caller.clone(), Posted(Empty)).await
    };
    done(&state, &caller, answer.await).await
}

async fn change_password(
    state: State<Accounts>,
    caller: Caller,
    form: Submitted<Change>,
) -> Response {
    let answer = async {
        let Posted(Html(form)) = form?;
        password::change(state.clone(), caller.clone(), Posted(form)).await
    };
    done(&state, &caller, answer.await).await
}

/// Back to the page after what was done, with the cookies that it set; or the page with what is wrong.
async fn done(
    accounts: &Accounts,
    caller: &Caller,
    answer: Result<Response, ApiError>,
) -> Response {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let (status, message) = (error.status(), error.message());
            let response = view(accounts, caller, status, Some(&message)).await;
            return with_error(response, error);
        }
    };
    let (parts, _) = answer.into_parts();
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, PAGE)]).into_response();
    for cookie in parts.headers.get_all(SET_COOKIE) {
        response.headers_mut().append(SET_COOKIE, cookie.clone());
    }
    response.extensions_mut().extend(parts.extensions);
    response
}

/// The page as it is for who asks.
async fn view(
    accounts: &Accounts,
    caller: &Caller,
    status: StatusCode,
    message: Option<&str>,
) -> Response {
    render(accounts, caller, status, message).await.unwrap_or_else(refused)
}

/// Whether a request is for the page.
pub(super) fn is_here(path: &str) -> bool {
    path.strip_prefix(PAGE).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// The page when nothing can be shown on it.
pub(super) fn refused(error: ApiError) -> Response {
    let message = error.message();
    match html(error.status(), &Page { message: Some(&message), view: View::Nothing }) {
        Ok(response) => with_error(response, error),
        Err(error) => error.into_response(),
    }
}

/// What the outermost layer does with an error: Retry-After, the log, the cookies.
fn with_error(mut response: Response, error: ApiError) -> Response {
    let (parts, _) = error.into_response().into_parts();
    for (name, value) in parts.headers {
        if let Some(name) = name.filter(|name| ![CONTENT_TYPE, CONTENT_LENGTH].contains(name)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.extensions_mut().extend(parts.extensions);
    response
}

fn html(status: StatusCode, page: &Page<'_>) -> Result<Response, ApiError> {
    let page = page.render().map_err(|error| ApiError::Internal(error.into()))?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    Ok((status, headers, page).into_response())
}

async fn render(
    accounts: &Accounts,
    caller: &Caller,
    status: StatusCode,
    message: Option<&str>,
) -> Result<Response, ApiError> {
    // With a message it has been noted before who is refused.
    let found = match message {
        None => caller.session(accounts).await?,
        Some(_) => caller.look(accounts).await?,
    };
    let sessions = match &found {
        Ok(found) => list(&found.user.id, accounts.now(), accounts.database()).await?,
        Err(_) => Vec::new(),
    };
    let view = match &found {
        Ok(found) => View::user(found, &sessions),
        Err(_) => View::Visitor { sign_up: accounts.config().users.sign_up },
    };
    let response = html(status, &Page { message, view })?;
    let forget = found.is_err_and(NoSession::clears);
    Ok(if forget { cleared(response) } else { response })
}
