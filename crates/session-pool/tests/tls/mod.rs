//! Connections to PostgreSQL over TLS.

use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_postgres::config::ChannelBinding;

#[tokio::test]
async fn tls_is_spoken_and_verified_as_asked_for() {
    let authority = server().authority.as_path();
    let (_, stranger) = identity();
    let other = server().root.join("stranger.pem");
    fs::write(&other, stranger).unwrap();
    let uses_tls = |host: &'static str, verification, roots: Option<&std::path::Path>| {
        let tls = Tls::new(verification, roots).unwrap();
        async move {
            let mut config = tcp_config("127.0.0.1");
            if host != "127.0.0.1" {
                config = tcp_config(host);
                config.hostaddr("127.0.0.1".parse().unwrap());
            }
            let sessions = Sessions::new([Database::new("main", config, tls)], Limits::default());
            let lease = sessions.open("secure", None).lease("main").await.ok()?;
            let row = lease
                .query_one(
                    "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                    &[],
                )
                .await
                .unwrap();
            Some(row.get::<_, bool>(0))
        }
    };
    for (case, host, verification, roots, expected) in [
        (
            "prefer",
            "127.0.0.1",
            Verification::Opportunistic,
            None,
            Some(true),
        ),
        (
            "require",
            "127.0.0.1",
            Verification::Encrypted,
            None,
            Some(true),
        ),
        (
            "verify-ca, other name",
            "127.0.0.1",
            Verification::Authority,
            Some(authority),
            Some(true),
        ),
        (
            "verify-ca, other authority",
            "localhost",
            Verification::Authority,
            Some(other.as_path()),
            None,
        ),
        (
            "verify-full",
            "localhost",
            Verification::Host,
            Some(authority),
            Some(true),
        ),
        (
            "verify-full, other name",
            "127.0.0.1",
            Verification::Host,
            Some(authority),
            None,
        ),
        (
            "verify-full, other authority",
            "localhost",
            Verification::Host,
            Some(other.as_path()),
            None,
        ),
    ] {
        assert_eq!(
            uses_tls(host, verification, roots).await,
            expected,
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_login_that_must_be_bound_to_its_channel_is_so_or_is_none() {
    let login = |binding, tls| async move {
        let mut config = tcp_config("127.0.0.1");
        config.channel_binding(binding);
        let sessions = Sessions::new([Database::new("main", config, tls)], Limits::default());
        sessions.open("bound", None).lease("main").await.is_ok()
    };
    let over_tls = || Tls::new(Verification::Encrypted, None).unwrap();
    assert!(login(ChannelBinding::Require, over_tls()).await);
    assert!(!login(ChannelBinding::Require, Tls::disabled()).await);
    assert!(login(ChannelBinding::Prefer, Tls::disabled()).await);
}

/// One that offers no TLS, asks for the password in the clear, and complains with it.
async fn false_server(listener: TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut ssl_request = [0; 8];
    stream.read_exact(&mut ssl_request).await?;
    stream.write_all(b"N").await?;
    let length = stream.read_u32().await?;
    stream.read_exact(&mut vec![0; length as usize - 4]).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\x03").await?;
    assert_eq!(stream.read_u8().await?, b'p');
    let length = stream.read_u32().await?;
    let mut password = vec![0; length as usize - 4];
    stream.read_exact(&mut password).await?;
    let mut said = b"SFATAL\0C28P01\0Mno such password: ".to_vec();
    said.extend_from_slice(&password);
    said.push(0);
    stream.write_u8(b'E').await?;
    stream.write_u32(said.len() as u32 + 4).await?;
    stream.write_all(&said).await
}

#[tokio::test]
async fn a_false_server_that_repeats_the_password_is_not_quoted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(listener.local_addr().unwrap().port())
        .user("reader")
        .password(PASSWORD)
        .dbname("postgres");
    let answering = tokio::spawn(false_server(listener));
    let tls = Tls::new(Verification::Opportunistic, None).unwrap();
    let sessions = Sessions::new([Database::new("main", config, tls)], Limits::default());
    let Err(error) = sessions.open("told", None).lease("main").await else {
        panic!("that was no PostgreSQL");
    };
    answering.await.unwrap().unwrap();
    let LeaseError::Unreachable { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        source.to_string(),
        "no such password: **** (SQLSTATE 28P01)"
    );
    assert!(!format!("{error:?}").contains(PASSWORD));
}

#[tokio::test]
async fn closing_reaches_statements_over_tls() {
    let tls = Tls::new(Verification::Host, Some(&server().authority)).unwrap();
    let mut config = tcp_config("localhost");
    config.hostaddr("127.0.0.1".parse().unwrap());
    let sessions = Sessions::new([Database::new("main", config, tls)], Limits::default());
    let lease = sessions
        .open("tls-closing", None)
        .lease("main")
        .await
        .unwrap();
    let call = tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(60)").await });
    let observer = observer().await;
    running(&observer, "tls-closing", "pg_sleep").await;
    sessions.close("tls-closing");
    let took = gone(&observer, "tls-closing").await;
    assert!(took < AT_ONCE, "took {took:?}");
    assert!(call.await.unwrap().is_err());
}

/// Refuses TLS to whoever asks for it, and gives what it was sent by each until that hung up.
async fn eavesdropper(listener: TcpListener, sent: mpsc::UnboundedSender<Vec<u8>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut heard = vec![0; 8];
        if stream.read_exact(&mut heard).await.is_ok() {
            _ = stream.write_all(b"N").await;
            _ = stream.read_to_end(&mut heard).await;
        }
        _ = sent.send(heard);
    }
}

