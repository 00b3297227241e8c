//! The phrases of English that the grammar knows, as tables.

use crate::query::{Aggregate, Comparison, Place};

/// Openings that do not say how the answer is arranged.
pub(super) const SHOW: &[&str] = &[
    "can you show me",
    "could you show me",
    "i want to see",
    "i would like to see",
    "can i see",
    "let me see",
    "show me",
    "show us",
    "show",
    "give me",
    "give us",
    "get me",
    "get",
    "find me",
    "find",
    "fetch",
    "return",
    "display",
    "tell me",
    "what are",
    "what is",
    "what were",
    "what was",
    "which are",
    "which is",
    "who are",
    "who is",
    "which",
    "what",
    "who",
];

/// Openings that ask for a list, in which "by" means the order.
pub(super) const LIST: &[&str] = &[
    "can you list",
    "could you list",
    "please list",
    "list out",
    "list me",
    "list",
];

/// Words that add nothing before a noun.
pub(super) const ARTICLES: &[&str] = &[
    "a list of",
    "the list of",
    "list of",
    "all of the",
    "all of our",
    "all of",
    "all the",
    "all our",
    "all",
    "the",
    "a",
    "an",
    "any",
    "every",
    "our",
    "my",
    "please",
    "just",
    "only",
    "the details of",
    "details of",
];

/// Words that add nothing after a noun.
pub(super) const ENDINGS: &[&str] = &[
    "are there in the database",
    "are there in total",
    "are there",
    "is there",
    "there are",
    "were there",
    "was there",
    "have there been",
    "there were",
    "did we have",
    "did we get",
    "are in the database",
    "in the database",
    "in the system",
    "do we have",
    "do i have",
    "do you have",
    "we have",
    "in total",
    "in all",
    "altogether",
    "overall",
    "exist",
    "currently",
    "right now",
    "at the moment",
    "please",
    "there",
    "now",
];

/// Phrases that ask for the number of rows.
pub(super) const COUNT: &[&str] = &[
    "the total number of",
    "the number of",
    "total number of",
    "number of",
    "how many",
    "the count of",
    "count of",
    "count up",
    "count",
];

/// Phrases that ask for a share, in percent.
pub(super) const SHARE: &[&str] = &[
    "what percentage of",
    "the percentage of",
    "percentage of",
    "what percent of",
    "percent of",
    "what % of",
    "% of",
    "what share of",
    "what proportion of",
];

pub(super) const DISTINCT: &[&str] = &["different", "distinct", "unique"];

pub(super) const AGGREGATES: &[(&str, Aggregate)] = &[
    ("average", Aggregate::Average),
    ("avg", Aggregate::Average),
    ("mean", Aggregate::Average),
    ("median", Aggregate::Median),
    ("sum of", Aggregate::Sum),
    ("sum", Aggregate::Sum),
    ("total of", Aggregate::Sum),
    ("total", Aggregate::Sum),
    ("minimum", Aggregate::Least),
    ("min", Aggregate::Least),
    ("lowest", Aggregate::Least),
    ("smallest", Aggregate::Least),
    ("maximum", Aggregate::Greatest),
    ("max", Aggregate::Greatest),
    ("highest", Aggregate::Greatest),
    ("largest", Aggregate::Greatest),
    ("biggest", Aggregate::Greatest),
];

/// Phrases that rank rows by the column named after them, and whether the greatest comes first.
pub(super) const RANKS: &[(&str, bool)] = &[
    ("highest number of", true),
    ("largest number of", true),
    ("greatest number of", true),
    ("lowest number of", false),
    ("smallest number of", false),
    ("highest", true),
    ("largest", true),
    ("biggest", true),
    ("greatest", true),
    ("maximum", true),
    ("most", true),
    ("lowest", false),
    ("smallest", false),
    ("minimum", false),
    ("fewest", false),
    ("least", false),
];

/// Those of them that can mean a number of rows: "the largest orders" are not the most orders.
pub(super) const COUNTING_RANKS: &[&str] = &[
    "most",
    "fewest",
    "least",
    "highest number of",
    "largest number of",
    "greatest number of",
    "lowest number of",
    "smallest number of",
];

/// The columns by which rows are large or small.
const TOTALS: &[&str] = &["total", "amount", "principal"];

/// Phrases that rank rows without naming a column: words in the name of the column that is meant, and whether the
/// greatest comes first.
pub(super) const SUPERLATIVES: &[(&str, &[&str], bool)] = &[
    ("most expensive", &["price", "cost"], true),
    ("least expensive", &["price", "cost"], false),
    ("cheapest", &["price", "cost"], false),
    ("highest paid", &["salary", "wage"], true),
    ("best paid", &["salary", "wage"], true),
    ("lowest paid", &["salary", "wage"], false),
    ("highest rated", &["rating"], true),
    ("lowest rated", &["rating"], false),
    ("largest", TOTALS, true),
    ("biggest", TOTALS, true),
    ("smallest", TOTALS, false),
    ("longest", &["duration", "length"], true),
    ("shortest", &["duration", "length"], false),
    ("slowest", &["duration", "latency", "millisecond"], true),
    ("fastest", &["duration", "latency", "millisecond"], false),
    ("heaviest", &["weight"], true),
    ("lightest", &["weight"], false),
    ("tallest", &["height"], true),
    ("oldest", &["age"], true),
    ("youngest", &["age"], false),
    (
        "oldest",
        &["birth", "born", "birthday", "dob", "birthdate"],
        false,
    ),
    (
        "youngest",
        &["birth", "born", "birthday", "dob", "birthdate"],
        true,
    ),
];

