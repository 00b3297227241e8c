//! A configuration in its own folder.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its own part.
#![allow(clippy::unwrap_used)]

use std::fs;

use server_config::{CONFIG_FILE_NAME, Config, Problems, Sources};

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub sources: Sources,
}

impl Bench {
    pub fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG_FILE_NAME), yaml).unwrap();
        let sources = Sources {
            program_folder: folder.path().to_owned(),
            ..Sources::default()
        };
        Bench { folder, sources }
    }

    pub fn with(mut self, variables: &[(&str, &str)]) -> Self {
        self.sources.environment = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self
    }

    pub fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.sources)
    }
}

pub const DATABASE: &str = "databases:\n  - {name: shop, user: ann}\n";
