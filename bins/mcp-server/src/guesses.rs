//! Slower answers for those who guess tokens.
//!
//! Each wrong token costs its address some time (an IPv6 network of 64 bits counts as one address),
//! and the debt shrinks as time passes. The more an address owes, the later it is answered; once it
//! owes more than is tolerated, the answer is 429 with `Retry-After`. A right token is looked up
//! before any of this, so nobody is locked out by others behind the same address.
//!
//! The same wrong token again is no new guess: it comes from a client with a wrong configuration,
//! and costs little.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use mcp_protocol::{Refusal, http::network};
use server_config::Guessing;
use token_store::TokenHash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the same wrong token costs when it comes again. Clients with a wrong configuration try
/// about once a second.
const SAME_AGAIN: Duration = Duration::from_secs(1);

/// How many wrong tokens of an address are remembered.
const REMEMBERED: usize = 4;

/// How late the second wrong token is answered; each further one is answered twice as late, up to
/// the longest delay.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// The addresses that have presented wrong tokens.
pub(crate) struct Guesses {
    terms: Guessing,
    /// Locked briefly, and only when a token is wrong.
    table: Mutex<Table>,
    /// Locked for a look-up or an entry.
    gone: Mutex<Gone>,
    /// The key of the digests by which wrong tokens are remembered.
    digests: RandomState,
    held: Arc<Semaphore>,
}

#[derive(Default)]
struct Table {
    by_network: HashMap<IpAddr, Guesser>,
    /// The networks in the order of their last wrong tokens.
    order: BTreeMap<u64, IpAddr>,
    turns: u64,
}

struct Guesser {
    turn: u64,
    /// When the debt is paid off.
    owes_until: Instant,
    /// Digests of its last wrong tokens.
    tokens: [Option<u64>; REMEMBERED],
}

/// Tokens that are no longer valid.
#[derive(Default)]
struct Gone {
    tokens: HashSet<TokenHash>,
    order: VecDeque<TokenHash>,
}

/// How a wrong token is answered.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// How long to wait before responding.
    pub(crate) delay: Duration,
    pub(crate) refusal: Refusal,
    /// The right to hold the answer back for this long.
    _held: Option<OwnedSemaphorePermit>,
}

impl Verdict {
    fn at_once(refusal: Refusal) -> Self {
        Verdict {
            delay: Duration::ZERO,
            refusal,
            _held: None,
        }
    }
}

impl Guesses {
    /// `None` where all wrong tokens are answered in the same way.
    pub(crate) fn new(terms: Guessing) -> Option<Self> {
        terms.slowed.then(|| Guesses {
            terms,
            table: Mutex::default(),
            gone: Mutex::default(),
            digests: RandomState::new(),
            held: Arc::new(Semaphore::new(terms.held)),
        })
    }

    /// Says how a wrong token from an address is answered. A token that was removed while the
    /// server ran is not a guess.
    pub(crate) fn answer(&self, peer: IpAddr, token: &TokenHash, now: Instant) -> Verdict {
        if self.gone().tokens.contains(token) {
            return Verdict::at_once(Refusal::Unknown);
        }
        let verdict = self.judge(peer, self.digests.hash_one(token), now);
        if verdict.delay.is_zero() {
            return verdict;
        }
        match self.held.clone().try_acquire_owned() {
            Ok(held) => Verdict {
                _held: Some(held),
                ..verdict
            },
            Err(_) => Verdict::at_once(Refusal::TooManyFailures {
                retry_after: verdict.delay,
            }),
        }
    }

    /// Remembers tokens that are no longer valid, as many as addresses: somebody who still has one
    /// does not guess.
    pub(crate) fn remember_gone(&self, tokens: impl IntoIterator<Item = TokenHash>) {
        let mut gone = self.gone();
        for token in tokens {
            if gone.tokens.insert(token) {
                gone.order.push_back(token);
            }
            if gone.order.len() > self.terms.addresses
                && let Some(oldest) = gone.order.pop_front()
            {
                gone.tokens.remove(&oldest);
            }
        }
    }

