//! Completion of arguments.

use serde::Serialize;

use super::{Fields, Project};

/// The most values that one completion may have.
const MAX_VALUES: usize = 100;

/// What an argument could be.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// The values, best first; the first 100 are sent.
    pub values: Vec<String>,
    /// How many there are in all, if that is known.
    pub total: Option<u64>,
}

impl Project for Completion {
    fn project(&self, fields: &mut Fields<'_>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Values<'a> {
            values: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<u64>,
            has_more: bool,
        }
        let values = &self.values[..self.values.len().min(MAX_VALUES)];
        let all = self.total.unwrap_or(self.values.len() as u64);
        let has_more = all > values.len() as u64;
        fields.always(
            "completion",
            Values {
                values,
                total: self.total,
                has_more,
            },
        );
    }
}
