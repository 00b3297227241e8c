//! A client that hangs up wants no answer: what runs for it in PostgreSQL is ended.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use end_to_end::{Request, Sql, Token, World, wait};
use rustix::process::Signal;
use serde_json::json;

/// A shop, a token for it, and who looks at what runs in it.
struct Shop {
    observer: Sql,
    token: Token,
    world: World,
}

impl Shop {
    fn new() -> Self {
        let mut world = World::serving(|database| [database.entry("shop", &database.reader)]);
        Shop {
            observer: world.observer(),
            token: world.setup.add_token(),
            world,
        }
    }

    fn sleep(&self) -> Request {
        Request::query(&self.token, "SELECT pg_sleep(25)")
    }

    fn sleepers(&self) -> usize {
        self.observer.sleeping_of(&self.token)
    }

    /// Waits until so many statements run; returns how long that took.
    fn until_sleepers(&self, count: usize) -> Duration {
        wait::until(
            &format!("{count} statements run"),
            Duration::from_secs(10),
            || self.sleepers() == count,
        )
    }
}

#[test]
fn a_client_that_hangs_up_has_its_statement_cancelled() {
    let shop = Shop::new();
    let server = shop.world.setup.start();
    for _ in 0..10 {
        let mut client = server.client();
        client.send_only(&shop.sleep()).unwrap();
        shop.until_sleepers(1);
        client.hang_up();
        let took = shop.until_sleepers(0);
        assert!(took < Duration::from_secs(1), "took {took:?}");
    }
    assert_eq!(server.query(&shop.token, "SELECT 1").value(), 1);
}

#[test]
fn a_client_that_leaves_is_missed_whatever_it_sent_before() {
    let shop = Shop::new();
    let server = shop.world.setup.start();
    let request = shop.sleep().to_bytes(server.address());
    let last = shop.sleep().header("Connection", "close");
    for (name, bytes) in [
        (
            "an empty line behind a request",
            [&request[..], b"\r\n"].concat(),
        ),
        ("further requests", request.repeat(3)),
        ("a last request", last.to_bytes(server.address())),
    ] {
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.write_all(&bytes).unwrap();
        shop.until_sleepers(1);
        drop(client);
        let took = wait::until(name, Duration::from_secs(10), || shop.sleepers() == 0);
        assert!(took < Duration::from_secs(4), "{name}: took {took:?}");
    }
}

#[test]
fn a_client_that_closes_its_sending_side_has_left() {
    let shop = Shop::new();
    let server = shop.world.setup.start();
    let mut client = TcpStream::connect(server.address()).unwrap();
    client
        .write_all(&shop.sleep().to_bytes(server.address()))
        .unwrap();
    shop.until_sleepers(1);
    client.shutdown(Shutdown::Write).unwrap();
    let took = shop.until_sleepers(0);
    assert!(took < Duration::from_secs(2), "took {took:?}");
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_statement_that_runs_out_of_time_ends_with_its_connection() {
    let mut shop = Shop::new();
    shop.world.setup.config["limits"] = json!({ "statement_timeout": "1s" });
    let server = shop.world.setup.start();
    let mut client = server.client();
    client.send_only(&shop.sleep()).unwrap();
    shop.until_sleepers(1);
    let ours =
        "application_name like 'mcp/%' and datname = current_database() and wait_event = 'PgSleep'";
    let pid = shop
        .observer
        .value(&format!("select pid from pg_stat_activity where {ours}"));
    let response = client.receive().unwrap();
    assert!(response.text().contains("57014"), "{}", response.text());
    assert_eq!(shop.sleepers(), 0);
    // Another connection may be there, on which the server asked what is locked.
    let connection = format!("select count(*) from pg_stat_activity where pid = {pid}");
    wait::until("its connection is closed", Duration::from_secs(2), || {
        shop.observer.value(&connection) == "0"
    });
    assert_eq!(server.query(&shop.token, "SELECT 1").value(), 1);
}

#[test]
fn many_clients_that_hang_up_at_once_leave_the_pool_whole() {
    let shop = Shop::new();
    let server = shop.world.setup.start();
    let mut clients: Vec<_> = (0..50).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send_only(&shop.sleep()).unwrap();
    }
    shop.until_sleepers(4);
    drop(clients);
    let took = shop.until_sleepers(0);
    assert!(took < Duration::from_secs(5), "took {took:?}");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(!server.query(&shop.token, "SELECT pg_sleep(0.1)").is_error));
        }
    });
}

#[test]
fn a_killed_server_leaves_nothing_running_in_postgresql() {
    let shop = Shop::new();
    let server = shop.world.setup.start();
    let mut client = server.client();
    client.send_only(&shop.sleep()).unwrap();
    shop.until_sleepers(1);
    server.signal(Signal::KILL);
    let took = shop.until_sleepers(0);
    assert!(took < Duration::from_secs(3), "took {took:?}");
}

#[test]
fn a_server_that_is_asked_to_end_ends_in_order() {
    let shop = Shop::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = shop.world.setup.start();
        server.query(&shop.token, "SELECT 1");
        server.signal(signal);
        let status = server.wait(Duration::from_secs(10));
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "after {signal:?}"
        );
        wait::until("its connections are closed", Duration::from_secs(2), || {
            shop.observer.connections_of(&shop.token) == 0
        });
    }
}

#[test]
fn a_running_query_is_answered_before_the_server_ends() {
    let shop = Shop::new();
    let mut server = shop.world.setup.start();
    let mut client = server.client();
    client
        .send_only(&Request::query(&shop.token, "SELECT pg_sleep(1), 'done'"))
        .unwrap();
    shop.until_sleepers(1);
    server.signal(Signal::TERM);
    let response = client.receive().unwrap();
    assert!(response.text().contains("done"), "{}", response.text());
    assert!(
        server
            .wait(Duration::from_secs(10))
            .is_some_and(|status| status.success())
    );
}
