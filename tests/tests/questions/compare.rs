//! Whether two results say the same.

use serde_json::Value;

pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// Rows of structured content, with values as `psql` shows them.
pub(crate) fn shown(rows: &Value) -> Rows {
    let row = |row: &Value| row.as_array().unwrap().iter().map(value).collect();
    rows.as_array().unwrap().iter().map(row).collect()
}

fn value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(is) => Some(if *is { "t" } else { "f" }.to_owned()),
        Value::String(text) => Some(text.clone()),
        number => Some(number.to_string()),
    }
}

/// Whether the rows are the expected ones. Each expected column must be there, whatever its name and place; there may
/// be further columns.
pub(crate) fn are_same(expected: &Rows, actual: &Rows, is_ordered: bool) -> bool {
    let (expected, actual) = (plain(expected), plain(actual));
    if expected.len() != actual.len() {
        return false;
    }
    let Some(first) = expected.first() else {
        return true;
    };
    let width = actual[0].len();
    if first.len() > width {
        return false;
    }
    pair(&expected, &actual, &mut Vec::new(), is_ordered)
}

/// Rewrites numbers, so that equal ones are equal however they were written.
fn plain(rows: &Rows) -> Vec<Vec<String>> {
    let plain = |value: &Option<String>| match value {
        None => "NULL".to_owned(),
        Some(text) => match text.parse::<f64>() {
            Ok(number) => format!("{number:.9e}"),
            Err(_) => format!("'{text}'"),
        },
    };
    rows.iter()
        .map(|row| row.iter().map(plain).collect())
        .collect()
}

/// Finds a column of the actual rows for each expected one, `chosen` for the first of them.
fn pair(
    expected: &[Vec<String>],
    actual: &[Vec<String>],
    chosen: &mut Vec<usize>,
    is_ordered: bool,
) -> bool {
    let next = chosen.len();
    if next == expected[0].len() {
        return true;
    }
    (0..actual[0].len()).any(|column| {
        if chosen.contains(&column) {
            return false;
        }
        chosen.push(column);
        let is_fit = agree(expected, actual, chosen, is_ordered)
            && pair(expected, actual, chosen, is_ordered);
        if !is_fit {
            chosen.pop();
        }
        is_fit
    })
}

fn agree(
    expected: &[Vec<String>],
    actual: &[Vec<String>],
    chosen: &[usize],
    is_ordered: bool,
) -> bool {
    let mut left: Vec<Vec<&String>> = expected
        .iter()
        .map(|row| row.iter().take(chosen.len()).collect())
        .collect();
    let mut right: Vec<Vec<&String>> = actual
        .iter()
        .map(|row| chosen.iter().map(|column| &row[*column]).collect())
        .collect();
    if !is_ordered {
        left.sort_unstable();
        right.sort_unstable();
    }
    left == right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Rows {
        let row = |row: &&[&str]| row.iter().map(|value| Some((*value).to_owned())).collect();
        rows.iter().map(row).collect()
    }

    #[test]
    fn columns_may_be_more_and_elsewhere_but_rows_may_not() {
        let expected = rows(&[&["a", "1"], &["b", "2"]]);
        for (actual, is_ordered, same) in [
            (rows(&[&["1.0", "x", "a"], &["2", "y", "b"]]), true, true),
            (rows(&[&["2", "y", "b"], &["1", "x", "a"]]), false, true),
            (rows(&[&["2", "y", "b"], &["1", "x", "a"]]), true, false),
            (rows(&[&["2", "a"], &["1", "b"]]), false, false),
            (rows(&[&["a"], &["b"]]), false, false),
            (rows(&[&["a", "1"]]), false, false),
        ] {
            assert_eq!(are_same(&expected, &actual, is_ordered), same, "{actual:?}");
        }
    }
}
