//! Whatever is wrong gets an answer that says what, where, and what to write instead; and nothing is half done.
#![allow(clippy::unwrap_used)]

mod configurations;
mod flags;
mod requests;
mod token_files;