    fn gone(&self) -> std::sync::MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the penalty of a wrong token, and decides the response.
    fn judge(&self, peer: IpAddr, digest: u64, now: Instant) -> Verdict {
        let Guessing {
            penalty,
            tolerance,
            longest,
            addresses,
            ..
        } = self.terms;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let guesser = table.guesser(network(peer), addresses, now);
        let cost = if guesser.tokens.contains(&Some(digest)) {
            SAME_AGAIN.min(penalty)
        } else {
            guesser.tokens.rotate_right(1);
            guesser.tokens[0] = Some(digest);
            penalty
        };
        let owes = guesser.owes_until.saturating_duration_since(now) + cost;
        let owes = owes.min(longest.max(penalty));
        guesser.owes_until = now + owes;
        drop(table);
        let refusal = if owes > tolerance {
            Refusal::TooManyFailures {
                retry_after: owes - tolerance,
            }
        } else {
            Refusal::Unknown
        };
        Verdict {
            delay: delay(owes, penalty),
            ..Verdict::at_once(refusal)
        }
    }
}

/// Says how late somebody is answered who owes this much, if a first wrong token costs `penalty`.
fn delay(owes: Duration, penalty: Duration) -> Duration {
    let others = owes.saturating_sub(penalty).as_micros();
    let others = others.div_ceil(penalty.as_micros().max(1));
    match u32::try_from(others) {
        Ok(0) => Duration::ZERO,
        Ok(others) if others < 16 => (FIRST_DELAY * (1 << (others - 1))).min(LONGEST_DELAY),
        _ => LONGEST_DELAY,
    }
}

