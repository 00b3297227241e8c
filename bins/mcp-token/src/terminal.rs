//! Reads from a terminal without showing what is typed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag::register_conditional_default,
    iterator::{Handle, Signals},
    low_level::emulate_default_handler,
};

/// The signals that end a program unless it handles them.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Stands for a key that is disabled.
const NO_KEY: u8 = 0;

/// Hides what is typed until it is dropped or a signal ends the program.
pub(crate) struct Unseen {
    screen: Arc<Screen>,
    signals: Handle,
    watcher: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

/// A terminal, and its settings from before.
struct Screen {
    terminal: OwnedFd,
    before: Termios,
}

impl Unseen {
    /// Begins with it.
    ///
    /// # Errors
    /// It is not a terminal, or signals or a thread cannot be set up. The terminal is then unchanged.
    pub(crate) fn begin(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let screen = Arc::new(Screen {
            before: tcgetattr(terminal)?,
            terminal: terminal.try_clone_to_owned()?,
        });
        // From here on a signal waits until the terminal is restored.
        let mut signals = Signals::new(ENDING)?;
        let is_over = Arc::new(AtomicBool::new(false));
        for signal in ENDING {
            register_conditional_default(signal, Arc::clone(&is_over))?;
        }
        screen.hide()?;
        let handle = signals.handle();
        let watched = Arc::clone(&screen);
        let watch = move || {
            for signal in signals.forever() {
                watched.restore();
                // This does not return.
                let _ = emulate_default_handler(signal);
            }
        };
        let watcher = thread::Builder::new().name("terminal".into()).spawn(watch);
        Ok(Self {
            watcher: Some(watcher.inspect_err(|_| screen.restore())?),
            screen,
            signals: handle,
            is_over,
        })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        self.screen.restore();
        // From here on a signal has its usual effect.
        self.is_over.store(true, Ordering::SeqCst);
        self.signals.close();
        if let Some(watcher) = self.watcher.take() {
            // It does nothing that could panic.
            let _ = watcher.join();
        }
    }
}

impl Screen {
    /// Shows only the end of a line. The key that suspends a program is off, as it would leave the
    /// terminal in this state.
    fn hide(&self) -> io::Result<()> {
        let mut hidden = self.before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        hidden.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
        Ok(tcsetattr(
            self.terminal.as_fd(),
            OptionalActions::Now,
            &hidden,
        )?)
    }

    fn restore(&self) {
        // A terminal that is gone shows nothing any more.
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Now, &self.before);
    }
}
