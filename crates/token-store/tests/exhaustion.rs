//! A process that has run out of file descriptors. In a test binary of its own, as the limit applies to the whole
//! process.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    sync::mpsc,
    time::{Duration, Instant},
};

use common::numbered_set;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use token_store::{
    TokenFile,
    watch::{Stale, TokenWatch, Update},
};

#[tokio::test]
async fn without_file_descriptors_a_changed_file_refuses_requests_instead_of_overlooking_the_change()
 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    let next = folder.path().join("next.yaml");
    fs::write(&path, numbered_set(2).to_yaml()).unwrap();
    fs::write(&next, numbered_set(1).to_yaml()).unwrap();
    let (sender, failures) = mpsc::channel();
    let watch = TokenWatch::start(TokenFile::new(&path), move |update| {
        if let Update::Failed(error) = update {
            sender.send(error.to_string()).unwrap();
        }
    })
    .unwrap();
    watch.fresh().await.unwrap();

    let usual = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(3),
            ..usual
        },
    )
    .unwrap();
    fs::rename(&next, &path).unwrap();
    for _ in 0..3 {
        assert_eq!(watch.fresh().await, Err(Stale::Unreadable));
    }
    let failure = failures.recv_timeout(Duration::from_secs(5)).unwrap();
    setrlimit(Resource::Nofile, usual).unwrap();
    assert!(failure.contains("Too many open files"), "{failure}");

    // Nothing reports that descriptors are free again; a request finds out.
    let deadline = Instant::now() + Duration::from_secs(5);
    while watch.fresh().await.is_err() {
        assert!(Instant::now() < deadline, "the file is never read again");
    }
    assert_eq!(watch.current().len(), 1);
}
