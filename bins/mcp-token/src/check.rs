//! Checks the files before they are put in force.

use std::{fmt, path::Path};

use server_config::{Config, Problems, Sources};
use token_store::{Loaded, PasswordSource, Policy, Role, Token, TokenFile};

use crate::{
    failure::Failure, fields::unknown_fields, json, missing_file, role, text, tools, world::World,
};

/// The errors and warnings that were found.
#[derive(Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// What entries are compared with, as far as it is known.
struct Known<'a> {
    config: Option<&'a Config>,
    /// The names of all tools.
    tools: Option<&'a [String]>,
    sources: &'a Sources,
}

/// An entry of the token file.
struct Entry<'a> {
    file: &'a Path,
    token: &'a Token,
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = text::printable(&self.file.display().to_string());
        write!(out, "{file}: {}", self.token.id)
    }
}

pub(crate) fn run(json: bool, sources: &Sources, world: &mut World<'_>) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let config = findings.of(Config::load(sources));
    if let Some(config) = &config {
        // A token file alone may be checked, too.
        if config.file.is_some() {
            findings.of(config.check_serving());
        }
        findings.warnings.extend(config.warnings.iter().cloned());
    }
    let tools = config
        .as_ref()
        .and_then(|config| findings.of(config.tool_names()));
    let known = &Known {
        config: config.as_ref(),
        tools: tools.as_deref(),
        sources,
    };
    let count = findings.of_token_file(known);
    findings.report(count, json, world)?;
    match findings.errors.len() {
        0 => Ok(()),
        count => Err(Failure::Problems(count)),
    }
}

impl Findings {
    /// Looks at the token file, if it is known which that is; counts its tokens.
    fn of_token_file(&mut self, known: &Known<'_>) -> usize {
        let named = known.sources.token_file.as_ref();
        let Some(path) = named.or(known.config.map(|config| &config.token_file)) else {
            return 0;
        };
        let file = TokenFile::new(path.clone());
        match file.load() {
            _ if named.is_some() && matches!(path.try_exists(), Ok(false)) => {
                let path = text::printable(&path.display().to_string());
                self.errors.push(format!(
                    "{path} does not exist; name the file that there is, or make it with `mcp-token add`"
                ));
                0
            }
            Ok(loaded) => {
                self.warnings.extend(missing_file(&file, &loaded));
                self.look(path, &loaded, known);
                loaded.set.len()
            }
            Err(error) => {
                self.errors.push(error.to_string());
                0
            }
        }
    }

    fn report(&self, count: usize, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
        let Findings { errors, warnings } = self;
        let report = if json {
            json::checked(errors, warnings)
        } else if errors.is_empty() {
            format!("Valid: {count} token(s)\n")
        } else {
            String::new()
        };
        world.print(&report).map_err(Failure::Output)?;
        if json {
            return Ok(());
        }
        for (severity, messages) in [("error", errors), ("warning", warnings)] {
            for message in messages {
                world.complain(severity, message);
            }
        }
        Ok(())
    }
    /// Takes what is wrong with something that was read.
    fn of<T>(&mut self, read: Result<T, Problems>) -> Option<T> {
        read.map_err(|problems| {
            let each = problems.0.iter().map(ToString::to_string);
            self.errors.extend(each);
        })
        .ok()
    }

    fn look(&mut self, file: &Path, loaded: &Loaded, known: &Known<'_>) {
        let Known {
            config,
            tools,
            sources,
        } = *known;
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        self.warnings.extend(warnings);
        for key in loaded.set.unknown_keys() {
            self.warnings.push(format!(
                "{}: the key `{}` beside `tokens` is not known and has no effect",
                text::printable(&file.display().to_string()),
                text::printable(key)
            ));
        }
        let tokens = loaded.set.iter().map(|token| &**token);
        for password in role::unclaimed(file, tokens) {
            self.warnings.push(format!(
                "{}: no token has this password: drop the role, if it is still there (`DROP OWNED BY`, `DROP ROLE`), and delete the file",
                text::printable(&password.to_string_lossy())
            ));
        }
        for token in loaded.set.iter() {
            let policy = token.policy.read();
            let entry = &Entry { file, token };
            self.databases(entry, config);
            self.tools(entry, &policy, tools);
            self.addresses(entry, &policy, config);
            self.role(entry, &policy, sources);
            self.unknown(entry);
            if token.is_spoiled() {
                self.warnings.push(format!(
                    "{file}: {}",
                    Failure::Removed(token.id.clone()),
                    file = text::printable(&file.display().to_string())
                ));
            }
        }
    }

    fn databases(&mut self, entry: &Entry<'_>, config: Option<&Config>) {
        let Some(config) = config else {
            return;
        };
        let asked = entry.token.databases.iter().flat_map(|names| names.iter());
        let missing = asked.filter(|name| config.database(name).is_none());
        for name in missing {
            let failure = Failure::UnknownDatabase {
                name: name.to_owned(),
                known: config
                    .databases
                    .iter()
                    .map(|known| known.name.clone())
                    .collect(),
            };
            self.errors.push(format!("{entry}: {failure}"));
        }
    }

    fn tools(&mut self, entry: &Entry<'_>, policy: &Policy, known: Option<&[String]>) {
        let missing = known.map_or_else(Vec::new, |known| tools::missing(policy, known));
        let told = missing.iter().map(|problem| format!("{entry}: {problem}"));
        self.errors.extend(told);
    }

    /// Reports an `allow_from` that covers proxies only, as a proxy's address is never a client's.
    fn addresses(&mut self, entry: &Entry<'_>, policy: &Policy, config: Option<&Config>) {
        let proxies = config.and_then(|config| config.http.proxies.as_ref());
        let (Some(proxies), Some(allowed)) = (proxies, &policy.allow_from) else {
            return;
        };
        if proxies.networks.covers(allowed) {
            self.errors.push(format!(
                "{entry}: allow_from ({allowed}) has trusted proxies only, so that nobody can use the token; name its clients' addresses, or take these out of http.trusted_proxies"
            ));
        }
    }

    /// A missing password is no error, as it may be available on the server only.
    fn role(&mut self, entry: &Entry<'_>, policy: &Policy, sources: &Sources) {
        let Some(Role::Login(login)) = &policy.role else {
            return;
        };
        let missing = match &login.password {
            None => return,
            Some(PasswordSource::Environment(variable)) => {
                match sources.environment.get(variable.as_str()) {
                    None => Some(format!("the variable {variable} is not set")),
                    Some(value) if value.is_empty() => {
                        Some(format!("the variable {variable} is empty"))
                    }
                    Some(_) => None,
                }
            }
            Some(PasswordSource::File(path)) => {
                let path = path.as_str();
                let path_shown = text::printable(path);
                (!Path::new(path).exists()).then(|| format!("the file {path_shown} does not exist"))
            }
        };
        if let Some(missing) = missing {
            self.warnings.push(format!(
                "{entry}: the password of its role is not known here: {missing}"
            ));
        }
    }

    fn unknown(&mut self, entry: &Entry<'_>) {
        for field in unknown_fields(entry.token) {
            let found = match field.is_misspelt {
                true => &mut self.errors,
                false => &mut self.warnings,
            };
            found.push(format!("{entry}: {}", field.message));
        }
    }
}
