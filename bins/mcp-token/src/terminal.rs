//! A terminal that does not show what is typed.

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

/// What ends a program that does not expect it.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// In the place of a key that is to do nothing.
const NO_KEY: u8 = 0;

/// Keeps what is typed from being shown, until it is dropped or a signal ends the program.
pub(crate) struct Unseen {
    screen: Arc<Screen>,
    signals: Handle,
    watcher: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

/// A terminal, and how it was found.
struct Screen {
    terminal: OwnedFd,
    before: Termios,
}

impl Unseen {
    /// Begins with it.
    ///
    /// # Errors
    /// This is no terminal, or the system gives no signals or no thread. The terminal is then as it was.
    pub(crate) fn begin(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let screen = Arc::new(Screen {
            before: tcgetattr(terminal)?,
            terminal: terminal.try_clone_to_owned()?,
        });
        // From here on a signal waits until the terminal can be restored.
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
                // It does not return.
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
        // From here on a signal does what it usually does.
        self.is_over.store(true, Ordering::SeqCst);
        self.signals.close();
        if let Some(watcher) = self.watcher.take() {
            // It has nothing to panic about.
            let _ = watcher.join();
        }
    }
}

impl Screen {
    /// Shows the end of a line and nothing else. The key that suspends a program would leave the terminal so.
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
