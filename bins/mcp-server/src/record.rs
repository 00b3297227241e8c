//! Keeps the record of when each token was last used, in a file beside the token file.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use token_store::{EditError, UsageLog};
use tokio::time::{Instant, MissedTickBehavior};

use crate::door::Door;

/// How often the file is written at most.
const EVERY: Duration = Duration::from_secs(60);

/// The file, and the source of its content.
pub(crate) struct Record {
    door: Arc<Door>,
    path: PathBuf,
    /// What is not in the file yet, because it could not be written. Held while writing: one write
    /// ends before the next begins.
    unsaved: Mutex<UsageLog>,
}

impl Record {
    pub(crate) fn new(door: Arc<Door>, token_file: &std::path::Path) -> Arc<Self> {
        Arc::new(Record {
            door,
            path: UsageLog::path_for(token_file),
            unsaved: Mutex::default(),
        })
    }

    /// Writes every minute until it is dropped.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.write().await;
        }
    }

    /// Writes now. A failure is logged, and the next minute's write tries again.
    pub(crate) async fn write(self: &Arc<Self>) {
        let record = Arc::clone(self);
        match tokio::task::spawn_blocking(move || record.save()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the record of last uses is not kept"),
            Err(error) => tracing::warn!(%error, "the record of last uses is not kept"),
        }
    }

    fn save(&self) -> Result<(), EditError> {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        self.door.holders().take_news(&mut unsaved);
        if unsaved.0.is_empty() {
            return Ok(());
        }
        let tokens = self.door.tokens();
        let ids: HashSet<_> = tokens.iter().map(|token| &token.id).collect();
        // Uses of tokens that are gone are dropped, however long they could not be written.
        unsaved.0.retain(|id, _| ids.contains(id));
        unsaved.add_to(&self.path, |id| ids.contains(id))?;
        unsaved.0.clear();
        Ok(())
    }
}
