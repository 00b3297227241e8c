//! Changes of which it is not known whether they were committed.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use session_pool::{Database, Limits, Tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::{
    piped::{Piped, until},
    *,
};
use crate::{Access, Policy, client::Talking};

const NOT_KNOWN: &str = "not known whether the change was kept";

/// A table, its owner, and a role whose commits wait for a standby that never comes.
struct Waiting {
    owner: tokio_postgres::Client,
    name: &'static str,
}

impl Waiting {
    async fn new(name: &'static str) -> Self {
        let owner = superuser(cluster()).await;
        owner
            .batch_execute(&format!(
                "CREATE ROLE {name} LOGIN IN ROLE {}; ALTER ROLE {name} SET synchronous_commit = on; \
                 CREATE SCHEMA {name}; GRANT USAGE ON SCHEMA {name} TO {name}; \
                 CREATE TABLE {name}.t (id int); GRANT ALL ON {name}.t TO {name}",
                // The role that may connect.
                sample::SHOP_READER
            ))
            .await
            .unwrap();
        Waiting { owner, name }
    }

    fn caller(&self, limit: Duration) -> Caller {
        let mut caller = Caller::new(self.name);
        caller.agent = caller.agent.clone().with_policy(writing_within(limit));
        caller
    }

    fn insert(&self) -> Value {
        json!({ "query": format!("INSERT INTO {}.t VALUES (1)", self.name) })
    }

    /// Waits until a commit waits for its standby, and then does something with its process.
    async fn once_it_waits(&self, what: &str) {
        let sql = format!(
            "SELECT {what} FROM pg_stat_activity WHERE usename = '{}' AND wait_event = 'SyncRep'",
            self.name
        );
        until(async || !self.owner.query(&sql, &[]).await.unwrap().is_empty()).await;
    }

    async fn rows(&self) -> i64 {
        let sql = format!("SELECT count(*) FROM {}.t", self.name);
        self.owner.query_one(&sql, &[]).await.unwrap().get(0)
    }

    /// Checks that a commit becomes visible once it does not wait any more.
    async fn shows(&self, rows: i64) {
        until(async || self.rows().await >= rows).await;
        assert_eq!(self.rows().await, rows);
    }
}

fn writing_within(limit: Duration) -> Policy {
    Policy {
        access: Access::Write,
        statement_timeout: Some(limit),
        ..Policy::default()
    }
}

/// Returns an agent that may write, on a database of its own.
fn caller_with(config: tokio_postgres::Config, limit: Duration) -> Caller {
    let database = Database::new("shop", config, Tls::disabled());
    let sessions = Sessions::new([database], Limits::default());
    let agent = Agent::new(sessions.open("cut", None), "shop");
    Caller {
        agent: agent.with_policy(writing_within(limit)),
        sessions,
        shelf: Arc::new(Shelf::new(everything()).unwrap()),
    }
}

#[tokio::test]
async fn a_commit_that_a_standby_does_not_confirm_in_time_is_told_as_in_doubt() {
    let waiting = Waiting::new("unconfirmed").await;
    let caller = waiting.caller(Duration::from_millis(200));
    let failure = caller.failed("execute_write", waiting.insert()).await;
    assert!(failure.contains(NOT_KNOWN), "{failure}");
    assert!(failure.contains("before you try again"), "{failure}");
    waiting.shows(1).await;

    let mut piped = Piped::new(caller.agent.clone()).await;
    piped.call(1, "execute_write", waiting.insert()).await;
    assert_eq!(piped.told.recv().await, Some(("in_doubt", 1)));
    waiting.shows(2).await;
}

#[tokio::test]
async fn a_client_that_goes_while_its_change_is_committed_leaves_it_in_doubt() {
    let waiting = Waiting::new("deserted").await;
    let caller = waiting.caller(Duration::from_secs(60));
    let mut piped = Piped::new(caller.agent.clone()).await;
    piped.call(1, "execute_write", waiting.insert()).await;
    waiting.once_it_waits("pid").await;
    piped.cancel(1).await;
    assert_eq!(piped.told.recv().await, Some(("in_doubt", 1)));
    waiting.shows(1).await;
}

