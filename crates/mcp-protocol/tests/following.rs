//! Resources that the server looks at while a client follows them.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::client::Client;
use common::{Holder, Running, start_handler};
use mcp_protocol::http::Options;
use mcp_protocol::{
    CallError, CallRefusal, Called, Capabilities, Context, Handler, Origin, Principal, ServerInfo,
    ServiceOptions, Tool, ToolCall, ToolResult,
};
use serde_json::json;

/// How often each principal was looked at for, and what it would see.
type Seen = Arc<Mutex<HashMap<String, (u64, u64)>>>;

/// A handler whose resources are others for each principal.
struct Versioned {
    info: ServerInfo,
    seen: Seen,
    told: Told,
}

/// What the handler was told of following.
type Told = Arc<Mutex<Vec<String>>>;

impl Versioned {
    fn new(seen: &Seen, told: &Told) -> Self {
        Self {
            info: ServerInfo::default(),
            seen: Arc::clone(seen),
            told: Arc::clone(told),
        }
    }

    fn tell(&self, what: &str, uri: &str, context: &Context<Holder>) {
        let told = format!("{} {what} {uri}", context.principal().name());
        self.told.lock().unwrap().push(told);
    }
}

impl Handler for Versioned {
    type Principal = Holder;

    fn server(&self) -> &ServerInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            resources: true,
            resource_subscriptions: true,
            list_changed: true,
            ..Capabilities::default()
        }
    }

    fn tools(&self, _: &Holder) -> Arc<[Tool]> {
        Arc::new([])
    }

    async fn call_tool(&self, _: ToolCall, _: Context<Holder>) -> Result<ToolResult, CallError> {
        Ok(ToolResult::default())
    }

    async fn resource_version(&self, uri: &str, principal: &Holder) -> Option<String> {
        let mut seen = self.seen.lock().unwrap();
        let (looks, version) = seen.entry(principal.name().to_owned()).or_default();
        *looks += 1;
        uri.starts_with("test://versioned")
            .then(|| version.to_string())
    }

    fn may_follow(&self, uri: &str, _: &Holder) -> bool {
        uri.starts_with("test://")
    }

    async fn follow_resource(
        &self,
        uri: &str,
        context: Context<Holder>,
    ) -> Result<Option<String>, CallError> {
        self.tell("follows", uri, &context);
        if uri == "test://hidden" {
            return Err(CallError::NotFound(uri.to_owned()));
        }
        if uri.starts_with("test://stuck") {
            std::future::pending::<()>().await;
        }
        Ok(self.resource_version(uri, context.principal()).await)
    }

    fn call_refused(&self, called: Called<'_>, _: CallRefusal, from: Origin<'_, Holder>) {
        let told = format!("{} may not: {called:?}", from.principal.name());
        self.told.lock().unwrap().push(told);
    }

    fn unfollow_resource(&self, uri: &str, context: Context<Holder>) {
        self.tell("leaves", uri, &context);
    }
}

/// Starts a server that looks at what is followed all the time.
async fn start_looking(seen: &Seen) -> Running {
    let options = ServiceOptions {
        follow_interval: Duration::from_millis(5),
        ..ServiceOptions::default()
    };
    let handler = Versioned::new(seen, &Told::default());
    start_handler(handler, Options::default(), options).await
}

fn change(seen: &Seen, name: &str) {
    seen.lock().unwrap().entry(name.to_owned()).or_default().1 += 1;
}

