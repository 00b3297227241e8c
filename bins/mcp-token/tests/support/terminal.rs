//! A pseudo terminal.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Termios, tcgetattr},
};

pub(crate) struct Terminal {
    /// Where a person types and reads.
    outside: File,
    /// What a program has for its standard input.
    pub(crate) inside: File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let outside =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&outside).unwrap();
        unlockpt(&outside).unwrap();
        let path = ptsname(&outside, Vec::new())
            .unwrap()
            .into_string()
            .unwrap();
        Self {
            outside: outside.into(),
            inside: OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap(),
        }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.outside.write_all(text.as_bytes()).unwrap();
    }

    /// How it is set, as far as that can be compared.
    pub(crate) fn modes(&self) -> String {
        format!("{:?}", self.termios())
    }

    pub(crate) fn shows_what_is_typed(&self) -> bool {
        self.termios().local_modes.contains(LocalModes::ECHO)
    }

    fn termios(&self) -> Termios {
        tcgetattr(&self.inside).unwrap()
    }

    /// Gives all that was shown; no program may have the terminal any more.
    pub(crate) fn shown(self) -> String {
        let Self {
            mut outside,
            inside,
        } = self;
        drop(inside);
        let mut shown = Vec::new();
        // Its end is told by this error.
        let end = outside.read_to_end(&mut shown);
        assert!(end.is_ok() || end.unwrap_err().kind() != ErrorKind::WouldBlock);
        String::from_utf8(shown).unwrap()
    }
}
