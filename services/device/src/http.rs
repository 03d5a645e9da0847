//! Plain HTTP, bounded in size and time.

use std::time::Duration;

use ureq::{Agent, Body, http::Response};

use crate::error::DeviceError;

/// The longest answer that is read: a key log of 10 000 events has about 7 MB.
const MAX_ANSWER: u64 = 16 << 20;

/// An HTTP client.
pub(crate) struct Http(Agent);

/// An answer.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// A client that gives up on an answer after `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // Where a redirect leads is the server's choice and not what the person asked for.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build();
        Self(config.new_agent())
    }

    pub(crate) fn post(
        &self,
        base: &str,
        path: &str,
        message: &str,
    ) -> Result<Answer, DeviceError> {
        let url = join(base, path);
        let request = self.0.post(&url).content_type("application/json");
        read(request.send(message), url)
    }

    pub(crate) fn get(&self, base: &str, path: &str) -> Result<Answer, DeviceError> {
        let url = join(base, path);
        read(self.0.get(&url).call(), url)
    }
}

fn join(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

fn read(response: Result<Response<Body>, ureq::Error>, url: String) -> Result<Answer, DeviceError> {
    let answer = response.and_then(|mut response| {
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok((response.status().as_u16(), body))
    });
    match answer {
        Ok((status, body)) => Ok(Answer { url, status, body }),
        Err(source) => Err(DeviceError::NoAnswer { url, source: Box::new(source) }),
    }
}
