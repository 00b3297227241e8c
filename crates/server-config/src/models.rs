//! The models that may be called: one for text (`llm:`), one for vectors (`embedding:`).

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

use crate::{Password, problems::Problems, read_regular, settings::Settings};

/// A key is one line; a file anywhere near this size (in bytes) is something else.
const LARGEST_KEY_FILE: u64 = 64 << 10;

/// A model, where it is served, and how much a call to it may use.
#[derive(Clone, Debug)]
pub struct Model {
    /// The section of the configuration, for messages.
    section: &'static str,
    /// The model's name.
    pub name: String,
    /// Its URL, if it is not the provider's own.
    pub url: Option<String>,
    key: KeySource,
    /// A PEM file of certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Time for a whole call.
    pub timeout: Duration,
    /// Time to open a connection.
    pub connect_timeout: Duration,
    /// The maximum size of a response in bytes.
    pub answer_bytes: usize,
    /// How often a call is retried when the server is busy or fails.
    pub retries: u32,
    /// The longest wait between two attempts.
    pub longest_wait: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
}

/// Where a key comes from. A file is read only when the key is asked for: a program that only manages tokens does not
/// need it.
#[derive(Clone, Debug)]
enum KeySource {
    None,
    Variable {
        name: String,
        value: Option<Password>,
    },
    File(PathBuf),
}

/// A model that generates text.
#[derive(Clone, Debug)]
pub struct Llm {
    /// Who serves it.
    pub provider: LlmProvider,
    /// The model.
    pub model: Model,
    /// The maximum number of tokens in an answer.
    pub max_tokens: u32,
}

/// Whose API a text model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlmProvider {
    /// Anthropic's.
    Anthropic,
    /// OpenAI's, which many servers implement.
    OpenAi,
    /// Ollama's.
    Ollama,
}

/// An embedding model.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// Who serves it.
    pub provider: EmbeddingProvider,
    /// The model.
    pub model: Model,
    /// The dimensions that its vectors must have; `None` accepts any.
    pub dimensions: Option<usize>,
}

/// Whose API an embedding model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingProvider {
    /// OpenAI's, which many servers implement.
    OpenAi,
    /// Voyage's.
    Voyage,
    /// Ollama's.
    Ollama,
}

impl Model {
    /// Reads the key that the configuration names; `None` if none is configured.
    ///
    /// # Errors
    /// A sentence that names the key's source and the fix, without the key.
    pub fn key(&self) -> Result<Option<Password>, String> {
        let section = self.section;
        match &self.key {
            KeySource::None => Ok(None),
            KeySource::Variable {
                value: Some(value), ..
            } => Ok(Some(value.clone())),
            KeySource::Variable { name, value: None } => {
                // A key can be a valid variable name, but usually has lower-case letters, which variable names seldom
                // have.
                let may_be_key = name.contains(|character: char| character.is_ascii_lowercase());
                let which = if may_be_key { "that it names" } else { name };
                Err(format!(
                    "{section}.key_env: the variable {which} is not set or empty; set it to the provider's key, \
                     or name a file that holds the key with {section}.key_file"
                ))
            }
            KeySource::File(path) => {
                let place = format!("{section}.key_file: {}", path.display());
                let unreadable = |error| format!("{place} cannot be read: {error}");
                let bytes =
                    Zeroizing::new(read_regular(path, LARGEST_KEY_FILE).map_err(unreadable)?);
                match String::from_utf8_lossy(&bytes).trim() {
                    "" => Err(format!(
                        "{place} is empty; write the provider's key into it"
                    )),
                    key => Ok(Some(Password::new(key.to_owned()))),
                }
            }
        }
    }

    /// Returns a problem to fix although it does not prevent a start.
    fn warning(&self) -> Option<String> {
        let (scheme, rest) = self.url.as_deref()?.split_once("://")?;
        let site = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_plain = scheme.eq_ignore_ascii_case("http");
        let sends_key = !matches!(self.key, KeySource::None);
        (sends_key && is_plain && !is_here(site)).then(|| {
            format!(
                "{}.url: the key and what is asked travel unencrypted; use https://",
                self.section
            )
        })
    }
}

/// Says whether a host, with or without a port, is this machine.
fn is_here(site: &str) -> bool {
    let host = match site.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => site.split_once(':').map_or(site, |(host, _)| host),
    };
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Reads the part that the sections of both kinds of model have in common.
struct Section<'a> {
    name: &'static str,
    settings: &'a Settings,
    environment: &'a BTreeMap<String, String>,
}

