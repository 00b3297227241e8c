//! What tells the server to stop.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, and the signal of service managers.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Caught, so that writing beyond the limit of a file's size is an error and not the end of the
    /// process.
    _size_limit: Signal,
    /// Whether there was a terminal to write to.
    has_terminal: bool,
}

impl Signals {
    /// Takes the signals over from the system, from now on.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            _size_limit: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            has_terminal: io::stderr().is_terminal(),
        })
    }

    /// Waits for the next one. A hang-up counts if the terminal was closed; otherwise it asks for
    /// the configuration to be read again.
    pub(crate) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    if self.has_terminal && !io::stderr().is_terminal() {
                        return;
                    }
                }
            }
        }
    }
}
