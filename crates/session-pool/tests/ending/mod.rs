//! How sessions end: on command, and at their deadlines.

use super::*;

#[tokio::test]
async fn closing_cancels_what_runs_and_closes_every_connection() {
    for config in [socket_config(), tcp_config("127.0.0.1")] {
        let observer = observer().await;
        let sessions = Sessions::new([database(config)], Limits::default());
        let session = sessions.open("closing", None);
        let idle = session.lease("main").await.unwrap();
        idle.scrub().await.unwrap();
        let busy = session.lease("main").await.unwrap();
        let other = session.lease("main").await.unwrap();
        let statement =
            tokio::spawn(async move { busy.batch_execute("SELECT pg_sleep(60)").await });
        running(&observer, "closing", "pg_sleep").await;
        sessions.close("closing");
        let took = gone(&observer, "closing").await;
        assert!(took < AT_ONCE, "took {took:?}");
        assert!(statement.await.unwrap().is_err());
        assert!(session.is_closed());
        assert!(other.batch_execute("SELECT 1").await.is_err());
    }
}

#[tokio::test]
async fn a_handle_from_before_the_end_opens_nothing_after_it() {
    let sessions = sessions();
    let stale = sessions.open("stale", None);
    sessions.close("stale");
    assert!(matches!(stale.lease("main").await, Err(LeaseError::Closed)));
    let fresh = sessions.open("stale", None);
    assert!(
        fresh.lease("main").await.is_ok(),
        "the id itself may come back"
    );
    assert!(matches!(stale.lease("main").await, Err(LeaseError::Closed)));
}

#[tokio::test]
async fn a_waiting_lease_learns_of_the_end_at_once() {
    let mut only = database(socket_config());
    only.max_connections = 1;
    let sessions = Sessions::new(
        [only],
        Limits {
            wait: Duration::from_secs(60),
            ..Limits::default()
        },
    );
    let session = sessions.open("waiting", None);
    let _held = session.lease("main").await.unwrap();
    let waiter = session.clone();
    let waiting = tokio::spawn(async move { waiter.lease("main").await.map(drop) });
    tokio::task::yield_now().await;
    sessions.close("waiting");
    let answer = tokio::time::timeout(Duration::from_secs(1), waiting)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(answer, Err(LeaseError::Closed)));
}

/// PostgreSQL looks for a cancel request nowhere in it; some seconds of work.
const UNINTERRUPTIBLE: &str = "SELECT length(ltrim(repeat('a', 400000), repeat('b', 3000) || 'a'))";

/// How long a process has run, in hundredths of a second (proc(5): utime).
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(11).unwrap().parse().unwrap()
}

/// Waits until a process is at work on [`UNINTERRUPTIBLE`]; before that it might still find a cancel request.
async fn working(pid: i32) {
    let works = async {
        while ticks(pid) < 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), works)
        .await
        .unwrap();
}

/// Makes sure that a process has its place in the budget until it has ended, which it does by itself, and that so many
/// sessions are known meanwhile.
async fn has_its_place_until_it_has_ended(
    pid: i32,
    observer: &Client,
    sessions: &Sessions,
    known: usize,
) {
    let begin = Instant::now();
    loop {
        let census = sessions.census();
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
        let there = observer.query_one(sql, &[&pid]).await.unwrap();
        if there.get::<_, i64>(0) == 0 {
            break;
        }
        assert_eq!(census.budgets[0].taken, 1, "it counts among those of all");
        assert_eq!(census.sessions, known);
    }
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(1_200),
        "{took:?} is too short to tell"
    );
    let freed = async {
        while sessions.census().budgets[0].taken > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(AT_ONCE, freed).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_interrupted_takes_up_its_own_share_until_it_has_ended() {
    let observer = observer().await;
    let limits = Limits {
        wait: Duration::from_millis(100),
        ..Limits::default()
    };
    let sessions = Sessions::new([database(socket_config())], limits);
    let terms = Terms {
        connections: Some(1),
        ..Terms::default()
    };
    let session = sessions.open_on("stubborn", None, &terms);
    let lease = session.lease("main").await.unwrap();
    let pid = pid(&lease).await;
    let statement = tokio::spawn(async move { lease.batch_execute(UNINTERRUPTIBLE).await });
    working(pid).await;
    statement.abort();
    assert!(statement.await.unwrap_err().is_cancelled());
    let next = session.lease("main").await;
    assert!(matches!(next, Err(LeaseError::Busy { .. })), "its only one");
    drop(session);
    // It is not forgotten, for it would come back with all of its share.
    has_its_place_until_it_has_ended(pid, &observer, &sessions, 1).await;
}

#[tokio::test]
async fn what_cannot_be_interrupted_has_its_place_although_its_session_is_closed() {
    let observer = observer().await;
    let sessions = sessions();
    let lease = sessions.open("outlived", None).lease("main").await.unwrap();
    let pid = pid(&lease).await;
    let statement = tokio::spawn(async move { lease.batch_execute(UNINTERRUPTIBLE).await });
    working(pid).await;
    sessions.close("outlived");
    assert!(statement.await.unwrap().is_err(), "nobody waits for it");
    has_its_place_until_it_has_ended(pid, &observer, &sessions, 0).await;
}

/// Sends a process a signal.
fn signal(pid: i32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let sent = kill.args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "{name} to {pid}");
}

