//! What a token's entry says holds from the moment it is saved: each limit, each wall, and each way around them that
//! was tried.
#![allow(clippy::unwrap_used)]

mod changes;
mod limits;
mod reach;
mod roles;
mod schemas;
mod walls;
mod world;
