//! The problems of a configuration: all at once, each with its place.

use std::fmt::{self, Write};

/// One problem, where it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, variable or flag, and the key in it.
    pub place: String,
    /// What is wrong and what to write instead; never a secret's value.
    pub message: String,
}

/// Escapes control characters, which keys and file names may contain and a terminal would obey.
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.place.chars().chain(": ".chars());
        for character in told.chain(self.message.chars()) {
            match character.is_control() {
                true => write!(out, "{}", character.escape_default())?,
                false => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, one line each when displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// Adds one problem.
    pub fn add(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            place: place.into(),
            message: message.into(),
        });
    }

    /// Returns `value` unless there are problems.
    ///
    /// # Errors
    /// The collected problems, if there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}
