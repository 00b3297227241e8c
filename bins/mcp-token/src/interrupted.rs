//! Handles Ctrl-C, or a request to end, while another program works for this one.

use std::{
    io,
    os::fd::OwnedFd,
    process::Child,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag::{register, register_conditional_default},
    iterator::{Handle, Signals},
    low_level::unregister,
};

/// The signals that a terminal sends to all processes in its foreground.
const OF_TERMINALS: [i32; 2] = [SIGHUP, SIGINT];

/// Until it is dropped, a signal ends the programs that this one has started and not this one,
/// which can then put things right.
pub(crate) struct Deferred {
    asked: Arc<Asked>,
    is_over: Arc<AtomicBool>,
    noting: Vec<SigId>,
    signals: Handle,
    watcher: Option<JoinHandle<()>>,
}

/// Whether the end was asked for, and which program must be told.
#[derive(Default)]
struct Asked {
    was: Arc<AtomicBool>,
    /// The running program, until it has been waited for.
    running: Mutex<Option<OwnedFd>>,
}

/// A program that is ended when the end is asked for, until this is dropped.
pub(crate) struct Told<'a>(&'a Asked);

impl Deferred {
    pub(crate) fn begin() -> io::Result<Self> {
        let asked = Arc::new(Asked::default());
        let is_over = Arc::new(AtomicBool::new(false));
        // Whoever asks this process to end asks no other one.
        let mut signals = Signals::new([SIGTERM])?;
        let handle = signals.handle();
        register_conditional_default(SIGTERM, Arc::clone(&is_over))?;
        let mut noting = Vec::new();
        for signal in OF_TERMINALS {
            register_conditional_default(signal, Arc::clone(&is_over))?;
            noting.push(register(signal, Arc::clone(&asked.was))?);
        }
        let watched = Arc::clone(&asked);
        let watch = move || signals.forever().for_each(|_| watched.ask());
        let watcher = thread::Builder::new().name("signals".into()).spawn(watch);
        Ok(Self {
            watcher: Some(watcher?),
            asked,
            is_over,
            noting,
            signals: handle,
        })
    }

    /// Says whether a signal has come meanwhile.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.was.load(Ordering::SeqCst)
    }

    /// Tells `program` when the end is asked for, or at once if it was already. If the system gives
    /// no handle of it, we wait until it ends by itself.
    pub(crate) fn tell(&self, program: &Child) -> Told<'_> {
        let running = pidfd_open(Pid::from_child(program), PidfdFlags::empty());
        *self.asked.running() = running.ok();
        if self.was_asked() {
            self.asked.pass_on();
        }
        Told(&self.asked)
    }
}

impl Asked {
    fn running(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        self.was.store(true, Ordering::SeqCst);
        self.pass_on();
    }

    /// Asks as Ctrl-C does: psql then cancels what it runs.
    fn pass_on(&self) {
        if let Some(running) = &*self.running() {
            // A program that has ended needs no signal.
            let _ = pidfd_send_signal(running, Signal::INT);
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        *self.0.running() = None;
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // From here on signals have their usual effect.
        self.is_over.store(true, Ordering::SeqCst);
        for id in self.noting.drain(..) {
            unregister(id);
        }
        self.signals.close();
        if let Some(watcher) = self.watcher.take() {
            // It does nothing that could panic.
            let _ = watcher.join();
        }
    }
}