#[tokio::test]
async fn where_tls_is_required_no_host_is_told_anything_without_it() {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sent, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(eavesdropper(listener, sent));
    let login = |config: &mut Config| {
        let config = config.port(port).user("reader").password(PASSWORD);
        config.dbname("postgres").clone()
    };
    let socket = login(Config::new().host_path("/nowhere"));
    let tcp = login(Config::new().host("127.0.0.1"));
    for (first, second) in [(&socket, &tcp), (&tcp, &socket)] {
        let mut database = Database::new(
            "main",
            first.clone(),
            Tls::new(Verification::Encrypted, None).unwrap(),
        );
        database.fallbacks = vec![second.clone()];
        database.connect_timeout = Duration::from_secs(1);
        let sessions = Sessions::new([database], Limits::default());
        let lease = sessions.open("overheard", None).lease("main").await;
        drop(sessions);
        assert_eq!(heard.recv().await.unwrap(), SSL_REQUEST);
        assert!(matches!(lease, Err(LeaseError::Unreachable { .. })));
    }
    assert!(heard.is_empty(), "it was asked once each time");
}

#[tokio::test]
async fn a_database_may_be_reached_by_a_socket_and_by_tcp() {
    let observer = observer().await;
    let mut no_socket = tcp_config("localhost");
    no_socket.hostaddr("127.0.0.1".parse().unwrap());
    let (by_socket, by_tcp) = (socket_config(), no_socket);
    let (mut nowhere, mut nobody) = (Config::new(), Config::new());
    nowhere.host_path("/nowhere").user("x").dbname("x");
    nobody.host("127.0.0.1").port(1).user("x").dbname("x");
    for (id, first, second, uses_tls) in [
        ("socket, then TCP", nowhere, by_tcp, true),
        ("TCP, then socket", nobody, by_socket, false),
    ] {
        let tls = Tls::new(Verification::Host, Some(&server().authority)).unwrap();
        let mut database = Database::new("main", first, tls);
        database.fallbacks = vec![second];
        let sessions = Sessions::new([database], Limits::default());
        let session = sessions.open(id, None);
        let lease = session.lease("main").await.unwrap();
        let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let row = lease.query_one(ssl, &[]).await.unwrap();
        assert_eq!(row.get::<_, bool>(0), uses_tls, "{id}");
        let call = tokio::spawn(async move { lease.batch_execute("SELECT pg_sleep(60)").await });
        running(&observer, id, "pg_sleep").await;
        sessions.close(id);
        assert!(gone(&observer, id).await < AT_ONCE, "{id}");
        assert!(call.await.unwrap().is_err());
    }
}
