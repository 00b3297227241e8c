//! Real clusters, run with the programs installed here.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use private_postgres::{Cluster, Network, Options, Programs, Search, StartError, sample};
use tokio_postgres::NoTls;

fn programs() -> Programs {
    let search = Search {
        bin_dir: std::env::var_os("PG_BINDIR").map(Into::into),
        path: std::env::var_os("PATH"),
    };
    Programs::find(&search).unwrap_or_else(|error| panic!("{error}"))
}

/// A folder that another account can reach as well, as the server does not run as root.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix("private-postgres-")
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn durable(folder: &tempfile::TempDir) -> Options {
    Options::durable(programs(), folder.path().join("cluster"))
}

fn throwaway(folder: &tempfile::TempDir) -> Options {
    Options::throwaway(programs(), folder.path().join("cluster"))
}

/// Runs statements and returns the first column of the last row.
fn query(config: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(config, NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        drop(client);
        let _ = connection.await;
        let cell = messages.iter().rev().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(cell.unwrap_or_default())
    })
}

fn ask(cluster: &Cluster, sql: &str) -> String {
    query(&cluster.connection("postgres").to_string(), sql).unwrap()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited 20 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn processes_in(data: &Path) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn data_of(folder: &tempfile::TempDir) -> PathBuf {
    folder
        .path()
        .join("cluster")
        .join(format!("data-{}", programs().major()))
}

#[test]
fn data_outlives_a_stop() {
    let folder = folder();
    let cluster = Cluster::start(durable(&folder)).unwrap();
    ask(&cluster, "create table kept as select 42 as answer");
    cluster.stop();
    assert_eq!(processes_in(&data_of(&folder)), Vec::<String>::new());

    let cluster = Cluster::start(durable(&folder)).unwrap();
    assert_eq!(ask(&cluster, "select answer from kept"), "42");
    assert_eq!(ask(&cluster, "show fsync"), "on");
}

#[test]
fn a_reset_begins_anew() {
    let folder = folder();
    let cluster = Cluster::start(durable(&folder)).unwrap();
    ask(&cluster, "create table kept()");
    cluster.stop();
    let reset = Options {
        reset: true,
        ..durable(&folder)
    };
    let cluster = Cluster::start(reset).unwrap();
    assert_eq!(ask(&cluster, "select to_regclass('kept') is null"), "t");
}

#[test]
fn a_second_start_on_the_folder_is_refused_and_the_first_goes_on() {
    let folder = folder();
    let cluster = Cluster::start(throwaway(&folder)).unwrap();
    let error = Cluster::start(throwaway(&folder)).unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("(pid {})", std::process::id())),
        "{error}"
    );
    assert_eq!(ask(&cluster, "select 1"), "1");
}

#[test]
fn a_throwaway_folder_goes_with_its_guard() {
    let folder = folder();
    let cluster = Cluster::start(throwaway(&folder)).unwrap();
    assert_eq!(ask(&cluster, "show fsync"), "off");
    drop(cluster);
    assert!(!folder.path().join("cluster").exists());
}

#[test]
fn only_the_servers_user_can_enter_the_folders() {
    let folder = folder();
    let cluster = Cluster::start(throwaway(&folder)).unwrap();
    for path in [
        folder.path().join("cluster"),
        cluster.socket_dir().into(),
        data_of(&folder),
    ] {
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o777,
            0o700,
            "{}",
            path.display()
        );
    }
    assert_eq!(ask(&cluster, "show listen_addresses"), "");
}

#[test]
fn a_server_that_was_halted_resumes_on_the_same_socket_and_port() {
    let folder = folder();
    let options = Options {
        network: Network::Loopback,
        ..throwaway(&folder)
    };
    let mut cluster = Cluster::start(options).unwrap();
    let before = cluster.connection("postgres");
    ask(&cluster, "create table kept()");
    cluster.halt();
    assert!(query(&before.to_string(), "select 1").is_err());
    cluster.resume().unwrap();
    assert_eq!(cluster.connection("postgres"), before);
    assert_eq!(ask(&cluster, "select to_regclass('kept')"), "kept");
}

#[test]
fn tcp_asks_for_a_password_and_takes_the_right_one() {
    let folder = folder();
    let options = Options {
        network: Network::Loopback,
        ..throwaway(&folder)
    };
    let cluster = Cluster::start(options).unwrap();
    ask(&cluster, "create role reader login password 'right'");
    let with = |password: &str| {
        let config = format!(
            "host=127.0.0.1 port={} user=reader dbname=postgres password={password}",
            cluster.port()
        );
        query(&config, "select current_user")
    };
    assert_eq!(with("right").unwrap(), "reader");
    let refused = with("wrong").unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "28P01");
}