/// Waits until a process that is stopped was sent a cancel request (proc(5): ShdPnd, of which bit 1 is SIGINT).
async fn asked(pid: i32) {
    let was_asked = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        u64::from_str_radix(pending.unwrap().trim(), 16).unwrap() & 2 != 0
    };
    while !was_asked() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_statement_that_comes_after_its_cancel_request_is_cancelled_as_well() {
    for closes in [true, false] {
        let observer = observer().await;
        let sessions = sessions();
        let lease = sessions.open("late", None).lease("main").await.unwrap();
        let pid = pid(&lease).await;
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'ClientRead'";
        while observer
            .query_one(waits, &[&pid])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {}
        signal(pid, "STOP");
        let statement =
            tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(60)").await });
        // The statement is on its way by the time that another one has been answered.
        observer.batch_execute("SELECT 1").await.unwrap();
        if closes {
            sessions.close("late");
        } else {
            statement.abort();
        }
        let was_asked = tokio::time::timeout(Duration::from_secs(20), asked(pid)).await;
        signal(pid, "CONT");
        was_asked.unwrap();
        let took = gone(&observer, "late").await;
        assert!(took < AT_ONCE, "took {took:?}");
    }
}

#[tokio::test]
async fn finishing_waits_until_what_others_run_is_cancelled() {
    let observer = observer().await;
    let sessions = sessions();
    let session = sessions.open("finishing", None);
    let lease = session.lease("main").await.unwrap();
    let statement = tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(60)").await });
    running(&observer, "finishing", "pg_sleep").await;
    sessions.finish().await;
    assert_eq!(
        sessions.census().cancels,
        1,
        "it was sent, not only asked for"
    );
    assert!(gone(&observer, "finishing").await < AT_ONCE);
    assert!(statement.await.unwrap().is_err());
}

/// A wall clock that a test sets.
#[derive(Clone, Default)]
struct Wall(Arc<AtomicU64>);