#[tokio::test]
async fn each_principal_is_told_of_its_own_changes_while_it_follows() {
    let seen = Seen::default();
    let server = start_looking(&seen).await;
    let mut alice = Client::open(&server, "2025-11-25").await;
    let mut bob = Client::new(&server, "2025-11-25");
    bob.token = "bob-token";
    bob.initialize().await;
    let names = ["alice", "bob"];
    assert!(seen.lock().unwrap().is_empty(), "nobody follows anything");

    let watched = json!({ "uri": "test://versioned" });
    for client in [&mut alice, &mut bob] {
        let answer = client.ask("resources/subscribe", watched.clone()).await;
        assert_eq!(answer["result"], json!({}));
    }
    // What changes from then on is told, also by a stream that is opened later.
    change(&seen, "alice");
    let mut alices = alice.stream(&alice.http("GET", "", None)).await;
    assert_eq!(alices.next().await.unwrap()["params"], watched);
    let mut bobs = bob.stream(&bob.http("GET", "", None)).await;
    // Each is told of one change, and of nothing else before it.
    for (name, stream) in names.into_iter().zip([&mut alices, &mut bobs]) {
        change(&seen, name);
        let told = stream.next().await.unwrap();
        assert_eq!(told["method"], "notifications/resources/updated");
        assert_eq!(told["params"], watched);
    }
    server.changes.tools();
    for stream in [&mut alices, &mut bobs] {
        let told = stream.next().await.unwrap();
        assert_eq!(told["method"], "notifications/tools/list_changed", "once");
    }
    // What concerns one is told to no other.
    server.changes.tools_of("alice");
    server.changes.resource("test://versioned");
    let told = alices.next().await.unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    for stream in [&mut alices, &mut bobs] {
        let told = stream.next().await.unwrap();
        assert_eq!(told["method"], "notifications/resources/updated");
    }

    // Who has no stream, or follows nothing, is looked at for no more.
    drop(alices);
    bob.ask("resources/unsubscribe", watched.clone()).await;
    let looks = |name: &str| seen.lock().unwrap()[name].0;
    common::within(async {
        loop {
            let before = names.map(looks);
            tokio::time::sleep(Duration::from_millis(50)).await;
            if names.map(looks) == before {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_handler_is_told_who_follows_what_and_may_refuse_it() {
    let told = Told::default();
    let handler = Versioned::new(&Seen::default(), &told);
    let server = start_handler(handler, Options::default(), ServiceOptions::default()).await;
    let mut alice = Client::open(&server, "2025-11-25").await;
    let of = |uri: &str| json!({ "uri": uri });
    let hidden = alice.ask("resources/subscribe", of("test://hidden")).await;
    assert_eq!(hidden["error"]["code"], -32002, "{hidden}");
    for number in 0..1000 {
        let uri = format!("test://{number}");
        let answer = alice.ask("resources/subscribe", of(&uri)).await;
        assert_eq!(answer["result"], json!({}));
    }
    told.lock().unwrap().clear();
    let refused = alice.ask("resources/subscribe", of("test://one")).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    alice.ask("resources/unsubscribe", of("test://7")).await;
    let answer = alice.ask("resources/subscribe", of("test://one")).await;
    assert_eq!(answer["result"], json!({}));

    let listen = |uris: Vec<String>| json!({ "notifications": { "resourceSubscriptions": uris } });
    let mut bob = Client::new(&server, "2026-07-28");
    bob.token = "bob-token";
    let many = (0..1001).map(|number| format!("test://{number:04}"));
    let refused = bob
        .ask("subscriptions/listen", listen(many.collect()))
        .await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let some = ["test://hidden", "test://versioned"].map(str::to_owned);
    let others = (0..998).map(|number| format!("no://{number:03}"));
    let some = some.into_iter().chain(others).collect();
    let request = bob.request("subscriptions/listen", listen(some));
    let mut stream = bob.stream(&bob.http("POST", "", Some(&request))).await;
    let acknowledged = stream.next().await.unwrap();
    assert_eq!(
        acknowledged["params"]["notifications"]["resourceSubscriptions"],
        json!(["test://versioned"]),
        "{acknowledged}"
    );
    let mut told = told.lock().unwrap().clone();
    told[5..].sort();
    assert_eq!(
        told,
        [
            r#"alice may not: Follow("test://one", 0)"#,
            "alice leaves test://7",
            "alice follows test://one",
            r#"bob may not: Follow("test://0000", 1000)"#,
            r#"bob may not: Follow("no://000", 997)"#,
            "bob follows test://hidden",
            "bob follows test://versioned",
        ]
    );
}

#[tokio::test]
async fn a_stream_is_told_of_everything_that_changes_at_once() {
    let seen = Seen::default();
    let server = start_looking(&seen).await;
    let uris: BTreeSet<_> = (0..1000)
        .map(|number| format!("test://versioned/{number}"))
        .collect();
    let mut alice = Client::new(&server, "2026-07-28");
    let params = json!({ "notifications": { "resourceSubscriptions": uris } });
    let request = alice.request("subscriptions/listen", params);
    let mut stream = alice.stream(&alice.http("POST", "", Some(&request))).await;
    stream.next().await.expect("it is acknowledged");

    let find_by_looking = || change(&seen, "alice");
    let hear_from_the_handler = || uris.iter().for_each(|uri| server.changes.resource(uri));
    let ways: [&dyn Fn(); 2] = [&find_by_looking, &hear_from_the_handler];
    for tell in ways {
        tell();
        let mut missing = uris.clone();
        while !missing.is_empty() {
            let told = stream.next().await.unwrap();
            assert_eq!(told["method"], "notifications/resources/updated");
            missing.remove(told["params"]["uri"].as_str().unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_begins_in_time_whatever_its_resources_take() {
    let handler = Versioned::new(&Seen::default(), &Told::default());
    let options = ServiceOptions {
        request_timeout: Duration::from_millis(200),
        ..ServiceOptions::default()
    };
    let server = start_handler(handler, Options::default(), options).await;
    let uris: Vec<_> = (0..1000)
        .map(|number| format!("test://stuck/{number}"))
        .collect();
    let mut alice = Client::new(&server, "2026-07-28");
    let params =
        json!({ "notifications": { "resourceSubscriptions": uris, "toolsListChanged": true } });
    let request = alice.request("subscriptions/listen", params);
    let mut stream = alice.stream(&alice.http("POST", "", Some(&request))).await;
    let acknowledged = stream.next().await.unwrap();
    let accepted = &acknowledged["params"]["notifications"];
    assert!(
        accepted.get("resourceSubscriptions").is_none(),
        "{accepted}"
    );
}
