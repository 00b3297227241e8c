//! The hosts that a configuration names, one by one.
//!
//! The client library would try several hosts of one configuration itself, and a host that accepts
//! and then says nothing would use up the time of all. So each host gets its own configuration, and
//! with it its own time-out.

use std::{net::IpAddr, path::PathBuf};

use tokio_postgres::{Config, config::Host};

/// Gives one configuration for each host, in their order. A configuration whose numbers of hosts,
/// addresses and ports do not match is left as it is: the client library reports that.
pub(crate) fn one_by_one(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let count = hosts.len().max(addresses.len());
    let is_one_for_each = |given: usize| given == 0 || given == count;
    let has_ports = ports.len() == 1 || is_one_for_each(ports.len());
    if count <= 1
        || !is_one_for_each(hosts.len())
        || !is_one_for_each(addresses.len())
        || !has_ports
    {
        return vec![config.clone()];
    }
    let port = |at: usize| ports.get(at).or(ports.first()).copied();
    (0..count)
        .map(|at| only(config, hosts.get(at), addresses.get(at).copied(), port(at)))
        .collect()
}

/// The path of the Unix socket that a configuration names, if it names one.
pub(crate) fn socket_path(config: &Config) -> Option<PathBuf> {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts() {
        [Host::Unix(folder)] => Some(folder.join(format!(".s.PGSQL.{port}"))),
        _ => None,
    }
}

/// The same configuration with one host only. It is built anew, because the library cannot remove
/// hosts from one.
fn only(
    config: &Config,
    host: Option<&Host>,
    address: Option<IpAddr>,
    port: Option<u16>,
) -> Config {
    let mut one = Config::new();
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    match host {
        Some(Host::Tcp(name)) => _ = one.host(name),
        Some(Host::Unix(folder)) => _ = one.host_path(folder),
        None => {}
    }
    address.map(|address| one.hostaddr(address));
    port.map(|port| one.port(port));
    config.get_user().map(|user| one.user(user));
    config.get_password().map(|password| one.password(password));
    config.get_dbname().map(|name| one.dbname(name));
    config.get_options().map(|options| one.options(options));
    let name = config.get_application_name();
    name.map(|name| one.application_name(name));
    let timeout = config.get_connect_timeout();
    timeout.map(|time| one.connect_timeout(*time));
    let timeout = config.get_tcp_user_timeout();
    timeout.map(|time| one.tcp_user_timeout(*time));
    let interval = config.get_keepalives_interval();
    interval.map(|time| one.keepalives_interval(time));
    let retries = config.get_keepalives_retries();
    retries.map(|count| one.keepalives_retries(count));
    one
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// All that a configuration can say beside its hosts, each otherwise than by default.
    const OTHERWISE: &str = "user=u password=p dbname=d options=o application_name=a sslmode=require \
         sslnegotiation=direct connect_timeout=1 tcp_user_timeout=2 keepalives=0 keepalives_idle=3 \
         keepalives_interval=4 keepalives_retries=5 target_session_attrs=read-write \
         channel_binding=require load_balance_hosts=random";

    fn config(text: &str) -> Config {
        format!("{OTHERWISE} {text}").parse().unwrap()
    }

    #[test]
    fn each_host_has_all_that_was_said_of_all() {
        for (several, each) in [
            (
                "host=a,/b,c port=1,2,3",
                &["host=a port=1", "host=/b port=2", "host=c port=3"] as &[_],
            ),
            ("host=a,b port=1", &["host=a port=1", "host=b port=1"]),
            (
                "host=a,b hostaddr=10.0.0.1,10.0.0.2",
                &["host=a hostaddr=10.0.0.1", "host=b hostaddr=10.0.0.2"],
            ),
            (
                "hostaddr=10.0.0.1,10.0.0.2",
                &["hostaddr=10.0.0.1", "hostaddr=10.0.0.2"],
            ),
            ("host=a,b port=1,2,3", &["host=a,b port=1,2,3"]),
            (
                "host=a,b hostaddr=10.0.0.1",
                &["host=a,b hostaddr=10.0.0.1"],
            ),
            ("host=a", &["host=a"]),
        ] {
            let each: Vec<Config> = each.iter().map(|one| config(one)).collect();
            assert_eq!(one_by_one(&config(several)), each, "{several}");
        }
    }
}
