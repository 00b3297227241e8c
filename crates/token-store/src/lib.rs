//! token-store
