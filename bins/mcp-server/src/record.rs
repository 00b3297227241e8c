//! Keeps the record of when each token was last used, in a file beside the token file.

use std::{path::PathBuf, sync::Arc, time::Duration};

use token_store::UsageLog;
use tokio::time::{Instant, MissedTickBehavior};

use crate::gate::Door;

/// How often the file is written at most.
const EVERY: Duration = Duration::from_secs(60);

/// The file, and what goes into it.
pub(crate) struct Record {
    door: Arc<Door>,
    path: PathBuf,
}

impl Record {
    pub(crate) fn new(door: Arc<Door>, token_file: &std::path::Path) -> Arc<Self> {
        Arc::new(Record {
            door,
            path: UsageLog::path_for(token_file),
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

    /// Writes now. That it cannot be done is told and has no other consequence.
    pub(crate) async fn write(self: &Arc<Self>) {
        let record = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let Record { door, path } = &*record;
            let tokens = door.tokens();
            let ids: std::collections::HashSet<_> = tokens.iter().map(|token| &token.id).collect();
            door.holders().record(path, |id| ids.contains(id))
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the record of last uses is not kept"),
            Err(error) => tracing::warn!(%error, "the record of last uses is not kept"),
        }
    }
}