impl Wall {
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn sessions(&self) -> Sessions {
        let wall = self.0.clone();
        Sessions::with_clock([database(socket_config())], Limits::default(), move || {
            Wall::at(wall.load(Ordering::SeqCst))
        })
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_session_ends_at_its_deadline_by_the_wall_clock() {
    let wall = Wall::default();
    let sessions = wall.sessions();
    let (ends, told) = std::sync::mpsc::channel();
    sessions.tell_ends(move |id, end| ends.send((id.to_owned(), format!("{end:?}"))).unwrap());
    let session = sessions.open("expiring", Some(Wall::at(90_000)));
    let busy = session.lease("main").await.unwrap();
    let statement = tokio::spawn(async move { busy.batch_execute("SELECT pg_sleep(60)").await });
    let observer = observer().await;
    running(&observer, "expiring", "pg_sleep").await;
    wall.set(89_999);
    tokio::time::sleep(Duration::from_millis(1_100)).await; // a whole tick, in which nothing may happen
    assert!(!session.is_closed(), "ended before its time");
    wall.set(90_000);
    tokio::time::timeout(Duration::from_secs(2), session.closed())
        .await
        .unwrap();
    gone(&observer, "expiring").await;
    assert!(statement.await.unwrap().is_err());
    let late = sessions.open("expiring", Some(Wall::at(90_000)));
    assert!(late.is_closed() && !sessions.close("expiring"));
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(
        told,
        [("expiring".to_owned(), format!("{:?}", End::Deadline))],
        "told once"
    );
}

#[tokio::test]
async fn ends_are_told_of_what_was_not_closed() {
    let sessions = sessions();
    let (ends, told) = std::sync::mpsc::channel();
    sessions.tell_ends(move |id, end| ends.send((id.to_owned(), format!("{end:?}"))).unwrap());
    let as_user = |user: &str| Terms {
        login: Some(Arc::new(Login {
            user: user.to_owned(),
            password: None,
        })),
        ..Terms::default()
    };
    for id in ["closed", "same", "another"] {
        sessions.open_on(id, None, &as_user("a"));
    }
    sessions.close("closed");
    sessions.open_on("same", None, &as_user("a"));
    let before = sessions.open_on("another", None, &as_user("a"));
    let after = sessions.open_on("another", None, &as_user("b"));
    assert!(before.is_closed() && !after.is_closed());
    sessions.close_all();
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told, [("another".to_owned(), format!("{:?}", End::Login))]);
}

#[tokio::test]
async fn a_deadline_that_is_near_is_met_to_the_millisecond() {
    let sessions = sessions();
    let deadline = SystemTime::now() + Duration::from_millis(300);
    let session = sessions.open("near", Some(deadline));
    session.closed().await;
    let late = SystemTime::now().duration_since(deadline).unwrap();
    assert!(late < AT_ONCE, "{late:?} late");
}

#[tokio::test]
async fn a_moved_deadline_replaces_the_old_one() {
    let wall = Wall::default();
    let sessions = wall.sessions();
    let session = sessions.open("moved", Some(Wall::at(10)));
    let same = sessions.open("moved", Some(Wall::at(1_000)));
    wall.set(500);
    let marker = sessions.open("marker", Some(Wall::at(400)));
    marker.closed().await;
    assert!(!session.is_closed() && !same.is_closed());
    sessions.open("moved", Some(Wall::at(450)));
    tokio::time::timeout(Duration::from_secs(2), session.closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn deadlines_hold_whatever_becomes_of_who_is_told() {
    let wall = Wall::default();
    let sessions = wall.sessions();
    sessions.tell_ends(|id, _| panic!("told of {id}"));
    let (first, second) = (
        sessions.open("first", Some(Wall::at(10))),
        sessions.open("second", Some(Wall::at(20))),
    );
    for (at, session) in [(10, first), (20, second)] {
        wall.set(at);
        tokio::time::timeout(Duration::from_secs(2), session.closed())
            .await
            .unwrap();
    }
    sessions.open("third", Some(Wall::at(30)));
    let third = sessions.open("third", Some(Wall::at(20)));
    assert!(third.is_closed());
}

#[tokio::test]
async fn deadlines_hold_when_the_clock_panics() {
    let is_broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let broken = is_broken.clone();
    let sessions = Sessions::with_clock([], Limits::default(), move || {
        assert!(!broken.load(Ordering::SeqCst), "the clock is broken");
        SystemTime::now()
    });
    let session = sessions.open(
        "clock",
        Some(SystemTime::now() + Duration::from_millis(200)),
    );
    is_broken.store(true, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(3), session.closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_goes_on_when_there_are_no_sessions_any_more() {
    let observer = observer().await;
    let sessions = sessions();
    let session = sessions.open("ownerless", None);
    let lease = session.lease("main").await.unwrap();
    let statement = tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(60)").await });
    running(&observer, "ownerless", "pg_sleep").await;
    let other = sessions.clone();
    drop(sessions);
    assert!(!session.is_closed());
    drop(other);
    assert!(statement.await.unwrap().is_err());
    assert!(gone(&observer, "ownerless").await < AT_ONCE);
    let lease = session.lease("main").await;
    assert!(matches!(lease, Err(LeaseError::Closed)));
}

#[tokio::test]
async fn sessions_end_with_the_runtime_that_watches_their_deadlines() {
    let (sessions, session) = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let sessions = sessions();
        let session = sessions.open("homeless", None);
        (sessions, session)
    })
    .join()
    .unwrap();
    for session in [session, sessions.open("late", None)] {
        let lease = session.lease("main").await;
        assert!(matches!(lease, Err(LeaseError::Closed)));
    }
    assert_eq!(sessions.census().sessions, 0);
}

/// The login at another port of this machine.
fn at(port: u16) -> Config {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user("reader")
        .password(PASSWORD)
        .dbname("postgres");
    config
}

/// Passes bytes on to the server. Told to, it takes what comes on the connections that there are, and passes nothing on:
/// as a tunnel does that has lost them, while new ones work.
async fn tunnel() -> (u16, tokio::sync::watch::Sender<u64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (era, current) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut current = current.clone();
            tokio::spawn(async move {
                let address = ("127.0.0.1", server().cluster.port());
                let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
                let own = *current.borrow();
                let is_over = async { drop(current.wait_for(|era| *era > own).await) };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    () = is_over => {}
                }
                _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
                std::future::pending::<()>().await; // Neither end hears of the other.
            });
        }
    });
    (port, era)
}

