//! Whether the tools that a policy names are there.

use server_config::{Config, Problems, keys::nearest};
use token_store::Policy;

use crate::text;

/// Says of each tool that a policy names what is wrong with it. A misspelt one would be left out without a word.
///
/// # Errors
/// Which tools there are cannot be known: the file of custom tools is not usable.
pub(crate) fn missing(policy: &Policy, config: &Config) -> Result<Vec<String>, Problems> {
    let Some(named) = &policy.tools else {
        return Ok(Vec::new());
    };
    let known = config.tool_names()?;
    let is_missing = |name: &&str| !known.iter().any(|known| known == name);
    let told = |name| {
        let shown = text::printable(name);
        match nearest(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("there is no tool \"{shown}\"; did you mean `{meant}`?"),
            None => format!(
                "there is no tool \"{shown}\"; there are {}",
                text::printable(&known.join(", "))
            ),
        }
    };
    Ok(named.iter().filter(is_missing).map(told).collect())
}