/// Phrases that rank rows by a time, and whether the last comes first.
pub(super) const RECENCY: &[(&str, bool)] = &[
    ("most recently", true),
    ("most recent", true),
    ("newest", true),
    ("latest", true),
    ("last", true),
    ("least recently", false),
    ("oldest", false),
    ("earliest", false),
];

/// Nouns for people, of whom "the oldest" means their age.
pub(super) const PEOPLE: &[&str] = &[
    "user",
    "customer",
    "client",
    "person",
    "employee",
    "patient",
    "member",
    "student",
    "teacher",
    "worker",
    "player",
    "staff",
    "contact",
    "child",
    "author",
    "guest",
    "citizen",
    "resident",
    "owner",
    "driver",
    "doctor",
    "nurse",
    "physician",
    "manager",
    "agent",
    "seller",
    "buyer",
    "subscriber",
    "visitor",
    "passenger",
    "tenant",
    "applicant",
    "candidate",
    "participant",
    "attendee",
    "volunteer",
    "donor",
    "artist",
    "actor",
    "athlete",
    "coach",
    "instructor",
    "professor",
    "lecturer",
    "pilot",
    "lawyer",
    "technician",
    "engineer",
    "parent",
    "voter",
];

/// Phrases that compare with what follows them. Longer phrases come first.
pub(super) const COMPARISONS: &[(&str, Comparison)] = &[
    ("greater than or equal to", Comparison::AtLeast),
    ("less than or equal to", Comparison::AtMost),
    ("is greater than", Comparison::More),
    ("is more than", Comparison::More),
    ("is less than", Comparison::Less),
    ("is at least", Comparison::AtLeast),
    ("is at most", Comparison::AtMost),
    ("is above", Comparison::More),
    ("is over", Comparison::More),
    ("is below", Comparison::Less),
    ("is under", Comparison::Less),
    ("of more than", Comparison::More),
    ("of less than", Comparison::Less),
    ("of at least", Comparison::AtLeast),
    ("of at most", Comparison::AtMost),
    ("no more than", Comparison::AtMost),
    ("not more than", Comparison::AtMost),
    ("no less than", Comparison::AtLeast),
    ("not less than", Comparison::AtLeast),
    ("more than", Comparison::More),
    ("greater than", Comparison::More),
    ("higher than", Comparison::More),
    ("larger than", Comparison::More),
    ("less than", Comparison::Less),
    ("fewer than", Comparison::Less),
    ("lower than", Comparison::Less),
    ("smaller than", Comparison::Less),
    ("at least", Comparison::AtLeast),
    ("at most", Comparison::AtMost),
    ("up to", Comparison::AtMost),
    ("exceeding", Comparison::More),
    ("above", Comparison::More),
    ("over", Comparison::More),
    ("below", Comparison::Less),
    ("under", Comparison::Less),
    ("other than", Comparison::Unequal),
    ("is not", Comparison::Unequal),
    ("not", Comparison::Unequal),
    ("equal to", Comparison::Equal),
    ("equals", Comparison::Equal),
    ("is exactly", Comparison::Equal),
    ("exactly", Comparison::Equal),
    ("is", Comparison::Equal),
    ("of", Comparison::Equal),
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("<>", Comparison::Unequal),
    ("!=", Comparison::Unequal),
    (">", Comparison::More),
    ("<", Comparison::Less),
    ("=", Comparison::Equal),
];

/// Phrases that look for a text in a column: where in it, and whether the text must be there.
pub(super) const HOLDING: &[(&str, Place, bool)] = &[
    ("starts with", Place::Beginning, true),
    ("start with", Place::Beginning, true),
    ("starting with", Place::Beginning, true),
    ("begins with", Place::Beginning, true),
    ("begin with", Place::Beginning, true),
    ("beginning with", Place::Beginning, true),
    ("does not start with", Place::Beginning, false),
    ("do not start with", Place::Beginning, false),
    ("not starting with", Place::Beginning, false),
    ("does not begin with", Place::Beginning, false),
    ("do not begin with", Place::Beginning, false),
    ("not beginning with", Place::Beginning, false),
    ("contains", Place::Anywhere, true),
    ("contain", Place::Anywhere, true),
    ("containing", Place::Anywhere, true),
    ("includes", Place::Anywhere, true),
    ("include", Place::Anywhere, true),
    ("including", Place::Anywhere, true),
    ("does not contain", Place::Anywhere, false),
    ("do not contain", Place::Anywhere, false),
    ("not containing", Place::Anywhere, false),
    ("does not include", Place::Anywhere, false),
    ("do not include", Place::Anywhere, false),
    ("not including", Place::Anywhere, false),
    ("ends with", Place::End, true),
    ("ends in", Place::End, true),
    ("end with", Place::End, true),
    ("end in", Place::End, true),
    ("ending with", Place::End, true),
    ("ending in", Place::End, true),
    ("does not end with", Place::End, false),
    ("does not end in", Place::End, false),
    ("do not end with", Place::End, false),
    ("do not end in", Place::End, false),
    ("not ending with", Place::End, false),
    ("not ending in", Place::End, false),
];

