use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::account::Account;
use crate::connection::Connection;
use crate::error::hint;
use crate::folder::{Folder, sweep};
use crate::initialize::initialize;
use crate::programs::Programs;
use crate::readiness::probe;
use crate::settings::{IdentityFiles, Place, settings};
use crate::supervised::{Signal, Supervised};
use crate::{StartError, orphan};

/// How long a server gets to end its sessions and write its data before it is shut down immediately.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How many ports are tried if another program takes the one that was just free.
const PORT_ATTEMPTS: usize = 5;

/// Whether the data survives a crash and the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Committed data survives power loss; the folder stays.
    Durable,
    /// For tests: nothing is flushed to disk, and the folder is removed with the guard.
    Throwaway,
}

/// Where the server listens besides its Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Nowhere.
    SocketOnly,
    /// On a free TCP port of 127.0.0.1, with password authentication.
    Loopback,
}

/// The server's TLS identity, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, followed by its chain.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Which cluster to start, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The programs to run.
    pub programs: Programs,
    /// The folder that holds everything; created with mode 0700 if missing.
    pub folder: PathBuf,
    /// Whether the data survives a crash and the guard.
    pub storage: Storage,
    /// Whether existing data is removed first.
    pub reset: bool,
    /// The role that owns the cluster; used only when the cluster is created.
    pub superuser: String,
    /// Where the server listens besides its Unix socket.
    pub network: Network,
    /// Turns TLS on for TCP connections.
    pub tls: Option<Identity>,
    /// Further settings, such as `("max_connections", "200")`; they override this crate's own.
    pub settings: Vec<(String, String)>,
    /// How long a start may take, including crash recovery.
    pub start_limit: Duration,
}

impl Options {
    /// Options for a cluster whose data stays.
    pub fn durable(programs: Programs, folder: impl Into<PathBuf>) -> Self {
        Self {
            programs,
            folder: folder.into(),
            storage: Storage::Durable,
            reset: false,
            superuser: "postgres".into(),
            network: Network::SocketOnly,
            tls: None,
            settings: Vec::new(),
            start_limit: Duration::from_secs(60),
        }
    }

    /// Options for a cluster shared by all tests of a program, whose guard nobody drops: like [`Options::throwaway`],
    /// in a new folder in `/tmp` whose name begins with `prefix`. Folders with that prefix left by programs that have
    /// ended are removed first.
    pub fn for_tests(programs: Programs, prefix: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        // Not in the build folder: if this runs as root, PostgreSQL runs as another user, who may not be able to reach
        // it.
        let parent = Path::new("/tmp");
        sweep(parent, prefix);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let moment = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        let process = std::process::id();
        let name = format!("{prefix}{process}-{moment}-{number}");
        Self::throwaway(programs, parent.join(name))
    }

    /// Options for a test cluster: fast, not crash-safe, removed with its guard.
    pub fn throwaway(programs: Programs, folder: impl Into<PathBuf>) -> Self {
        Self {
            storage: Storage::Throwaway,
            ..Self::durable(programs, folder)
        }
    }

    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// A running cluster. Dropping it stops the server, in an orderly way within five seconds, else immediately.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    account: Account,
    folder: Folder,
    socket_dir: PathBuf,
    port: u16,
    server: Option<Supervised>,
}