#[test]
fn settings_of_the_caller_win() {
    let folder = folder();
    let options = throwaway(&folder)
        .setting("shared_buffers", "16MB")
        .setting("max_connections", "33");
    let cluster = Cluster::start(options).unwrap();
    assert_eq!(ask(&cluster, "show shared_buffers"), "16MB");
    assert_eq!(ask(&cluster, "show max_connections"), "33");
}

#[test]
fn a_server_that_refuses_to_start_shows_its_log() {
    let folder = folder();
    let error = Cluster::start(throwaway(&folder).setting("no_such_setting", "1"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unrecognized configuration parameter \"no_such_setting\""),
        "{error}"
    );
}

#[test]
fn a_half_made_cluster_is_made_anew() {
    let folder = folder();
    let data = data_of(&folder);
    fs::create_dir_all(data.join("base")).unwrap();
    fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    let cluster = Cluster::start(throwaway(&folder)).unwrap();
    assert_eq!(ask(&cluster, "select 1"), "1");
}

#[test]
fn a_pid_file_whose_number_another_program_has_now_is_no_obstacle() {
    let folder = folder();
    Cluster::start(durable(&folder)).unwrap().stop();
    let data = data_of(&folder);
    let owner = fs::metadata(&data).unwrap();
    let mut other = Command::new("sleep")
        .arg("60")
        .uid(owner.uid())
        .spawn()
        .unwrap();
    let pid_file = data.join("postmaster.pid");
    fs::write(
        &pid_file,
        format!("{}\n{}\n1\n5432\n/nowhere\n\n", other.id(), data.display()),
    )
    .unwrap();
    std::os::unix::fs::chown(&pid_file, Some(owner.uid()), Some(owner.gid())).unwrap();

    let started = Cluster::start(durable(&folder));
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(ask(&started.unwrap(), "select 1"), "1");
}

#[test]
fn an_orphan_is_stopped_before_the_start() {
    let folder = folder();
    Cluster::start(durable(&folder)).unwrap().stop();
    let data = data_of(&folder);
    let owner = fs::metadata(&data).unwrap();
    let mut orphan = Command::new(programs().bin_dir().join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-c"])
        .arg(format!(
            "unix_socket_directories={}",
            folder.path().join("cluster/socket").display()
        ))
        .uid(owner.uid())
        .gid(owner.gid())
        .current_dir("/")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the orphan has written its pid file", || {
        fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("ready"))
    });
    // Reaps it, so that it does not remain a zombie of this process.
    let reaper = std::thread::spawn(move || orphan.wait().unwrap());

    let cluster = Cluster::start(durable(&folder)).unwrap();
    assert!(reaper.join().unwrap().success());
    assert_eq!(ask(&cluster, "select 1"), "1");
}

#[test]
fn committed_rows_survive_a_killed_server() {
    let folder = folder();
    let mut cluster = Cluster::start(durable(&folder)).unwrap();
    ask(
        &cluster,
        "create table kept as select g from generate_series(1, 1000) g",
    );
    let pid_file = fs::read_to_string(data_of(&folder).join("postmaster.pid")).unwrap();
    let pid = pid_file.lines().next().unwrap();
    assert!(
        Command::new("kill")
            .args(["-KILL", pid])
            .status()
            .unwrap()
            .success()
    );
    cluster.resume().unwrap();
    assert_eq!(ask(&cluster, "select count(*) from kept"), "1000");
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "is run by the_server_ends_when_its_owner_is_killed"]
fn owner() {
    let Some(folder) = std::env::var_os("OWNED_FOLDER") else {
        return;
    };
    let _cluster = Cluster::start(Options::durable(programs(), folder)).unwrap();
    println!("\nstarted");
    loop {
        std::thread::park();
    }
}