#[tokio::test]
async fn a_token_that_is_removed_while_its_change_is_committed_leaves_it_in_doubt() {
    let waiting = Waiting::new("removed").await;
    let caller = waiting.caller(Duration::from_secs(60));
    let mut piped = Piped::new(caller.agent.clone()).await;
    piped.call(1, "execute_write", waiting.insert()).await;
    waiting.once_it_waits("pid").await;
    caller.sessions.close(caller.agent.session().id());
    assert_eq!(piped.told.recv().await, Some(("in_doubt", 1)));
    waiting.shows(1).await;
}

#[tokio::test]
async fn a_commit_whose_wait_for_a_standby_is_cancelled_was_kept() {
    let waiting = Waiting::new("released").await;
    let caller = waiting.caller(Duration::from_secs(60));
    let (done, ()) = tokio::join!(
        caller.done("execute_write", waiting.insert()),
        waiting.once_it_waits("pg_cancel_backend(pid)")
    );
    assert_eq!(done.1["affected_rows"], 1);
    assert_eq!(waiting.rows().await, 1);
}

#[tokio::test]
async fn a_commit_whose_connection_is_ended_is_in_doubt() {
    let waiting = Waiting::new("ended").await;
    let caller = waiting.caller(Duration::from_secs(60));
    let (failure, ()) = tokio::join!(
        caller.failed("execute_write", waiting.insert()),
        waiting.once_it_waits("pg_terminate_backend(pid)")
    );
    assert!(failure.contains(NOT_KNOWN), "{failure}");
    waiting.shows(1).await;
}

#[tokio::test]
async fn a_commit_that_postgresql_refuses_has_changed_nothing() {
    let (caller, owner) = super::writing::writer("deferred").await;
    owner
        .batch_execute(
            "CREATE TABLE deferred.d (id int REFERENCES deferred.t DEFERRABLE INITIALLY DEFERRED)",
        )
        .await
        .unwrap();
    let mut piped = Piped::new(caller.agent.clone()).await;
    let insert = json!({ "query": "INSERT INTO deferred.d VALUES (0)" });
    let failure = caller.failed("execute_write", insert.clone()).await;
    assert!(failure.contains("SQLSTATE: 23503"), "{failure}");
    piped.call(1, "execute_write", insert).await;
    assert_eq!(piped.told.recv().await, Some(("database_error", 0)));
    let insert = json!({ "query": "INSERT INTO deferred.d VALUES (1), (2)" });
    piped.call(2, "execute_write", insert).await;
    assert_eq!(piped.told.recv().await, Some(("ok", 2)));
    let sql = "SELECT count(*) FROM deferred.d";
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 2);
    owner
        .batch_execute("DROP SCHEMA deferred CASCADE")
        .await
        .unwrap();
}

/// A proxy between agents and PostgreSQL, which cuts a connection when PostgreSQL has answered to a certain text.
struct Cutter {
    folder: PathBuf,
}