#[tokio::test]
async fn a_connection_that_died_silently_takes_up_its_share_for_seconds_only() {
    let (observer, (port, era)) = (observer().await, tunnel().await);
    let mut database = database(at(port));
    database.max_connections = 2;
    let limits = Limits {
        wait: Duration::from_secs(20),
        ..Limits::default()
    };
    let sessions = Sessions::new([database], limits);
    let session = sessions.open("tunnelled", None);
    let (first, second) = tokio::join!(session.lease("main"), session.lease("main"));
    let (first, second) = (first.unwrap(), second.unwrap());
    let dead = [pid(&first).await, pid(&second).await];
    second.give_back();
    era.send_replace(1);
    let hung = tokio::time::timeout(Duration::from_millis(200), first.simple_query("SELECT 1"));
    assert!(hung.await.is_err(), "nothing is passed on");
    let begin = Instant::now();
    drop(first);
    let gone = async {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
        while observer
            .query_one(sql, &[&dead[0]])
            .await
            .unwrap()
            .get::<_, i64>(0)
            > 0
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), gone)
        .await
        .expect("its process is ended");
    // The other one is dead, too, and closed right after that: whoever got it would wait for nothing.
    let closed = async {
        while sessions.census().budgets[0].taken > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(AT_ONCE, closed).await.unwrap();
    let leases = [
        session.lease("main").await.unwrap(),
        session.lease("main").await.unwrap(),
    ];
    for lease in &leases {
        let alive = tokio::time::timeout(Duration::from_secs(5), pid(lease));
        assert!(!dead.contains(&alive.await.expect("it answers")));
    }
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    sessions.close("tunnelled");
}

/// Passes bytes on to the server until it is told to stop. From then on it does nothing, like a host that is cut off: the
/// connections that there are stay open, and new ones are not taken.
async fn cut_off() -> (u16, tokio::sync::watch::Sender<bool>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let accept = async || {
            let mut stopped = stopped.clone();
            let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
            tokio::select! {
                accepted = listener.accept() => Some(accepted.unwrap().0),
                () = stopped => None,
            }
        };
        while let Some(mut client) = accept().await {
            let mut stopped = stopped.clone();
            tokio::spawn(async move {
                let address = ("127.0.0.1", server().cluster.port());
                let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
                std::future::pending::<()>().await; // Neither end hears of the other.
            });
        }
        // The system takes as many as may wait to be accepted, and nothing after them.
        let mut waiting = Vec::new();
        let soon = Duration::from_millis(100);
        while let Ok(taken) =
            tokio::time::timeout(soon, tokio::net::TcpStream::connect(address)).await
        {
            waiting.push(taken.unwrap());
        }
        std::future::pending::<()>().await;
    });
    (address.port(), stop)
}

#[tokio::test]
async fn when_a_host_is_cut_off_one_call_finds_out_for_all() {
    let (port, stop) = cut_off().await;
    let sessions = Sessions::new([database(at(port))], Limits::default());
    let (one, other) = (sessions.open("one", None), sessions.open("other", None));
    let first = one.lease("main").await.unwrap();
    for idle in [one.lease("main").await, other.lease("main").await] {
        idle.unwrap().give_back();
    }
    stop.send_replace(true);
    let hung = tokio::time::timeout(Duration::from_millis(500), first.simple_query("SELECT 1"));
    assert!(hung.await.is_err(), "nothing is passed on");
    drop(first);
    let closed = async {
        while sessions.census().budgets[0].taken > 0 {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(5), closed);
    in_time.await.expect("all connections are closed");
}
