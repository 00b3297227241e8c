//! session-pool
