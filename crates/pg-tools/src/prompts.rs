//! Prompts: texts with which a person can start a conversation.

use std::collections::BTreeMap;

/// A prompt as clients list it, and its text with gaps to fill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) arguments: &'static [Argument],
    /// The gaps are written `{name}`; a line with a gap that is not filled is left out.
    text: &'static str,
}

/// One gap of a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) required: bool,
}

const fn required(name: &'static str, description: &'static str) -> Argument {
    Argument {
        name,
        description,
        required: true,
    }
}

const fn optional(name: &'static str, description: &'static str) -> Argument {
    Argument {
        name,
        description,
        required: false,
    }
}

/// All prompts, in the order in which clients see them.
pub(crate) const PROMPTS: [Prompt; 4] = [
    Prompt {
        name: "explore-database",
        title: "Explore the database",
        description: "Gives an overview of what the database holds",
        arguments: &[optional("focus", "What to look at most closely")],
        text: "\
Give me an overview of this PostgreSQL database.
I am most interested in: {focus}

1. Call list_databases, and get_schema_info without arguments. If it only lists the tables, call it again with schema_name or table_name for the ones that matter.
2. Find out what the tables are for: their comments, foreign keys and enum labels say most. Use count_rows with estimate for their sizes, and query_database with a small limit to look at a few rows.
3. Tell me: what the database is about, its main tables and how they belong together, what is large, what is odd (tables without a primary key, foreign keys without an index, columns that nothing explains), and five questions that it can answer, each with the SQL.

Say what you have looked at and what you have guessed.",
    },
    Prompt {
        name: "setup-semantic-search",
        title: "Set up a search by meaning",
        description: "Finds out what a search by meaning needs here, and runs or prepares it",
        arguments: &[
            required("query_text", "What to search for"),
            optional("table_name", "Where to search"),
        ],
        text: "\
I want to search this database by meaning, for: {query_text}
Search in the table {table_name}.

1. Call get_schema_info with vector_tables_only. Note each vector column, its dimensions and its index (hnsw or ivfflat) with the operator class, which says the distance: vector_cosine_ops is cosine, vector_l2_ops is l2, vector_ip_ops is inner product.
2. If there is a fitting table and the tool similarity_search, call it with query_text as it is, a small top_n and the columns that I would read. Show me what was found, the nearest first, and say how near.
3. If there is none, say what is missing, and write the SQL for an owner of the database: the extension vector, a column vector(n) for the model that makes the embeddings, an HNSW index with the operator class of the wanted distance, and how the column is filled and kept up to date.

Change nothing yourself.",
    },
    Prompt {
        name: "diagnose-query-issue",
        title: "Find out what is wrong with a query",
        description: "Explains why a query is slow or gives an unexpected result",
        arguments: &[
            required("issue_description", "What is wrong: the query, what it does and what it should do"),
            optional("query", "The query, if it is not in the description"),
        ],
        text: "\
Something is wrong with a query: {issue_description}
The query: {query}

1. If it fails, read the message, its position and hint, and look up the tables with get_schema_info.
2. If it is slow, call execute_explain with it, at first with analyze false if it may take long. Go through the findings: wrong guesses, sequential scans that throw most rows away, sorts on disk, loops that scan a table again and again.
3. If it gives a wrong result, look at a few of the rows that are missing or too many, and check joins that multiply rows, NULL in conditions, and types that are compared.
4. Tell me the cause in one sentence and what shows it, then the better query or the index (CREATE INDEX CONCURRENTLY ...), and what it should gain. If the better query can be run, compare both with execute_explain.",
    },
    Prompt {
        name: "design-schema",
        title: "Design a schema",
        description: "Designs tables for what has to be stored",
        arguments: &[
            required("requirements", "What has to be stored and asked"),
            optional("use_case", "What it is for: transactions, analysis, search ..."),
        ],
        text: "\
Design a PostgreSQL schema for this: {requirements}
It is used for: {use_case}

1. Look at what is there with get_schema_info, and follow its naming and its habits.
2. Ask me what you must know and cannot guess. Otherwise name what you assume.
3. Write the SQL: tables with comments, the narrowest right types (timestamptz, numeric for money, text, uuid or identity keys), NOT NULL wherever it holds, CHECK and foreign keys, and an index for each foreign key and each question that will be asked often. Partition or denormalize only with a number that asks for it.
4. Show the three most important queries against it, and say which index serves each.

Write statements only; change nothing yourself.",
    },
];

impl Prompt {
    /// Fills the gaps.
    pub(crate) fn fill(&self, given: &BTreeMap<String, String>) -> String {
        let lines = self
            .text
            .lines()
            .filter_map(|line| self.fill_line(line, given));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn fill_line(&self, line: &str, given: &BTreeMap<String, String>) -> Option<String> {
        let gap = |argument: &&Argument| line.contains(&argument.gap());
        let Some(argument) = self.arguments.iter().find(gap) else {
            return Some(line.to_owned());
        };
        let value = given.get(argument.name)?;
        // In one pass, because the text that a person wrote may look like a gap.
        (!value.trim().is_empty()).then(|| line.replacen(&argument.gap(), value, 1))
    }
}

impl Argument {
    fn gap(&self) -> String {
        format!("{{{}}}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gap_has_an_argument_and_every_argument_one_gap() {
        for prompt in PROMPTS {
            for argument in prompt.arguments {
                assert_eq!(
                    prompt.text.matches(&argument.gap()).count(),
                    1,
                    "{} {}",
                    prompt.name,
                    argument.name
                );
            }
            let gaps = prompt.text.matches('{').count();
            assert_eq!(gaps, prompt.arguments.len(), "{}", prompt.name);
            assert!(
                prompt
                    .text
                    .lines()
                    .all(|line| line.matches('{').count() <= 1)
            );
        }
    }

    #[test]
    fn gaps_are_filled_once_and_lines_without_a_value_are_left_out() {
        let given = BTreeMap::from([("issue_description".to_owned(), "slow: {query}".to_owned())]);
        let text = PROMPTS[2].fill(&given);
        assert!(
            text.starts_with("Something is wrong with a query: slow: {query}\n\n1."),
            "{text}"
        );
        let given = BTreeMap::from([("focus".to_owned(), "orders".to_owned())]);
        assert!(PROMPTS[0].fill(&given).contains("interested in: orders\n"));
        assert!(!PROMPTS[0].fill(&BTreeMap::new()).contains("interested"));
    }
}
