//! What a holder's calls may still do that began before its rights were changed.

use std::{fmt, net::IpAddr, sync::Arc};

use tokio::sync::watch;

/// Says whether what is done from an address, with a tool where one is named, may go on.
type Allows = Arc<dyn Fn(Option<IpAddr>, Option<&str>) -> bool + Send + Sync>;

/// The tools and addresses that a holder has at the moment, for calls that began when it had others. Clones are the same.
///
/// Everything is allowed until the bounds are [drawn](Bounds::draw).
#[derive(Clone, Default)]
pub struct Bounds(watch::Sender<Option<Allows>>);

impl Bounds {
    /// Has `allows` decide from now on, of an address and a tool as far as they are known. What it does not allow ends.
    pub fn draw(
        &self,
        allows: impl Fn(Option<IpAddr>, Option<&str>) -> bool + Send + Sync + 'static,
    ) {
        self.0.send_replace(Some(Arc::new(allows)));
    }

    pub(crate) fn allow(&self, peer: Option<IpAddr>, tool: Option<&str>) -> bool {
        let allows = self.0.borrow().clone();
        allows.is_none_or(|allows| allows(peer, tool))
    }

    /// Waits until it is not allowed.
    pub(crate) async fn crossed(&self, peer: Option<IpAddr>, tool: Option<&str>) {
        let mut bounds = self.0.subscribe();
        let is_crossed =
            |allows: &Option<Allows>| allows.as_ref().is_some_and(|allows| !allows(peer, tool));
        // It cannot be closed, as the sender is here.
        let _crossed = bounds.wait_for(is_crossed).await;
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are_drawn = self.0.borrow().is_some();
        out.debug_tuple("Bounds").field(&are_drawn).finish()
    }
}