fn spawn_starting_owner(folder: &tempfile::TempDir) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner", "--ignored", "--nocapture"])
        .env("OWNED_FOLDER", folder.path().join("cluster"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn spawn_owner(folder: &tempfile::TempDir) -> Child {
    let mut child = spawn_starting_owner(folder);
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(
        output
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "started")
    );
    child
}

#[test]
fn the_server_ends_when_its_owner_is_killed() {
    let folder = folder();
    let data = data_of(&folder);
    let mut owner = spawn_owner(&folder);
    assert!(!processes_in(&data).is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the server has ended", || processes_in(&data).is_empty());
}

#[test]
fn a_start_right_after_the_owner_was_killed_waits_for_the_old_server() {
    let folder = folder();
    let mut owner = spawn_owner(&folder);
    owner.kill().unwrap();
    owner.wait().unwrap();
    let cluster = Cluster::start(durable(&folder)).unwrap();
    assert_eq!(ask(&cluster, "select 1"), "1");
}

#[test]
fn an_owner_killed_in_the_middle_of_initdb_is_no_obstacle() {
    let folder = folder();
    let data = data_of(&folder);
    let mut owner = spawn_starting_owner(&folder);
    wait_until("initdb runs its server", || {
        fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.starts_with('-'))
    });
    owner.kill().unwrap();
    owner.wait().unwrap();
    let cluster = Cluster::start(durable(&folder)).unwrap();
    assert_eq!(ask(&cluster, "select 1"), "1");
}

#[test]
fn a_server_started_from_a_thread_outlives_the_thread() {
    let folder = folder();
    let options = throwaway(&folder);
    let cluster = std::thread::spawn(move || Cluster::start(options).unwrap())
        .join()
        .unwrap();
    assert_eq!(ask(&cluster, "select 1"), "1");
}

mod the_sample_shop {
    use super::*;

    /// A digest of everything in it, so that a change of a single value shows.
    const DIGEST: &str = "
        select md5(string_agg(digest, ',' order by name)) from (
            select 'users' as name, md5(string_agg(t::text, '' order by id)) as digest from shop.users t
            union all select 'products', md5(string_agg(id || sku || t.name || price || tags::text || features::text, '' order by id)) from shop.products t
            union all select 'stock', md5(string_agg(t::text, '' order by product_id, warehouse)) from shop.stock t
            union all select 'orders', md5(string_agg(t::text, '' order by id)) from shop.orders t
            union all select 'order_items', md5(string_agg(t::text, '' order by order_id, line)) from shop.order_items t
            union all select 'reviews', md5(string_agg(t::text, '' order by id)) from shop.reviews t
            union all select 'page_views', md5(string_agg(t::text, '' order by id)) from shop.page_views t
        ) as digests";

    fn shop(cluster: &Cluster) -> String {
        ask(cluster, "create database shop");
        let config = cluster.connection("shop").to_string();
        query(&config, sample::SHOP).unwrap();
        config
    }

    #[test]
    fn is_the_same_everywhere_and_reads_back_as_its_reader_only() {
        let folder = folder();
        let cluster = Cluster::start(throwaway(&folder)).unwrap();
        let owner = shop(&cluster);
        assert_eq!(
            query(&owner, &format!("set timezone = 'UTC'; {DIGEST}")).unwrap(),
            "d6c5f9adb713dbe72ff707ec5350cfb3"
        );

        let mut reader = cluster.connection("shop");
        reader.user = sample::SHOP_READER.into();
        let reader = reader.to_string();
        for (sql, expected) in [
            ("select count(*) from users", "1000"),
            ("select count(*) > 800 from users where active", "t"),
            ("select count(*) from products", "200"),
            ("select count(*) from orders", "5000"),
            ("select count(*) from page_views", "50000"),
            ("select count(*) > 10 from sales_by_month", "t"),
            ("select count(*) from similar_products(2)", "5"),
        ] {
            assert_eq!(query(&reader, sql).unwrap(), expected, "{sql}");
        }
        for (sql, state) in [
            ("begin read write; delete from users", "42501"),
            ("begin read write; create table shop.mine()", "42501"),
            ("begin read write; create table public.mine()", "42501"),
            ("begin read write; create schema mine", "42501"),
            ("begin read write; create temporary table mine()", "42501"),
            ("delete from users", "25006"),
            ("select pg_read_file('/etc/hostname')", "42501"),
            ("copy users to program 'true'", "42501"),
            ("set role postgres", "42501"),
        ] {
            let error = query(&reader, sql).unwrap_err();
            assert_eq!(
                error.code().map(|code| code.code()),
                Some(state),
                "{sql}: {error:?}"
            );
        }
    }

    #[test]
    fn loads_beside_another_shop_in_the_same_cluster() {
        let folder = folder();
        let cluster = Cluster::start(throwaway(&folder)).unwrap();
        shop(&cluster);
        ask(&cluster, "create database second");
        query(&cluster.connection("second").to_string(), sample::SHOP).unwrap();
    }
}
