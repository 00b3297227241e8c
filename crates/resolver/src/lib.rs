//! The addresses of hosts, as the system finds them; each name is looked up once at a time.
//!
//! The system's look-up blocks a thread, of which a runtime has a limited number for everything that blocks, and it
//! cannot be ended: if no name server answers, it goes on for ten seconds and more after the caller has left. So callers
//! that ask for a name that is being looked up wait for the same answer.
//!
//! ```
//! use std::net::IpAddr;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let resolver = resolver::Resolver::default();
//! let addresses = resolver.resolve("localhost").await?;
//! assert!(addresses.iter().all(IpAddr::is_loopback));
//! # Ok(())
//! # }
//! ```

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{net::lookup_host, sync::watch};

type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;
type Answer = watch::Receiver<Option<Found>>;

/// Looks up names for all that share it. It keeps an entry for each name that it was asked for, so the names should be
/// those of a configuration.
#[derive(Debug, Default)]
pub struct Resolver {
    /// The last look-up of each name. Held for a look or a change.
    last: Mutex<HashMap<String, Answer>>,
}

impl Resolver {
    /// Returns the addresses of a host, at least one, in the order in which the system gives them. Nothing is
    /// remembered once a look-up has ended.
    ///
    /// Dropping the future leaves the look-up running, for others that ask for the same name.
    ///
    /// # Errors
    ///
    /// The system's, or one that says that the name has no address.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn resolve(&self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        let asked = name.to_owned();
        self.find(name, async move {
            let found = lookup_host((asked.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
        .await
    }

    /// Waits for the look-up of a name that is going on, or begins this one.
    async fn find(
        &self,
        name: &str,
        looking: impl Future<Output = io::Result<Arc<[IpAddr]>>> + Send + 'static,
    ) -> io::Result<Arc<[IpAddr]>> {
        let mut answer = self.join(name, looking);
        let found = answer.wait_for(Option::is_some).await;
        let found = found.map(|found| found.clone());
        match found {
            Ok(Some(Ok(addresses))) if !addresses.is_empty() => Ok(addresses),
            Ok(Some(Err(error))) => Err(io::Error::new(error.kind(), error)),
            _ => Err(io::Error::other("could not resolve any addresses")),
        }
    }

    fn join(
        &self,
        name: &str,
        looking: impl Future<Output = io::Result<Arc<[IpAddr]>>> + Send + 'static,
    ) -> Answer {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The channel is closed by the end of its look-up, whose answer may be old by now.
        if let Some(answer) = last.get(name).filter(|answer| answer.has_changed().is_ok()) {
            return answer.clone();
        }
        let (found, answer) = watch::channel(None);
        last.insert(name.to_owned(), answer.clone());
        // In a task of its own, because the caller that began it may leave before the others.
        tokio::spawn(async move { found.send_replace(Some(looking.await.map_err(Arc::new))) });
        answer
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        future::pending,
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time_whoever_leaves() {
        let (resolver, answered) = (Resolver::default(), Arc::new(Notify::new()));
        let begun = Arc::new(AtomicUsize::new(0));
        let looking = || {
            let (begun, answered) = (begun.clone(), answered.clone());
            async move {
                let number = u8::try_from(begun.fetch_add(1, Ordering::Relaxed)).unwrap();
                answered.notified().await;
                Ok([IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))].into())
            }
        };
        for _ in 0..1_000 {
            let left = resolver.find("db", looking()).now_or_never();
            assert!(left.is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        let other = resolver.find("other", async { Ok(Arc::default()) }).await;
        let other = other.unwrap_err().to_string();
        assert_eq!(other, "could not resolve any addresses");
        for last in 0..2 {
            let (found, again, ()) = tokio::join!(
                resolver.find("db", looking()),
                resolver.find("db", looking()),
                async { answered.notify_one() }
            );
            for found in [found, again] {
                assert_eq!(*found.unwrap(), [Ipv4Addr::new(127, 0, 0, last)]);
            }
        }
    }

    #[tokio::test]
    async fn an_error_is_told_to_all_and_asked_for_anew() {
        let resolver = Resolver::default();
        for _ in 0..2 {
            let failing = || async { Err(io::Error::other("no name server")) };
            let (one, two) = tokio::join!(
                resolver.find("db", failing()),
                resolver.find("db", pending())
            );
            for told in [one, two] {
                assert_eq!(told.unwrap_err().to_string(), "no name server");
            }
        }
    }
}
