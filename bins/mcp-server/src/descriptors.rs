//! How many connections fit into the number of files that the process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server_config::Config;

use crate::announce;

/// Files for everything else: the server's own, cancel requests, and connections that are being
/// closed.
const OWN: u64 = 64;

/// What PostgreSQL servers usually accept, for configurations that do not say.
const USUAL_CONNECTIONS: u64 = 100;

/// Says how many connections of clients are accepted, so that there are always files left for the
/// token file, for cancel requests and for PostgreSQL. Raises the process's limit as far as that is
/// needed and allowed.
pub(crate) fn make_room(config: &Config) -> usize {
    let asked = config.http.max_connections;
    let total = config.limits.max_connections_total;
    let each = total.map_or(USUAL_CONNECTIONS, |most| most as u64);
    let beside = OWN + each.saturating_mul(config.databases.len() as u64);
    let limit = raise(beside.saturating_add(asked as u64));
    let fitting = limit.map_or(asked, |limit| fitting(asked, beside, limit));
    if fitting < asked {
        announce!(
            "WARNING: {fitting} connections of clients are taken at once instead of {asked} (http.max_connections), since the process may have {} files open; raise that limit (ulimit -n, or LimitNOFILE in systemd), or lower http.max_connections",
            limit.unwrap_or_default()
        );
    }
    fitting
}

/// Raises the limit to what is needed, if it is lower. Returns the limit then; `None` if there is
/// none.
fn raise(needed: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let wanted = maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    match wanted > current && setrlimit(Resource::Nofile, raised).is_ok() {
        true => Some(wanted),
        false => Some(current),
    }
}

/// A quarter is always for clients: a server that accepts none would be useless.
fn fitting(asked: usize, beside: u64, limit: u64) -> usize {
    let left = limit.saturating_sub(beside).max(limit / 4).max(1);
    usize::try_from(left).unwrap_or(usize::MAX).min(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_room_for_everything_else() {
        for (asked, beside, limit, taken) in [
            (1_024, 164, 20_000, 1_024),
            (1_024, 164, 1_188, 1_024),
            (1_024, 164, 1_024, 860),
            (1_024, 164, 64, 16),
            (10, 164, 64, 10),
            (1_024, 164, 1, 1),
        ] {
            assert_eq!(fitting(asked, beside, limit), taken, "{asked} of {limit}");
        }
    }
}
