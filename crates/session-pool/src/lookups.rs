//! Looks up the addresses of hosts, each name once at a time.
//!
//! The system's look-up blocks a thread, of which a runtime has a limited number for all that blocks, and cannot be
//! ended: where no name server answers it goes on for ten seconds and more after whoever asked has gone. So who asks
//! for a name that is being looked up waits for the same answer.

use std::{
    borrow::Cow,
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{net::lookup_host, sync::watch};
use tokio_postgres::{Config, config::Host};

type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;
type Answer = watch::Receiver<Option<Found>>;

/// The look-ups of one database's hosts, by all of its sessions.
#[derive(Default)]
pub(crate) struct Lookups {
    /// The last one of each name. Held for a look or a change.
    last: Mutex<HashMap<String, Answer>>,
}

impl Lookups {
    /// Gives a configuration in which the host has its addresses, as the client library would find them.
    pub(crate) async fn resolve<'a>(&self, config: &'a Config) -> io::Result<Cow<'a, Config>> {
        let [Host::Tcp(name)] = config.get_hosts() else {
            return Ok(Cow::Borrowed(config));
        };
        if !config.get_hostaddrs().is_empty() || name.parse::<IpAddr>().is_ok() {
            return Ok(Cow::Borrowed(config));
        }
        let asked = name.clone();
        let found = self.find(name, async move {
            let found = lookup_host((asked.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        });
        Ok(Cow::Owned(with_addresses(config, name, &found.await?)))
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
        // It is closed by the end of its look-up: what was found then may be old.
        if let Some(answer) = last.get(name).filter(|answer| answer.has_changed().is_ok()) {
            return answer.clone();
        }
        let (found, answer) = watch::channel(None);
        last.insert(name.to_owned(), answer.clone());
        // A task of its own: whoever began it may leave before the others.
        tokio::spawn(async move { found.send_replace(Some(looking.await.map_err(Arc::new))) });
        answer
    }
}

/// The same configuration with the addresses of its one host, which are tried in this order.
fn with_addresses(config: &Config, name: &str, addresses: &[IpAddr]) -> Config {
    let mut config = config.clone();
    for (at, address) in addresses.iter().enumerate() {
        if at > 0 {
            config.host(name);
        }
        config.hostaddr(*address);
    }
    config
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
        let (lookups, answered) = (Lookups::default(), Arc::new(Notify::new()));
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
            let left = lookups.find("db", looking()).now_or_never();
            assert!(left.is_none());
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        let other = lookups.find("other", async { Ok(Arc::default()) }).await;
        let other = other.unwrap_err().to_string();
        assert_eq!(other, "could not resolve any addresses");
        for last in 0..2 {
            let (found, again, ()) = tokio::join!(
                lookups.find("db", looking()),
                lookups.find("db", looking()),
                async { answered.notify_one() }
            );
            for found in [found, again] {
                assert_eq!(*found.unwrap(), [Ipv4Addr::new(127, 0, 0, last)]);
            }
        }
    }

    #[tokio::test]
    async fn an_error_is_told_to_all_and_asked_for_anew() {
        let lookups = Lookups::default();
        for _ in 0..2 {
            let failing = || async { Err(io::Error::other("no name server")) };
            let (one, two) =
                tokio::join!(lookups.find("db", failing()), lookups.find("db", pending()));
            for told in [one, two] {
                assert_eq!(told.unwrap_err().to_string(), "no name server");
            }
        }
    }

    #[tokio::test]
    async fn only_a_name_is_looked_up() {
        let lookups = Lookups::default();
        for (given, resolved) in [
            ("host=10.0.0.1", "host=10.0.0.1"),
            ("host=db hostaddr=10.0.0.1", "host=db hostaddr=10.0.0.1"),
            ("host=/run", "host=/run"),
            ("host=a,b port=1,2,3", "host=a,b port=1,2,3"),
        ] {
            let given: Config = given.parse().unwrap();
            let found = lookups.resolve(&given).await.unwrap();
            assert_eq!(*found, resolved.parse().unwrap());
        }
        let given: Config = "host=localhost port=5433 user=u".parse().unwrap();
        let found = lookups.resolve(&given).await.unwrap();
        assert!(found.get_hostaddrs().iter().all(IpAddr::is_loopback));
        assert_eq!(found.get_hosts().len(), found.get_hostaddrs().len());
        let both = [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST].map(IpAddr::V4);
        let expected = "host=db,db hostaddr=127.0.0.1,255.255.255.255 port=5433";
        let one = "host=db port=5433".parse().unwrap();
        assert_eq!(with_addresses(&one, "db", &both), expected.parse().unwrap());
    }
}
