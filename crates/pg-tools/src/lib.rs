//! pg-tools
