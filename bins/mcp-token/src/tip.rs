//! Suggests what to write instead of a command line that was not understood.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Adds the command line that was meant, as far as `verbs`, the commands of `mcp-token`, tell.
pub(crate) fn with_tip(mut error: clap::Error, verbs: &[String]) -> clap::Error {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let subcommand = word(ContextKind::InvalidSubcommand);
    let tip = match error.kind() {
        // The option precedes a command that has options of its own.
        ErrorKind::ArgumentConflict => subcommand.map(|verb| {
            format!("the options of '{verb}' stand behind it: mcp-server {verb} --help shows them")
        }),
        ErrorKind::InvalidSubcommand => subcommand.and_then(|word| elsewhere(word, verbs)),
        ErrorKind::UnknownArgument => {
            word(ContextKind::InvalidArg).and_then(|word| elsewhere(word, verbs))
        }
        _ => None,
    };
    if let Some(tip) = tip {
        // A word that is merely spelled alike is not what was meant.
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        error.remove(ContextKind::Usage);
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
}

/// Options of `mcp-server`, and how they are called here.
const OTHERWISE: [(&str, &str); 3] = [
    ("--token-note", "--note"),
    ("--token-database", "--database"),
    ("--token-expiry", "--expiry"),
];

/// Finds the command of `mcp-token` in `rotate`, `--rotate` and `--rotate-token`.
fn elsewhere(word: &str, verbs: &[String]) -> Option<String> {
    if let Some((_, here)) = OTHERWISE.iter().find(|(there, _)| *there == word) {
        return Some(format!("it is called '{here}' here"));
    }
    let word = word.trim_start_matches('-');
    let bare = ["-tokens", "-token"]
        .iter()
        .find_map(|end| word.strip_suffix(end));
    let meant = bare.unwrap_or(word);
    let verb = verbs.iter().find(|verb| *verb == meant)?;
    Some(format!(
        "'mcp-token {verb}' does that: mcp-token {verb} --help"
    ))
}
