//! The audit log: what is in it, what never is, and what happens when its file cannot be written.
#![allow(clippy::unwrap_used)]

mod calls;
mod chain;
mod events;
mod trouble;
mod world;
