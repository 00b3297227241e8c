//! The configuration that `mcp-server` and `mcp-token` share.
//!
//! Four layers, each overriding the one before: defaults, the YAML file, environment variables, flags. One table
//! ([`keys`]) defines which keys exist, which values they take and which variable sets them; the reader, the messages
//! and the documentation are generated from it. All problems are reported at once, each with its place and what to
//! write instead.
//!
//! ```
//! use server_config::{Config, Sources};
//!
//! let folder = std::env::temp_dir().join("server-config-doctest");
//! std::fs::create_dir_all(&folder)?;
//! std::fs::write(
//!     folder.join("pgedge-postgres-mcp.yaml"),
//!     "databases:\n  - name: shop\n    user: reader\n",
//! )?;
//! let config = Config::load(&Sources { program_folder: folder, ..Sources::default() })?;
//! assert_eq!(config.databases[0].name, "shop");
//! assert!(config.http.auth_enabled, "authentication is on unless it is turned off by name");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arguments;
mod config;
mod custom_tools;
mod database;
mod file;
mod hosts;
pub mod keys;
mod models;
mod pgpass;
mod problems;
mod regular;
mod serving;
mod settings;
mod tools;
mod url;
mod value;

pub use config::{
    Audit, CONFIG_FILE_NAME, Config, Guessing, Http, Limits, Metrics, Proxies, Sources,
    TOKEN_FILE_NAME, Tls, Tools,
};
pub use custom_tools::{CustomTool, ToolParameter};
pub use database::{ChannelBinding, Database, Password, SslMode};
pub use hosts::{Host, TargetSession};
pub use models::{Embedding, EmbeddingProvider, Llm, LlmProvider, Model};
pub use problems::{Problem, Problems};
pub use regular::read_regular;
pub use tools::BUILT_IN_TOOLS;
pub use value::{Kind, Value};
