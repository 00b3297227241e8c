//! What prevents a server from starting although each key is valid by itself.

use std::net::IpAddr;

use networks::Authority;

use crate::{
    BUILT_IN_TOOLS, Config, Http, Problems, Sources, config::CONFIG_FILE_NAME, keys::nearest,
};

impl Config {
    /// Reads all layers as [`Config::load`] does, for a server.
    ///
    /// # Errors
    /// As [`Config::load`], or what [`Config::check_serving`] finds.
    pub fn load_for_serving(sources: &Sources) -> Result<Config, Problems> {
        let config = Config::load(sources)?;
        config.check_serving()?;
        Ok(config)
    }

    /// Checks that a server can start: that there is a database, the enabled tools exist and have the model they need,
    /// allowed hosts and origins are well formed, and a server without authentication serves only its own machine.
    /// Problems with PostgreSQL, TLS files or the network show only at startup.
    ///
    /// # Errors
    /// Every problem at once, each with its fix.
    pub fn check_serving(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if self.databases.is_empty() {
            problems.add("databases", self.no_database());
        }
        for name in &self.tools.enabled {
            if !BUILT_IN_TOOLS.contains(&name.as_str()) {
                problems.add("tools.enabled", no_such_tool(name));
            }
        }
        if self.embedding.is_none() && self.is_enabled("generate_embedding") {
            problems.add(
                "tools.enabled",
                "generate_embedding needs a model that makes vectors; configure one under `embedding:`, or leave the tool out",
            );
        }
        if self.http.enabled {
            self.http.check_names(&mut problems);
        }
        if self.http.enabled && !self.http.auth_enabled {
            self.http.check_open(&mut problems);
        }
        problems.into_result(())
    }

    fn is_enabled(&self, tool: &str) -> bool {
        self.tools.enabled.iter().any(|name| name == tool)
    }

    fn no_database(&self) -> String {
        let file = match &self.file {
            Some(file) => file.display().to_string(),
            None => format!(
                "{CONFIG_FILE_NAME} beside the program (there is none), or name a file with -config"
            ),
        };
        format!(
            "no database is configured; add an entry to `databases:` in {file}, or set DATABASE_URL, or PGHOST, PGUSER and so on"
        )
    }
}

impl Http {
    /// Checks that hosts and origins are ones that a request can name.
    fn check_names(&self, problems: &mut Problems) {
        let hosts = self.allowed_hosts.iter();
        for host in hosts.filter(|host| Authority::parse(host).is_none()) {
            let told = format!(
                "\"{}\" is no host name; write `name` or `name:port`, without a scheme",
                host.escape_debug()
            );
            problems.add("http.allowed_hosts", told);
        }
        let origins = self.allowed_origins.iter();
        for origin in origins.filter(|origin| Authority::of_origin(origin).is_none()) {
            let told = format!(
                "\"{}\" is no origin; write `https://name` or `https://name:port`, without a path; there is no way to allow all",
                origin.escape_debug()
            );
            problems.add("http.allowed_origins", told);
        }
    }

    /// Checks that a server without authentication serves only its own machine. A host name is resolved only at
    /// startup.
    fn check_open(&self, problems: &mut Problems) {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if host.is_empty() || address.is_ok_and(|address| !address.is_loopback()) {
            problems.add(
                "http.address",
                "without authentication the server listens on a loopback address only; name one (-addr localhost:8080), or leave authentication on (http.auth.enabled, -no-auth)",
            );
        }
        if self.proxies.is_some() {
            problems.add(
                "http.trusted_proxies",
                "without authentication the server serves this machine only, and no proxy for others; leave the proxies out, or authentication on (http.auth.enabled, -no-auth)",
            );
        }
    }
}

fn no_such_tool(name: &str) -> String {
    let shown = name.escape_debug();
    match nearest(name, BUILT_IN_TOOLS.into_iter()) {
        Some(meant) => format!("there is no tool \"{shown}\"; did you mean \"{meant}\"?"),
        None => format!(
            "there is no tool \"{shown}\"; there are {}",
            BUILT_IN_TOOLS.join(", ")
        ),
    }
}
