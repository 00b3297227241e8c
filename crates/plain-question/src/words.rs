//! Cuts questions and names into words, so that a question can be compared with a schema.

/// A word of a question, or what stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// As it was written.
    pub(crate) text: String,
    /// In lower case.
    pub(crate) lower: String,
    /// In lower case, without a plural ending.
    pub(crate) stem: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// Digits, perhaps with a fraction; `lower` is as SQL writes it.
    Number,
    /// An amount with a currency sign, which `text` includes; `lower` is the number as SQL writes it.
    Money,
    /// A calendar day; `lower` is `YYYY-MM-DD`.
    Day,
    /// Something quoted; `text` is what was between the quotes.
    Quoted,
    /// A code, address or path: it can only be a value.
    Code,
    /// A sign, such as `>=` or a comma.
    Sign,
}

impl Word {
    fn new(text: &str, kind: Kind) -> Self {
        let lower = text.to_lowercase();
        let stem = stem(&lower);
        Word {
            text: text.to_owned(),
            lower,
            stem,
            kind,
        }
    }

    pub(crate) fn is_plural(&self) -> bool {
        self.kind == Kind::Plain && is_plural(&self.lower)
    }
}

/// Whether a text ends with a word in the plural.
pub(crate) fn is_plural(text: &str) -> bool {
    let lower = text.to_lowercase();
    let last = lower.rsplit([' ', '_', '-']).next().unwrap_or_default();
    stem(last) != last && !last.ends_with("ie")
}

/// Contractions, and the words that they stand for.
const CONTRACTIONS: &[(&str, &[&str])] = &[
    ("what's", &["what", "is"]),
    ("who's", &["who", "is"]),
    ("that's", &["that", "is"]),
    ("there's", &["there", "is"]),
    ("isn't", &["is", "not"]),
    ("aren't", &["are", "not"]),
    ("wasn't", &["was", "not"]),
    ("weren't", &["were", "not"]),
    ("haven't", &["have", "not"]),
    ("hasn't", &["has", "not"]),
    ("don't", &["do", "not"]),
    ("doesn't", &["does", "not"]),
    ("didn't", &["did", "not"]),
];

/// Irregular plurals and their singulars.
const IRREGULAR: &[(&str, &str)] = &[
    ("people", "person"),
    ("children", "child"),
    ("men", "man"),
    ("women", "woman"),
    ("statuses", "status"),
    ("bonuses", "bonus"),
    ("indices", "index"),
];

/// Numbers that people write out.
const NUMERALS: &[&str] = &[
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];

/// Longer signs come first.
const SIGNS: &[&str] = &[
    ">=", "<=", "<>", "!=", ">", "<", "=", ",", "*", "(", ")", ";", "+", "%", "&", "|", "#", "?",
    "!",
];

/// Cuts a question into words.
pub(crate) fn read(question: &str) -> Vec<Word> {
    let question = question.replace(['\u{2018}', '\u{2019}'], "'");
    let question = question.replace(['\u{201c}', '\u{201d}'], "\"");
    let mut rest = question.trim().trim_end_matches(['?', '.', '!', ';', ' ']);
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        rest = if first.is_whitespace() {
            &rest[first.len_utf8()..]
        } else if let Some((inside, after)) = quoted(rest, first) {
            words.push(Word::new(inside, Kind::Quoted));
            after
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            words.push(Word::new(sign, Kind::Sign));
            &rest[sign.len()..]
        } else {
            let (chunk, after) = rest.split_at(chunk_length(rest));
            push_chunk(&mut words, chunk);
            after
        };
    }
    words
}

fn quoted(rest: &str, first: char) -> Option<(&str, &str)> {
    if first != '\'' && first != '"' {
        return None;
    }
    rest[1..].split_once(first)
}

fn chunk_length(rest: &str) -> usize {
    let ends = |(at, character): (usize, char)| {
        let is_sign = SIGNS.iter().any(|sign| sign.starts_with(character));
        // A comma between digits groups thousands.
        let is_inside = character == ',' && is_grouping(rest, at);
        let is_address = character == '?' || character == '&';
        (character.is_whitespace() || character == '"' || (is_sign && !is_inside && !is_address))
            .then_some(at)
    };
    // The first character belongs to the chunk whatever it is.
    rest.char_indices()
        .skip(1)
        .find_map(ends)
        .unwrap_or(rest.len())
}

fn is_grouping(rest: &str, at: usize) -> bool {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).count();
    rest[..at].ends_with(|last: char| last.is_ascii_digit()) && digits(&rest[at + 1..]) == 3
}

fn push_chunk(words: &mut Vec<Word>, chunk: &str) {
    let chunk = chunk.trim_end_matches(['.', ':', '\'']);
    let lower = chunk.to_lowercase();
    if let Some((_, parts)) = CONTRACTIONS.iter().find(|(short, _)| *short == lower) {
        words.extend(parts.iter().map(|part| Word::new(part, Kind::Plain)));
        return;
    }
    let chunk = chunk.strip_suffix("'s").unwrap_or(chunk);
    if let Some(number) = amount(chunk) {
        words.push(number);
    } else if is_day(chunk) {
        words.push(Word::new(chunk, Kind::Day));
    } else if is_code(chunk) {
        words.push(Word::new(chunk, Kind::Code));
    } else {
        for part in split(chunk) {
            words.push(amount(part).unwrap_or_else(|| Word::new(part, Kind::Plain)));
        }
    }
}