impl Table {
    /// Finds the debtor of a network and moves it to the end of the order; forgets the first one if
    /// there are too many.
    fn guesser(&mut self, network: IpAddr, most: usize, now: Instant) -> &mut Guesser {
        self.turns += 1;
        let turn = self.turns;
        if let Some(known) = self.by_network.get(&network) {
            self.order.remove(&known.turn);
        } else if self.by_network.len() >= most
            && let Some((_, quiet)) = self.order.pop_first()
        {
            self.by_network.remove(&quiet);
        }
        self.order.insert(turn, network);
        let guesser = self.by_network.entry(network).or_insert(Guesser {
            turn,
            owes_until: now,
            tokens: [None; REMEMBERED],
        });
        guesser.turn = turn;
        guesser
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn guesses(change: impl FnOnce(&mut Guessing)) -> Guesses {
        let mut terms = Guessing {
            slowed: true,
            penalty: 5 * SECOND,
            tolerance: 15 * SECOND,
            longest: 600 * SECOND,
            addresses: 65_536,
            held: 256,
        };
        change(&mut terms);
        Guesses::new(terms).unwrap()
    }

    fn too_many(seconds: u64) -> Refusal {
        let retry_after = Duration::from_secs(seconds);
        Refusal::TooManyFailures { retry_after }
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_three_are_answered_soon_and_from_the_fourth_on_there_are_too_many() {
        let (guesses, now) = (guesses(|_| ()), Instant::now());
        let answers: Vec<Verdict> = (0..200)
            .map(|digest| guesses.judge(peer("192.0.2.1"), digest, now))
            .collect();
        let told: Vec<_> = answers[..6]
            .iter()
            .map(|one| (one.delay.as_millis(), one.refusal.clone()))
            .collect();
        assert_eq!(
            told,
            [
                (0, Refusal::Unknown),
                (100, Refusal::Unknown),
                (200, Refusal::Unknown),
                (400, too_many(5)),
                (800, too_many(10)),
                (1_600, too_many(15)),
            ]
        );
        let last = &answers[199];
        assert_eq!((last.delay, &last.refusal), (LONGEST_DELAY, &too_many(585)));
        let other = guesses.judge(peer("192.0.2.2"), 1, now);
        assert_eq!(
            (other.delay, other.refusal),
            (Duration::ZERO, Refusal::Unknown)
        );
        let later = guesses.judge(peer("192.0.2.1"), 1_000, now + 601 * SECOND);
        assert_eq!(
            (later.delay, later.refusal),
            (Duration::ZERO, Refusal::Unknown)
        );
    }

    #[test]
    fn a_client_that_tries_the_same_again_each_second_is_told_why_each_time() {
        let (guesses, start) = (guesses(|_| ()), Instant::now());
        for second in 0..1_000_u32 {
            let verdict = guesses.judge(peer("::1"), 7, start + second * SECOND);
            assert_eq!(verdict.refusal, Refusal::Unknown, "{second}");
            assert!(
                verdict.delay <= FIRST_DELAY,
                "{second}: {:?}",
                verdict.delay
            );
        }
        let hot: Vec<_> = (0..20)
            .map(|_| {
                guesses
                    .judge(peer("::1"), 7, start + 1_000 * SECOND)
                    .refusal
            })
            .collect();
        assert_eq!(hot.last(), Some(&too_many(9)), "{hot:?}");
    }

    #[test]
    fn a_network_of_64_bits_is_one_guesser_and_a_mapped_address_is_the_same_as_the_plain_one() {
        let (guesses, now) = (guesses(|_| ()), Instant::now());
        for digest in 0..3 {
            guesses.judge(peer(&format!("2001:db8:0:1::{digest}")), digest, now);
            guesses.judge(peer("198.51.100.7"), digest, now);
        }
        assert_eq!(
            guesses.judge(peer("2001:db8:0:1:f::9"), 9, now).refusal,
            too_many(5)
        );
        assert_eq!(
            guesses.judge(peer("2001:db8:0:2::9"), 9, now).refusal,
            Refusal::Unknown
        );
        assert_eq!(
            guesses.judge(peer("::ffff:198.51.100.7"), 9, now).refusal,
            too_many(5)
        );
    }

    #[test]
    fn a_million_addresses_take_no_more_room_than_the_table_has() {
        let (guesses, now) = (guesses(|terms| terms.addresses = 1_000), Instant::now());
        let first = peer("10.0.0.0");
        for digest in 0..4 {
            guesses.judge(first, digest, now);
        }
        for number in 1..1_000_000_u32 {
            guesses.judge(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), 1, now);
            if number % 500 == 0 {
                guesses.judge(first, u64::from(number) + 10, now);
            }
        }
        let table = guesses.table.lock().unwrap();
        assert_eq!((table.by_network.len(), table.order.len()), (1_000, 1_000));
        assert!(table.by_network.contains_key(&first), "it goes on guessing");
    }

    #[test]
    fn answers_beyond_those_that_can_be_held_back_come_at_once() {
        let (guesses, now) = (guesses(|terms| terms.held = 2), Instant::now());
        let answer = |token: &str| guesses.answer(peer("192.0.2.1"), &TokenHash::of(token), now);
        let first: Vec<Verdict> = ["a", "b", "c"].map(answer).into();
        assert!(first.iter().all(|one| one.refusal == Refusal::Unknown));
        let fourth = answer("d");
        assert_eq!(fourth.delay, Duration::ZERO);
        assert!(matches!(fourth.refusal, Refusal::TooManyFailures { .. }));
        drop(first);
        assert_eq!(answer("e").delay, 8 * FIRST_DELAY, "there is room again");
    }

    #[test]
    fn a_token_that_was_removed_is_no_guess() {
        const MOST_GONE: usize = 100;
        let (guesses, now) = (guesses(|terms| terms.addresses = MOST_GONE), Instant::now());
        let tokens: Vec<TokenHash> = (0..=MOST_GONE)
            .map(|number| TokenHash::of(&number.to_string()))
            .collect();
        guesses.remember_gone(tokens.iter().copied());
        for _ in 0..100 {
            let verdict = guesses.answer(peer("192.0.2.1"), &tokens[MOST_GONE], now);
            assert_eq!(
                (verdict.delay, verdict.refusal),
                (Duration::ZERO, Refusal::Unknown)
            );
        }
        assert_eq!(guesses.gone().tokens.len(), MOST_GONE);
        assert!(
            !guesses.gone().tokens.contains(&tokens[0]),
            "the oldest is forgotten"
        );
    }
}
