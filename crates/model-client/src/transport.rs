//! One POST of JSON and its response, within limits.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::CertificateError;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Key, Limits, ModelError, SetUpError,
    connector::Connector,
    endpoint::Endpoint,
    patience::{self, Patience},
};

/// How many idle connections are kept; more are opened when more calls run.
const KEPT_CONNECTIONS: usize = 8;

/// How much of a server's message is passed on, in characters.
const LONGEST_MESSAGE: usize = 300;

/// How many bytes of an error response are read; what matters is at its beginning.
const ERROR_BYTES: usize = 64 << 10;

/// Sends requests for one model to one URL.
pub(crate) struct Transport {
    provider: &'static str,
    model: String,
    address: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    key: Option<Key>,
    limits: Limits,
    client: Client<Connector, Full<Bytes>>,
}

/// How an attempt failed, and whether a retry may help.
struct Failure {
    error: ModelError,
    is_passing: bool,
    asked_wait: Option<Duration>,
}

impl Failure {
    fn lasting(error: ModelError) -> Self {
        Failure {
            error,
            is_passing: false,
            asked_wait: None,
        }
    }
}

impl Transport {
    pub(crate) fn new(
        provider: &'static str,
        address: Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        endpoint: Endpoint,
    ) -> Result<Self, SetUpError> {
        let limits = endpoint.limits;
        let authorities = endpoint.authorities.as_deref();
        let connector = Connector::new(&address, authorities, limits.connect_timeout)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(KEPT_CONNECTIONS)
            .build(connector);
        Ok(Transport {
            provider,
            model: endpoint.model,
            address,
            headers,
            key: endpoint.key,
            limits,
            client,
        })
    }

    pub(crate) fn provider(&self) -> &'static str {
        self.provider
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// Sends a request and reads its response, with retries where they may help. Dropping the future closes the
    /// connection in use.
    pub(crate) async fn post<T: DeserializeOwned>(&self, body: &Value) -> Result<T, ModelError> {
        let body = Bytes::from(body.to_string());
        let answered = tokio::time::timeout(self.limits.timeout, self.persist(body)).await;
        let text = answered.map_err(|_| ModelError::TimedOut {
            provider: self.provider,
            after: self.limits.timeout,
        })??;
        // serde_json's message says what is wrong and where, and quotes no more than a word.
        serde_json::from_slice(&text)
            .map_err(|error| self.unreadable(self.clean(&error.to_string())))
    }

    pub(crate) fn unreadable(&self, reason: impl Into<String>) -> ModelError {
        ModelError::Unreadable {
            provider: self.provider,
            reason: reason.into(),
        }
    }

    async fn persist(&self, body: Bytes) -> Result<Bytes, ModelError> {
        let mut patience = Patience::new(self.limits);
        loop {
            let failure = match self.attempt(body.clone()).await {
                Ok(text) => return Ok(text),
                Err(failure) => failure,
            };
            if !failure.is_passing {
                return Err(failure.error);
            }
            match patience.next(failure.asked_wait) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure.error),
            }
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<Bytes, Failure> {
        let sent = self.client.request(self.request(body)).await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            return Err(Failure::lasting(ModelError::NotJson {
                provider: self.provider,
                found: self.clean(content_type.unwrap_or("no content type")),
            }));
        }
        self.read(response).await
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.address.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("mcp-server"));
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        request
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), self.limits.answer_bytes);
        match body.collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Failure::lasting(ModelError::TooLarge {
                    provider: self.provider,
                    limit: self.limits.answer_bytes,
                }))
            }
            Err(error) => Err(self.unreachable(error.as_ref())),
        }
    }

    /// Classifies an unsuccessful response.
    async fn refusal(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let header = response.headers().get(RETRY_AFTER);
        let asked_wait = header.and_then(|value| patience::asked(value.to_str().ok()?));
        let body = Limited::new(response.into_body(), ERROR_BYTES);
        let text = body.collect().await.map(|whole| whole.to_bytes());
        let message = self.message(&text.unwrap_or_default());
        let (provider, model, code) = (self.provider, self.model.clone(), status.as_u16());
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ModelError::KeyRefused {
                provider,
                status: code,
                model,
            },
            StatusCode::NOT_FOUND => ModelError::Unknown {
                provider,
                model,
                message,
            },
            _ if matches!(code, 429 | 529) => ModelError::Busy {
                provider,
                status: code,
                wait: asked_wait,
                message,
            },
            _ if status.is_server_error() => ModelError::Failed {
                provider,
                status: code,
                message,
            },
            _ if status.is_redirection() => ModelError::Redirected {
                provider,
                status: code,
            },
            _ => ModelError::Refused {
                provider,
                status: code,
                message,
            },
        };
        Failure {
            is_passing: matches!(error, ModelError::Busy { .. } | ModelError::Failed { .. })
                && status != StatusCode::NOT_IMPLEMENTED,
            error,
            asked_wait,
        }
    }

    /// Extracts a server's error message in the forms of all providers: `error.message`, or `error`, `detail` or
    /// `message` as a text.
    fn message(&self, body: &[u8]) -> String {
        let Ok(tree) = serde_json::from_slice::<Value>(body) else {
            return String::new();
        };
        let places = ["/error/message", "/error", "/detail", "/message"];
        let said = places
            .iter()
            .find_map(|place| tree.pointer(place)?.as_str())
            .filter(|text| !text.trim().is_empty());
        said.map_or_else(String::new, |text| format!(": {}", self.clean(text)))
    }

    /// Makes a server's text fit for display: one short line, without the key.
    fn clean(&self, text: &str) -> String {
        let text = match &self.key {
            Some(key) => key.censor(text),
            None => text.to_owned(),
        };
        text.chars()
            .take(LONGEST_MESSAGE)
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect()
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        // The outer errors only say that something went wrong.
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let host = self.address.authority().map_or("", |host| host.as_str());
        let cause = self.clean(&innermost.to_string());
        Failure {
            error: ModelError::Unreachable {
                provider: self.provider,
                host: host.to_owned(),
                reason: without_hosts(innermost).map_or_else(|| cause.clone(), str::to_owned),
                cause,
            },
            is_passing: true,
            asked_wait: None,
        }
    }
}

/// Rewords rustls's errors that name hosts: the one that was called and those of the certificate.
fn without_hosts(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    // tokio-rustls wraps the error in an `io::Error`, which displays it as its own text.
    let inside = error.downcast_ref::<io::Error>()?.get_ref()?;
    match inside.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(
            "its certificate is for another host; the operator must configure a URL with a host that it is for",
        ),
        _ => None,
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
}
