//! Ctrl-C while another program works for this one.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT},
    flag::{register, register_conditional_default},
    low_level::unregister,
};

/// What a terminal sends to all that run on it.
const OF_TERMINALS: [i32; 2] = [SIGHUP, SIGINT];

/// Lets Ctrl-C end the programs that this one runs and not this one, which can then put things right, until it is dropped.
pub(crate) struct Deferred {
    was_asked: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    noting: Vec<SigId>,
}

impl Deferred {
    pub(crate) fn begin() -> io::Result<Self> {
        let mut deferred = Self {
            was_asked: Arc::default(),
            is_over: Arc::default(),
            noting: Vec::new(),
        };
        for signal in OF_TERMINALS {
            register_conditional_default(signal, Arc::clone(&deferred.is_over))?;
            let noting = register(signal, Arc::clone(&deferred.was_asked))?;
            deferred.noting.push(noting);
        }
        Ok(deferred)
    }

    /// Says whether the end was asked for meanwhile.
    pub(crate) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::SeqCst)
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // From here on a signal does what it usually does.
        self.is_over.store(true, Ordering::SeqCst);
        for id in self.noting.drain(..) {
            unregister(id);
        }
    }
}
