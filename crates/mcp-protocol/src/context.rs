//! The circumstances of a call.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jsonrpc::{self, Id};
use crate::outbox::Outbox;
use crate::revision::Revision;

/// The circumstances of a call: who asks, in which revision, and what may be told on the way.
#[derive(Clone, Debug)]
pub struct Context<P> {
    call: Arc<Circumstances<P>>,
}

#[derive(Debug)]
pub(crate) struct Circumstances<P> {
    pub(crate) principal: P,
    pub(crate) revision: Revision,
    pub(crate) progress_token: Option<Id>,
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) outbox: Arc<Outbox>,
    /// The last progress told; each must be greater than the one before.
    pub(crate) progress: Mutex<f64>,
}

impl<P> Context<P> {
    pub(crate) fn new(call: Circumstances<P>) -> Self {
        Self {
            call: Arc::new(call),
        }
    }

    /// Gives the principal that the call is made for.
    pub fn principal(&self) -> &P {
        &self.call.principal
    }

    /// Gives the revision that the client speaks.
    pub fn revision(&self) -> Revision {
        self.call.revision
    }

    /// Tells whether anyone listens to [`Context::progress`].
    pub fn wants_progress(&self) -> bool {
        self.call.progress_token.is_some()
    }

    /// Tells how far the call is, if the client asked to be told. Does not wait; a value that is not
    /// greater than the one before is left out, as the protocol demands.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            progress_token: &'a Id,
            progress: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
        }
        let Some(progress_token) = &self.call.progress_token else {
            return;
        };
        {
            let mut last = self
                .call
                .progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !progress.is_finite() || progress <= *last {
                return;
            }
            *last = progress;
        }
        let message = message.filter(|_| self.call.revision >= Revision::V2025_03_26);
        let params = Params {
            progress_token,
            progress,
            total,
            message,
        };
        self.call.outbox.send(jsonrpc::write_notification(
            "notifications/progress",
            &params,
        ));
    }

    /// Sends a log message to the client, if it asked for messages of this level. Does not wait.
    pub fn log(&self, level: LogLevel, logger: Option<&str>, data: &Value) {
        #[derive(Serialize)]
        struct Params<'a> {
            level: LogLevel,
            #[serde(skip_serializing_if = "Option::is_none")]
            logger: Option<&'a str>,
            data: &'a Value,
        }
        if self.call.log_level.is_some_and(|lowest| level >= lowest) {
            let params = Params {
                level,
                logger,
                data,
            };
            self.call.outbox.send(jsonrpc::write_notification(
                "notifications/message",
                &params,
            ));
        }
    }
}

/// How much a log message matters (RFC 5424, section 6.2.1); later ones compare as greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The levels are RFC 5424's.
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}
