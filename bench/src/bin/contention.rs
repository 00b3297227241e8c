//! Measures what 64 concurrent tasks cost each other on a request's way to a connection: the token's look-up, its
//! session, and an idle connection of that session, which is given back at once.
//!
//! The 64 tasks have a token and a session each, or share one. The runtime has a thread for each core, as the server's
//! has, or one for each task, so that the system often preempts a thread: whatever waits for something that it holds
//! sleeps until it resumes.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bench::{Arguments, world};
use session_pool::{Database, Limits, Session, Sessions, Terms};
use time::OffsetDateTime;
use token_store::{Secret, TokenSet};

const TASKS: usize = 64;
/// All tokens in use, including those of the tasks.
const TOKENS: u64 = 10_000;
/// After this many operations a task yields; the runtime would make it yield a bit later.
const TURN: u32 = 32;

#[derive(Clone, Copy)]
enum Part {
    Authenticate,
    Open,
    Lease,
    All,
}

const PARTS: [(Part, &str); 4] = [
    (Part::Authenticate, "authenticate"),
    (Part::Open, "open_on"),
    (Part::Lease, "lease, give_back"),
    (Part::All, "all three"),
];

#[derive(Clone, Copy)]
struct Crowd {
    threads: usize,
    tasks: usize,
    tokens: usize,
}

fn main() {
    let arguments = Arguments::of_process();
    let time = Duration::from_millis(arguments.number("--ms", 1_000));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cluster = runtime(1).block_on(world::start());
    let database = Database {
        // Waiting for a connection of the task's own session is not measured.
        max_connections: TASKS,
        ..world::database(&cluster)
    };
    let crowd = |threads, tasks, tokens| Crowd {
        threads,
        tasks,
        tokens,
    };
    let crowds = [
        crowd(1, 1, 1),
        crowd(cores, TASKS, 1),
        crowd(cores, TASKS, TASKS),
        crowd(TASKS, TASKS, TASKS),
    ];
    println!(
        "| | tasks | of tokens | threads | CPU an operation | p50 | p99 | p99.9 | longest | sleeps in 1,000,000 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (part, name) in PARTS {
        let mut alone = None;
        for crowd in crowds {
            let measured = runtime(crowd.threads).block_on(async {
                let desk = Arc::new(Desk::set_up(database.clone()).await);
                let measured = measure(&desk, part, crowd, time).await;
                desk.sessions.finish().await;
                measured
            });
            let base = *alone.get_or_insert(measured.cpu_ns());
            measured.print(name, crowd, base);
        }
    }
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(threads).enable_all().build();
    built.expect("a runtime")
}

/// Everything that a request passes on its way.
struct Desk {
    tokens: TokenSet,
    secrets: Vec<Secret>,
    sessions: Sessions,
    /// Those of the secrets' tokens, in the same order.
    own: Vec<Session>,
    /// Those of all tokens: they are in use.
    _all: Vec<Session>,
    deadline: Option<SystemTime>,
    terms: Terms,
}

impl Desk {
    /// Opens the sessions of all tokens, and a connection in those of the tasks.
    async fn set_up(database: Database) -> Self {
        let limits = Limits {
            max_connections_total: Some(4 * TASKS),
            ..Limits::default()
        };
        let (tokens, secrets) = world::tokens(TOKENS, 1_000);
        let mut desk = Desk {
            tokens,
            secrets,
            sessions: Sessions::new([database], limits),
            own: Vec::new(),
            _all: Vec::new(),
            deadline: Some(SystemTime::now() + Duration::from_secs(86_400)),
            terms: Terms::default(),
        };
        let ids = desk.tokens.iter().map(|token| desk.open(token.id.as_str()));
        desk._all = ids.collect();
        let own = desk.secrets.iter().take(TASKS);
        desk.own = own
            .map(|secret| desk.open(desk.authenticate(secret)))
            .collect();
        for session in &desk.own {
            lease(session).await;
        }
        desk
    }

