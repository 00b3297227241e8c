//! Which calls may go on although their holder's rights were changed since they began.

use std::{fmt, net::IpAddr, sync::Arc, time::Instant};

use tokio::sync::watch;

/// Something that is running, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Doing<'a> {
    /// Where it was requested from.
    pub peer: Option<IpAddr>,
    /// Which of the holder's secrets it was requested with, as a number that tells them apart.
    pub secret: Option<u64>,
    /// The tool that runs, if the question is about a tool.
    pub tool: Option<&'a str>,
}

/// How long something may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// For as long as the holder has its rights.
    Stays,
    /// Until this time.
    Until(Instant),
    /// No longer.
    Ends,
}

type Decides = Arc<dyn Fn(Doing<'_>) -> Leave + Send + Sync>;

/// The tools, addresses and secrets that a holder has at the moment, for calls that began when it had others. Clones
/// share them.
///
/// Everything may go on until the bounds are [drawn](Bounds::draw).
#[derive(Clone, Default)]
pub struct Bounds(watch::Sender<Option<Decides>>);

impl Bounds {
    /// Lets `decides` decide from now on.
    pub fn draw(&self, decides: impl Fn(Doing<'_>) -> Leave + Send + Sync + 'static) {
        self.0.send_replace(Some(Arc::new(decides)));
    }

    pub(crate) fn allow(&self, doing: Doing<'_>) -> bool {
        let decides = self.0.borrow().clone();
        match leave(decides.as_ref(), doing) {
            Leave::Stays => true,
            Leave::Until(end) => Instant::now() < end,
            Leave::Ends => false,
        }
    }

    /// Waits until something may not go on any more.
    pub(crate) async fn crossed(&self, doing: Doing<'_>) {
        let mut bounds = self.0.subscribe();
        loop {
            let decides = bounds.borrow_and_update().clone();
            let end = async {
                match leave(decides.as_ref(), doing) {
                    Leave::Stays => std::future::pending().await,
                    Leave::Until(end) => tokio::time::sleep_until(end.into()).await,
                    Leave::Ends => {}
                }
            };
            tokio::select! {
                biased;
                () = end => return,
                // This cannot fail, as the sender is here.
                _drawn = bounds.changed() => {}
            }
        }
    }
}

fn leave(decides: Option<&Decides>, doing: Doing<'_>) -> Leave {
    decides.map_or(Leave::Stays, |decides| decides(doing))
}

impl fmt::Debug for Bounds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are_drawn = self.0.borrow().is_some();
        out.debug_tuple("Bounds").field(&are_drawn).finish()
    }
}