impl Cluster {
    /// Creates the cluster if there is none, starts it and returns once it accepts clients. Blocks for about a second
    /// the first time, a tenth of a second later on, longer after a crash.
    ///
    /// # Errors
    /// The folder is held by another process or unusable, or `initdb` or the server fails.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let account = Account::for_this_process()?;
        let folder = Folder::hold(&options.folder, &account)?;
        initialize(&folder, &options, &account)?;
        let (network, mut attempts) = (options.network, PORT_ATTEMPTS);
        let mut cluster = Self {
            options,
            account,
            folder,
            socket_dir: PathBuf::new(),
            port: 0,
            server: None,
        };
        loop {
            cluster.port = choose_port(network)?;
            cluster.socket_dir = cluster.folder.socket_dir(cluster.port, &cluster.account)?;
            attempts -= 1;
            match cluster.resume() {
                Err(StartError::Ended { log, .. })
                    if network == Network::Loopback
                        && attempts > 0
                        && log.contains("Address already in use") => {}
                started => return started.map(|()| cluster),
            }
        }
    }

    /// How to connect to `database` as the superuser.
    pub fn connection(&self, database: &str) -> Connection {
        Connection {
            socket_dir: self.socket_dir.clone(),
            port: self.port,
            user: self.options.superuser.clone(),
            database: database.into(),
        }
    }

    /// The folder of the Unix socket. Only this process's user (and the server's) may enter it.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The number in the socket's name, which is also the TCP port with [`Network::Loopback`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The role that owns the cluster.
    pub fn superuser(&self) -> &str {
        &self.options.superuser
    }

    /// The server's log of the current run.
    pub fn log_path(&self) -> PathBuf {
        self.folder.log()
    }

    /// Stops the server and releases the folder.
    pub fn stop(self) {
        drop(self);
    }

    /// Stops the server but keeps the folder, for [`Cluster::resume`]. Sessions are ended.
    pub fn halt(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        for signal in [Signal::Interrupt, Signal::Quit] {
            server.signal(signal);
            if server.wait(STOP_LIMIT).is_some() {
                return;
            }
        }
        tracing::error!(log = %self.folder.log().display(), "PostgreSQL does not stop");
    }

    /// Starts the server again, on the same socket and port.
    ///
    /// # Errors
    /// The server does not start.
    pub fn resume(&mut self) -> Result<(), StartError> {
        self.halt();
        orphan::settle(&self.folder.data(self.options.programs.major()))?;
        let log_path = self.folder.log();
        let log = self.folder.create(&log_path)?;
        let postgres = self.options.programs.program("postgres");
        let mut server = Supervised::start(&postgres, self.arguments()?, &self.account, &log)?;
        self.await_ready(&mut server)?;
        self.server = Some(server);
        Ok(())
    }

    /// Tries connections until one is accepted, the server has ended, or time is up. A server that is not ready in time
    /// is interrupted when its guard is dropped.
    fn await_ready(&self, server: &mut Supervised) -> Result<(), StartError> {
        let limit = self.options.start_limit;
        let deadline = Instant::now() + limit;
        let connection = self.connection("postgres");
        loop {
            let Err(last) = probe(&connection) else {
                return Ok(());
            };
            if let Some(status) = server.ended() {
                let log = self.end_of_log();
                return Err(StartError::Ended {
                    status,
                    hint: hint(&log),
                    log,
                });
            }
            if Instant::now() >= deadline {
                let log = self.end_of_log();
                return Err(StartError::NotReady { limit, last, log });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end_of_log(&self) -> String {
        self.folder.end_of(&self.folder.log())
    }

    fn arguments(&self) -> Result<Vec<OsString>, StartError> {
        let data = self.folder.data(self.options.programs.major());
        let place = Place {
            socket_dir: &self.socket_dir,
            port: self.port,
        };
        let mut arguments = vec!["-D".into(), data.into()];
        for setting in settings(&self.options, place, self.identity_files()?) {
            arguments.extend(["-c".into(), setting]);
        }
        Ok(arguments)
    }

    /// Writes the TLS identity where the server can read it. PostgreSQL requires that it owns the key and that the mode
    /// is 0600.
    fn identity_files(&self) -> Result<Option<IdentityFiles>, StartError> {
        let Some(identity) = &self.options.tls else {
            return Ok(None);
        };
        let files = IdentityFiles {
            certificate: self.folder.file("server.crt"),
            key: self.folder.file("server.key"),
        };
        for (path, text) in [
            (&files.certificate, &identity.certificate),
            (&files.key, &identity.key),
        ] {
            let file = write_private(path, text).map_err(StartError::file("write", path))?;
            self.account.give(&file, path)?;
        }
        Ok(Some(files))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.halt();
        if self.options.storage == Storage::Throwaway {
            // What cannot be removed now is removed by the next sweep.
            let _ = fs::remove_dir_all(self.folder.path());
        }
    }
}

/// Picks a port that is free now. Another program may still take it before the server does; then the start fails.
fn choose_port(network: Network) -> Result<u16, StartError> {
    const SOCKET_ONLY: u16 = 5432;
    match network {
        Network::SocketOnly => Ok(SOCKET_ONLY),
        Network::Loopback => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map(|address| address.port())
            .map_err(|source| StartError::NoPort { source }),
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<File> {
    let _ = fs::remove_file(path);
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}