    async fn perform(&self, part: Part, number: usize) {
        match part {
            Part::Authenticate => {
                black_box(self.authenticate(&self.secrets[number]));
            }
            Part::Open => {
                black_box(self.open(self.own[number].id()));
            }
            Part::Lease => lease(&self.own[number]).await,
            Part::All => {
                let id = self.authenticate(&self.secrets[number]);
                lease(&self.open(id)).await;
            }
        }
    }

    fn authenticate(&self, secret: &Secret) -> &str {
        let now = OffsetDateTime::UNIX_EPOCH;
        let accepted = self.tokens.authenticate(black_box(secret.expose()), now);
        accepted.expect("known").token.id.as_str()
    }

    fn open(&self, id: &str) -> Session {
        self.sessions.open_on(id, self.deadline, &self.terms)
    }
}

async fn lease(session: &Session) {
    let lease = session.lease(world::DATABASE).await;
    lease.expect("a connection").give_back();
}

async fn measure(desk: &Arc<Desk>, part: Part, crowd: Crowd, time: Duration) -> Measured {
    let pid = u64::from(std::process::id());
    let (cpu, sleeps) = (bench::cpu_us(pid), bench::sleeps());
    let until = Instant::now() + time;
    let tasks = (0..crowd.tasks).map(|number| {
        let desk = Arc::clone(desk);
        tokio::spawn(async move { repeat(&desk, part, number % crowd.tokens, until).await })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut all = Times::default();
    for task in tasks {
        all.add(&task.await.expect("no panic"));
    }
    Measured {
        cpu_us: bench::cpu_us(pid) - cpu,
        sleeps: bench::sleeps().saturating_sub(sleeps),
        times: all,
    }
}

async fn repeat(desk: &Desk, part: Part, number: usize, until: Instant) -> Times {
    let mut times = Times::default();
    loop {
        let mut begin = Instant::now();
        for _ in 0..TURN {
            desk.perform(part, number).await;
            let end = Instant::now();
            times.note(end - begin);
            begin = end;
        }
        if begin >= until {
            return times;
        }
        tokio::task::yield_now().await;
    }
}

struct Measured {
    cpu_us: f64,
    sleeps: u64,
    times: Times,
}

impl Measured {
    #[allow(clippy::cast_precision_loss)]
    fn cpu_ns(&self) -> f64 {
        self.cpu_us * 1e3 / self.times.count() as f64
    }

    #[allow(clippy::cast_precision_loss)]
    fn print(&self, name: &str, crowd: Crowd, alone_ns: f64) {
        let Crowd {
            threads,
            tasks,
            tokens,
        } = crowd;
        let (cpu, times) = (self.cpu_ns(), &self.times);
        let sleeps = self.sleeps as f64 * 1e6 / times.count() as f64;
        println!(
            "| {name} | {tasks} | {tokens} | {threads} | {cpu:.0} ns, {:.2} of alone | {:.1?} | {:.1?} | {:.1?} | {:.1?} | {sleeps:.1} |",
            cpu / alone_ns,
            times.at(0.5),
            times.at(0.99),
            times.at(0.999),
            times.longest,
        );
    }
}

/// A histogram of how long operations took, with eight buckets per doubling.
struct Times {
    counts: [u64; 512],
    longest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            counts: [0; 512],
            longest: Duration::ZERO,
        }
    }
}

impl Times {
    fn note(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(8);
        let doublings = ns.ilog2();
        let eighth = (ns >> (doublings - 3)) & 7;
        self.counts[(doublings as usize) * 8 + usize::try_from(eighth).expect("below 8")] += 1;
        self.longest = self.longest.max(time);
    }

    fn add(&mut self, other: &Times) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.longest = self.longest.max(other.longest);
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>().max(1)
    }

    /// The time within which this fraction of all operations finished.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn at(&self, part: f64) -> Duration {
        let mut left = (self.count() as f64 * part) as u64;
        let slot = self.counts.iter().position(|count| {
            let found = *count > left;
            left = left.saturating_sub(*count);
            found
        });
        let slot = slot.unwrap_or(0) as u64;
        Duration::from_nanos((8 + slot % 8) << (slot / 8) >> 3)
    }
}