impl Cutter {
    fn at(text: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pg-tools-cutter-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let socket = |folder: &Path| folder.join(format!(".s.PGSQL.{}", cluster().port()));
        let listener = UnixListener::bind(socket(&folder)).unwrap();
        let server = socket(cluster().socket_dir());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(cut(client, server.clone(), text.as_bytes()));
            }
        });
        Cutter { folder }
    }

    /// Returns an agent that may write, and whose connections go through here.
    fn caller(&self) -> Caller {
        let config = cluster().connection("postgres").to_string();
        let mut config: tokio_postgres::Config = config.parse().unwrap();
        let user = config.get_user().unwrap().to_owned();
        config = tokio_postgres::Config::new();
        config
            .host_path(&self.folder)
            .port(cluster().port())
            .user(user)
            .dbname("postgres");
        caller_with(config, Duration::from_secs(60))
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn cut(mut client: UnixStream, server: PathBuf, text: &[u8]) -> std::io::Result<()> {
    let mut server = UnixStream::connect(server).await?;
    let (mut asked, mut answered) = ([0; 1 << 14], [0; 1 << 14]);
    let mut is_due = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let asked = &asked[..read?];
                is_due |= asked.windows(text.len()).any(|part| part == text);
                server.write_all(asked).await?;
                if asked.is_empty() {
                    return Ok(());
                }
            }
            read = server.read(&mut answered) => {
                let answer = &answered[..read?];
                if answer.is_empty() || is_due {
                    return Ok(());
                }
                client.write_all(answer).await?;
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_at_the_answer_to_a_commit_leaves_it_in_doubt() {
    let (_, owner) = super::writing::writer("cut").await;
    owner
        .batch_execute(
            "CREATE FUNCTION cut.add() RETURNS int LANGUAGE sql AS $$ INSERT INTO cut.t VALUES (1001) RETURNING id $$",
        )
        .await
        .unwrap();
    let cutter = Cutter::at("COMMIT\0");
    let caller = cutter.caller();
    let insert = json!({ "query": "INSERT INTO cut.t VALUES (1000)" });
    let failure = caller.failed("execute_write", insert).await;
    assert!(failure.contains(NOT_KNOWN), "{failure}");

    let Value::Object(create) = json!({ "query": "CREATE TEMP TABLE a AS SELECT cut.add() AS id" })
    else {
        unreachable!()
    };
    let tool = caller.shelf.find(&caller.agent, "execute_write").unwrap();
    let talking = Talking::new("one");
    let left = tool.call(&caller.agent, create, &talking).await;
    let Err(Failure::Told(failure)) = left else {
        panic!("{:?}", left.map(|_| ()));
    };
    assert!(failure.contains(NOT_KNOWN), "{failure}");
    let sql = "SELECT count(*) FROM cut.t WHERE id >= 1000";
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 2);
    owner
        .batch_execute("DROP SCHEMA cut CASCADE")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_that_is_cut_before_a_commit_is_told_to_have_changed_nothing() {
    let (_, owner) = super::writing::writer("cut_early").await;
    // The text of a probe, before the change runs, and of the count of changes, which is sent with it.
    for at in [
        "SAVEPOINT mcp_probe",
        "/* of pg-tools */ COALESCE(pg_catalog.sum(",
    ] {
        let cutter = Cutter::at(at);
        let insert = json!({ "query": "INSERT INTO cut_early.t VALUES (1000)" });
        let failure = cutter.caller().failed("execute_write", insert).await;
        for part in [
            "connection to the database was lost",
            "nothing was changed",
            "again",
        ] {
            assert!(failure.contains(part), "{at}: {failure}");
        }
    }
    let sql = "SELECT count(*) FROM cut_early.t WHERE id >= 1000";
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    owner
        .batch_execute("DROP SCHEMA cut_early CASCADE")
        .await
        .unwrap();
}

/// Here PostgreSQL takes long to say how many rows of a table have changed, once the table has some.
#[tokio::test]
async fn a_time_limit_that_ends_our_own_count_of_changes_is_told_as_one() {
    let admin = superuser(cluster()).await;
    admin
        .batch_execute("CREATE DATABASE slow_counts")
        .await
        .unwrap();
    let mut config: tokio_postgres::Config = cluster()
        .connection("slow_counts")
        .to_string()
        .parse()
        .unwrap();
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    let (owner, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    owner
        .batch_execute(
            "CREATE TABLE t (id int);
             CREATE FUNCTION slow(numeric, int8) RETURNS numeric LANGUAGE plpgsql AS
             $$ BEGIN IF EXISTS (SELECT FROM public.t) THEN PERFORM pg_catalog.pg_sleep(60); END IF; RETURN $1 + $2; END $$;
             CREATE OR REPLACE AGGREGATE pg_catalog.sum(int8) (sfunc = slow, stype = numeric, initcond = '0')",
        )
        .await
        .unwrap();
    let caller = caller_with(config, Duration::from_millis(300));
    for count in ["after the statement", "before it"] {
        let insert = json!({ "query": "INSERT INTO t VALUES (1)" });
        let failure = caller.failed("execute_write", insert).await;
        for part in ["SQLSTATE: 57014", "LIMIT: 300ms"] {
            assert!(failure.contains(part), "{count}: {failure}");
        }
        owner
            .batch_execute("INSERT INTO t VALUES (0)")
            .await
            .unwrap();
    }
    drop((caller, owner));
    connection.await.unwrap().unwrap();
    admin
        .batch_execute("DROP DATABASE slow_counts WITH (FORCE)")
        .await
        .unwrap();
}
