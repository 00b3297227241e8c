//! News of changes, for the clients that follow them.

use std::sync::Arc;

use tokio::sync::broadcast;

/// How many changes a slow follower may be behind before it is told that everything it follows has
/// changed.
const CAPACITY: usize = 256;

/// Tells the clients that follow changes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Changes {
    followers: broadcast::Sender<News>,
}

/// A change, and the principal that it concerns if it does not concern all.
#[derive(Clone, Debug)]
struct News {
    change: Change,
    principal: Option<Arc<str>>,
}

impl News {
    fn concerns(&self, principal: &str) -> bool {
        self.principal.as_deref().is_none_or(|one| one == principal)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Tools,
    Prompts,
    Resources,
    Resource(Arc<str>),
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            followers: broadcast::Sender::new(CAPACITY),
        }
    }

    /// Says that the list of tools has changed, for all principals or for some.
    pub fn tools(&self) {
        self.tell(Change::Tools);
    }

    /// Says that the list of tools has changed for one principal, by its name. Others are told nothing.
    pub fn tools_of(&self, principal: &str) {
        self.send(Change::Tools, Some(principal.into()));
    }

    /// Says that the list of prompts has changed.
    pub fn prompts(&self) {
        self.tell(Change::Prompts);
    }

    /// Says that the list of resources has changed.
    pub fn resources(&self) {
        self.tell(Change::Resources);
    }

    /// Says that the contents of a resource have changed.
    pub fn resource(&self, uri: &str) {
        self.tell(Change::Resource(uri.into()));
    }

    pub(crate) fn follow(&self, principal: &str) -> Follower {
        Follower {
            principal: principal.to_owned(),
            receiver: self.followers.subscribe(),
            missed: Vec::new(),
        }
    }

    fn tell(&self, change: Change) {
        self.send(change, None);
    }

    fn send(&self, change: Change, principal: Option<Arc<str>>) {
        // An error only means that nobody follows.
        let _followers = self.followers.send(News { change, principal });
    }
}

impl Change {
    /// Gives the method of the notification.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Resource(_) => "notifications/resources/updated",
        }
    }
}

/// Follows the changes from the time when it was made.
#[derive(Debug)]
pub(crate) struct Follower {
    principal: String,
    receiver: broadcast::Receiver<News>,
    missed: Vec<Change>,
}

impl Follower {
    /// Waits for the next change; never ends while the service lives. May be dropped and called again.
    ///
    /// Of resources, only changes of those in `followed` are told.
    pub(crate) async fn next(&mut self, followed: impl Fn() -> Vec<String>) -> Change {
        if let Some(change) = self.missed.pop() {
            return change;
        }
        loop {
            match self.receiver.recv().await {
                Ok(news) if news.concerns(&self.principal) => {
                    return news.change;
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let resources = followed()
                        .into_iter()
                        .map(|uri| Change::Resource(uri.into()));
                    self.missed = resources.collect();
                    self.missed.extend([Change::Resources, Change::Prompts]);
                    return Change::Tools;
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
