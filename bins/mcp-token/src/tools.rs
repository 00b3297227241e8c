//! Whether the tools that a policy names exist.

use server_config::keys::nearest;
use token_store::Policy;

use crate::text;

/// Says of each tool that a policy names whether something is wrong with it, given all the tools
/// that exist. A misspelt tool would silently be missing.
pub(crate) fn missing(policy: &Policy, known: &[String]) -> Vec<String> {
    let is_missing = |name: &&str| !known.iter().any(|known| known == name);
    let told = |name: &str| {
        let shown = text::printable(name);
        match nearest(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("there is no tool \"{shown}\"; did you mean `{meant}`?"),
            None => format!(
                "there is no tool \"{shown}\"; there are {}",
                text::printable(&known.join(", "))
            ),
        }
    };
    let named = policy.tools.iter().flat_map(|names| names.iter());
    named.filter(is_missing).map(told).collect()
}