impl Section<'_> {
    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.settings.text(&self.path(key))
    }

    fn span(&self, key: &str) -> Duration {
        self.settings.span(&self.path(key))
    }

    fn count(&self, key: &str) -> u64 {
        self.settings.count(&self.path(key))
    }

    /// Returns the provider's name. A section without one must be empty.
    fn provider(&self, problems: &mut Problems) -> Option<&str> {
        let provider = self.text("provider");
        let given = ["model", "url", "key_env", "key_file", "ca_file"]
            .into_iter()
            .find(|key| self.text(key).is_some());
        if let (None, Some(given)) = (provider, given)
            && !self.settings.is_mistaken(&self.path("provider"))
        {
            let message = format!("is missing, and {} is given", self.path(given));
            problems.add(self.path("provider"), message);
        }
        provider
    }

    /// Reads the model. `variable` is the conventional variable for the key to the provider's own address.
    fn model(&self, variable: Option<&str>, problems: &mut Problems) -> Option<Model> {
        let name = self.text("model").map(str::to_owned);
        let path = self.path("model");
        if name.is_none() && !self.settings.is_mistaken(&path) {
            problems.add(path, "is missing; name the provider's model");
        }
        let key = self.key(variable, problems);
        Some(Model {
            section: self.name,
            name: name?,
            url: self.text("url").map(str::to_owned),
            key: key?,
            ca_file: self.text("ca_file").map(PathBuf::from),
            timeout: self.span("timeout"),
            connect_timeout: self.span("connect_timeout"),
            answer_bytes: usize::try_from(self.count("answer_bytes")).unwrap_or(usize::MAX),
            retries: u32::try_from(self.count("retries")).unwrap_or(u32::MAX),
            longest_wait: self.span("longest_wait"),
            idle_timeout: self.span("idle_timeout"),
        })
    }

    fn key(&self, variable: Option<&str>, problems: &mut Problems) -> Option<KeySource> {
        // The key in the conventional variable is sent only to the provider's own address.
        let variable = variable.filter(|_| self.text("url").is_none());
        match (self.text("key_env"), self.text("key_file")) {
            (Some(_), Some(_)) => {
                let message = format!("stands beside {}; leave one out", self.path("key_env"));
                problems.add(self.path("key_file"), message);
                None
            }
            (None, Some(file)) => Some(KeySource::File(file.into())),
            (Some(named), None) if !is_variable(named) => {
                let place = self.path("key_env");
                problems.add(place, "must be the name of the variable that holds the key, of letters, digits and _; not the key itself");
                None
            }
            (named, None) => Some(named.or(variable).map_or(KeySource::None, |name| {
                let value = self.environment.get(name).map(|value| value.trim());
                let value = value.filter(|value| !value.is_empty());
                KeySource::Variable {
                    name: name.to_owned(),
                    value: value.map(|value| Password::new(value.to_owned())),
                }
            })),
        }
    }
}

fn is_variable(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads `llm:`.
pub(crate) fn llm(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<Llm> {
    let section = Section {
        name: "llm",
        settings,
        environment,
    };
    let (provider, variable) = match section.provider(problems)? {
        "anthropic" => (LlmProvider::Anthropic, Some("ANTHROPIC_API_KEY")),
        "ollama" => (LlmProvider::Ollama, None),
        _ => (LlmProvider::OpenAi, Some("OPENAI_API_KEY")),
    };
    Some(Llm {
        provider,
        model: section.model(variable, problems)?,
        max_tokens: u32::try_from(section.count("max_tokens")).unwrap_or(u32::MAX),
    })
}

/// Reads `embedding:`.
pub(crate) fn embedding(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<Embedding> {
    let section = Section {
        name: "embedding",
        settings,
        environment,
    };
    let (provider, variable) = match section.provider(problems)? {
        "voyage" => (EmbeddingProvider::Voyage, Some("VOYAGE_API_KEY")),
        "ollama" => (EmbeddingProvider::Ollama, None),
        _ => (EmbeddingProvider::OpenAi, Some("OPENAI_API_KEY")),
    };
    let dimensions = usize::try_from(section.count("dimensions")).unwrap_or(0);
    Some(Embedding {
        provider,
        model: section.model(variable, problems)?,
        dimensions: (dimensions > 0).then_some(dimensions),
    })
}

/// Returns the problems of both sections.
pub(crate) fn warnings(llm: Option<&Llm>, embedding: Option<&Embedding>) -> Vec<String> {
    let models = [llm.map(|llm| &llm.model), embedding.map(|made| &made.model)];
    models
        .into_iter()
        .flatten()
        .filter_map(Model::warning)
        .collect()
}
