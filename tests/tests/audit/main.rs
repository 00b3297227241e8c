//! The audit log: what is in it, what never is, and what becomes of it when its file cannot be written.
#![allow(clippy::unwrap_used)]

mod calls;
mod chain;
mod events;
mod trouble;
mod world;
