//! A server with three databases, and what its tokens do.

use end_to_end::wait::{self, HANG};
use end_to_end::{Answer, Client, Request, Server, Token, World, list_tools};

/// The sample shop as `shop`, which is read-only, and as two more databases.
pub(crate) fn three_databases() -> World {
    World::serving(|database| {
        [
            database.entry("shop", &database.reader),
            database.entry("other", &database.owner),
            database.entry("third", &database.owner),
        ]
    })
}

pub(crate) fn sleep_for(token: &Token, seconds: u32) -> Request {
    Request::query(token, &format!("SELECT pg_sleep({seconds}), 'done'"))
}

/// Begins a statement that takes long, and waits until PostgreSQL runs it.
pub(crate) fn begin_sleeping(
    world: &World,
    server: &Server,
    token: &Token,
    seconds: u32,
) -> Client {
    let observer = world.observer();
    let before = observer.sleeping_of(token);
    let mut client = server.client();
    client.send_only(&sleep_for(token, seconds)).unwrap();
    wait::until("the statement runs", HANG, || {
        observer.sleeping_of(token) > before
    });
    client
}

pub(crate) fn status(server: &Server, token: &Token) -> u16 {
    server.post(token, &list_tools()).status
}

pub(crate) fn tools(server: &Server, token: &Token) -> Vec<String> {
    let listed = server.post(token, &list_tools()).json();
    let tools = listed["result"]["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn current_user(server: &Server, token: &Token) -> Answer {
    server.query(token, "SELECT current_user::text AS u")
}