/// Reads a number, perhaps with a currency sign: `$99.50`.
fn amount(chunk: &str) -> Option<Word> {
    let bare = chunk.trim_start_matches(['$', '€', '£']);
    let number = Word::new(&number(bare)?, Kind::Number);
    Some(if bare == chunk {
        number
    } else {
        Word {
            text: chunk.to_owned(),
            kind: Kind::Money,
            ..number
        }
    })
}

/// Reads `1200`, `1,200`, `99.50` or `twelve`, and returns it as SQL writes it.
fn number(chunk: &str) -> Option<String> {
    if let Some(value) = NUMERALS
        .iter()
        .position(|numeral| numeral.eq_ignore_ascii_case(chunk))
    {
        return Some(value.to_string());
    }
    let plain = chunk.replace(',', "");
    let digits = plain.strip_prefix('-').unwrap_or(&plain);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // No count or price has more digits, and what parses them could overflow.
    let is_number = all_digits(whole) && all_digits(fraction) && digits.len() <= 18;
    is_number.then_some(plain)
}

fn is_day(chunk: &str) -> bool {
    let parts: Vec<&str> = chunk.split('-').collect();
    let all_digits = parts
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    all_digits
        && lengths == [4, 2, 2]
        && (1..=12).contains(&number(parts[1]))
        && (1..=days_in(number(parts[0]), number(parts[1]))).contains(&number(parts[2]))
}

/// How many days a month has.
pub(crate) fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_code(chunk: &str) -> bool {
    let has_digit = chunk.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = chunk.chars().any(char::is_alphabetic);
    let is_joined = chunk.contains(['-', '.', '_', ':']);
    let is_counted = chunk.split_once('-').is_some_and(|(before, after)| {
        number(before).is_some() && !after.bytes().any(|b| b.is_ascii_digit())
    });
    chunk.contains(['@', '/', '.']) || (has_digit && (has_letter || is_joined) && !is_counted)
}

/// Splits a name at `_`, `-`, blanks and changes of case.
fn split(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before = None::<char>;
    for (at, character) in name.char_indices() {
        let is_mark = matches!(character, '_' | '-' | ' ' | '.');
        let is_hump = character.is_uppercase() && before.is_some_and(char::is_lowercase);
        if is_mark || is_hump {
            parts.push(&name[start..at]);
            start = if is_mark { at + 1 } else { at };
        }
        before = Some(character);
    }
    parts.push(&name[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The words of a name in the schema, without plural endings.
pub(crate) fn parts(name: &str) -> Vec<String> {
    split(name)
        .into_iter()
        .map(|part| stem(&part.to_lowercase()))
        .collect()
}

/// Removes a plural ending, so that the singular and the plural of a word give the same stem.
pub(crate) fn stem(lower: &str) -> String {
    if let Some((_, singular)) = IRREGULAR.iter().find(|(plural, _)| *plural == lower) {
        return (*singular).to_owned();
    }
    let cut = |length: usize| lower[..lower.len() - length].to_owned();
    let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    if lower.len() <= 3 || !lower.is_ascii() {
        lower.to_owned()
    } else if ends(&["ies"]) {
        cut(3) + "y"
    } else if ends(&["sses", "shes", "ches", "xes", "zzes"]) {
        cut(2)
    } else if ends(&["ie"]) {
        cut(2) + "y"
    } else if ends(&["s"]) && !ends(&["ss", "us", "is"]) {
        cut(1)
    } else {
        lower.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lowers(question: &str) -> Vec<String> {
        read(question).into_iter().map(|word| word.lower).collect()
    }

    #[test]
    fn a_question_becomes_words() {
        for (question, expected) in [
            ("What's the price?", "what is the price"),
            ("price>=1,200", "price >= 1200"),
            ("5-star reviews.", "5 star reviews"),
            ("order_items, MonthlyFee", "order items , monthly fee"),
            ("users who aren't here", "users who are not here"),
            ("the customer's own", "the customer own"),
            ("under $99.50", "under 99.50"),
            ("since 2024-02-29", "since 2024-02-29"),
            (
                "path /cart?x=1 of a@b.example",
                "path /cart?x =  1 of a@b.example",
            ),
            ("firmware 1.2.0", "firmware 1.2.0"),
            ("named 'Ana Berg'", "named ana berg"),
            ("three tents", "3 tents"),
        ] {
            let expected = expected.replace("  ", " ");
            assert_eq!(lowers(question).join(" "), expected, "{question}");
        }
    }

    #[test]
    fn a_day_that_no_month_has_is_no_day() {
        assert_eq!(read("2023-02-29")[0].kind, Kind::Code);
        assert_eq!(read("2024-02-29")[0].kind, Kind::Day);
    }

    #[test]
    fn both_forms_of_a_noun_have_one_stem() {
        for (one, many) in [
            ("user", "users"),
            ("category", "categories"),
            ("box", "boxes"),
            ("address", "addresses"),
            ("status", "statuses"),
            ("invoice", "invoices"),
            ("movie", "movies"),
            ("person", "people"),
            ("house", "houses"),
        ] {
            assert_eq!(stem(one), stem(many));
        }
    }

    #[test]
    fn names_are_cut_where_their_writers_joined_them() {
        for name in [
            "order_items",
            "OrderItems",
            "orderItem",
            "order-items",
            "ORDER_ITEMS",
        ] {
            assert_eq!(parts(name), ["order", "item"], "{name}");
        }
    }
}
