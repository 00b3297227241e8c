//! Hosts that a configuration names, with their addresses.

use std::{borrow::Cow, io, net::IpAddr};

use resolver::Resolver;
use tokio_postgres::{Config, config::Host};

/// Returns a configuration in which its one host has its addresses, as the client library would look them up.
pub(crate) async fn resolved<'a>(
    config: &'a Config,
    resolver: &Resolver,
) -> io::Result<Cow<'a, Config>> {
    let [Host::Tcp(name)] = config.get_hosts() else {
        return Ok(Cow::Borrowed(config));
    };
    if !config.get_hostaddrs().is_empty() || name.parse::<IpAddr>().is_ok() {
        return Ok(Cow::Borrowed(config));
    }
    let addresses = resolver.resolve(name).await?;
    Ok(Cow::Owned(with_addresses(config, name, &addresses)))
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
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn only_a_name_is_looked_up() {
        let resolver = Resolver::default();
        for (given, expected) in [
            ("host=10.0.0.1", "host=10.0.0.1"),
            ("host=db hostaddr=10.0.0.1", "host=db hostaddr=10.0.0.1"),
            ("host=/run", "host=/run"),
            ("host=a,b port=1,2,3", "host=a,b port=1,2,3"),
        ] {
            let given: Config = given.parse().unwrap();
            let found = resolved(&given, &resolver).await.unwrap();
            assert_eq!(*found, expected.parse().unwrap());
        }
        let given: Config = "host=localhost port=5433 user=u".parse().unwrap();
        let found = resolved(&given, &resolver).await.unwrap();
        assert!(found.get_hostaddrs().iter().all(IpAddr::is_loopback));
        assert_eq!(found.get_hosts().len(), found.get_hostaddrs().len());
        let both = [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST].map(IpAddr::V4);
        let expected = "host=db,db hostaddr=127.0.0.1,255.255.255.255 port=5433";
        let one = "host=db port=5433".parse().unwrap();
        assert_eq!(with_addresses(&one, "db", &both), expected.parse().unwrap());
    }
}