/// Phrases that say that something was not done.
pub(super) const DENYING: &[&str] = &[
    "have not yet",
    "has not yet",
    "had not yet",
    "have never",
    "has never",
    "had never",
    "have not",
    "has not",
    "had not",
    "did not",
    "never",
];

/// Verbs for making a row that refers to the one who makes it. None runs the other way, as "received" does.
pub(super) const DEEDS: &[&str] = &[
    "placed",
    "place",
    "made",
    "make",
    "written",
    "wrote",
    "write",
    "posted",
    "post",
    "submitted",
    "submit",
    "booked",
    "book",
    "opened",
    "open",
    "raised",
    "raise",
    "filed",
    "file",
    "created",
    "create",
];

/// Phrases before the number of rows that are wanted.
pub(super) const LIMITS: &[&str] = &["limited to", "limit to", "limit"];

/// Phrases that turn the number before them into a bound.
pub(super) const BOUNDS: &[(&str, Comparison)] = &[
    ("or more", Comparison::AtLeast),
    ("or less", Comparison::AtMost),
    ("or fewer", Comparison::AtMost),
];

/// Verbs and comparisons that imply a column, and the comparison if they imply one, too.
pub(super) const TELLING: &[(&str, Option<Comparison>, &[&str])] = &[
    ("costing", None, &["price", "cost"]),
    ("that costs", None, &["price", "cost"]),
    ("that cost", None, &["price", "cost"]),
    ("which cost", None, &["price", "cost"]),
    ("cost", None, &["price", "cost"]),
    ("priced at", None, &["price", "cost"]),
    ("priced", None, &["price", "cost"]),
    ("earning", None, &["salary", "wage"]),
    ("who earn", None, &["salary", "wage"]),
    ("that earn", None, &["salary", "wage"]),
    ("earn", None, &["salary", "wage"]),
    ("weighing", None, &["weight"]),
    (
        "longer than",
        Some(Comparison::More),
        &["duration", "length"],
    ),
    (
        "shorter than",
        Some(Comparison::Less),
        &["duration", "length"],
    ),
    ("cheaper than", Some(Comparison::Less), &["price", "cost"]),
    (
        "more expensive than",
        Some(Comparison::More),
        &["price", "cost"],
    ),
    ("heavier than", Some(Comparison::More), &["weight"]),
    ("lighter than", Some(Comparison::Less), &["weight"]),
];

/// Words in the names of columns that "over 300" can mean, where a table has just one such column.
pub(super) const AMOUNTS: &[&str] = &["price", "cost", "amount", "total", "salary", "fee"];

/// Words in the names of further columns that "total" can sum.
pub(super) const QUANTITIES: &[&str] = &[
    "quantity", "qty", "stock", "balance", "value", "unit", "volume", "score", "point", "hour",
    "minute", "duration",
];

/// Words that lead to a row that is referred to, or to a value.
pub(super) const PREPOSITIONS: &[&str] = &["from", "in", "at", "on", "of", "for", "by", "with"];

/// Phrases that introduce groups.
pub(super) const PER: &[&str] = &[
    "grouped by",
    "group by",
    "broken down by",
    "for each",
    "for every",
    "of each",
    "of every",
    "in each",
    "at each",
    "on each",
    "by each",
    "per",
];

/// Phrases that introduce an order.
pub(super) const SORTED: &[&str] = &[
    "ordered by",
    "sorted by",
    "order by",
    "sort by",
    "ranked by",
    "arranged by",
    "ordered",
    "sorted",
];

/// Directions after a column, and whether the greatest comes first.
pub(super) const DIRECTIONS: &[(&str, bool)] = &[
    ("in descending order", true),
    ("in ascending order", false),
    ("from highest to lowest", true),
    ("from lowest to highest", false),
    ("from high to low", true),
    ("from low to high", false),
    ("highest first", true),
    ("lowest first", false),
    ("largest first", true),
    ("smallest first", false),
    ("descending", true),
    ("ascending", false),
    ("desc", true),
    ("asc", false),
    ("alphabetically", false),
];

/// Directions in time, which need no column.
pub(super) const FIRST: &[(&str, bool)] = &[
    ("newest first", true),
    ("latest first", true),
    ("most recent first", true),
    ("oldest first", false),
    ("earliest first", false),
];
