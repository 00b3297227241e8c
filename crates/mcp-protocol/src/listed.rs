//! Lists of tools as they are sent. Most principals see the same list, so it is written once.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{Json, Tool};
use crate::revision::Revision;

/// The lists that were sent last. If a handler returns the same list again, it is found here.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    // Held for a look, or to enter a list that was written already.
    known: RwLock<VecDeque<List>>,
}

#[derive(Debug)]
struct List {
    tools: Arc<[Tool]>,
    revision: Revision,
    json: Arc<Json>,
}

impl Listed {
    /// As many lists as are likely to be in use at once, in one revision or two.
    const MOST: usize = 64;

    /// Returns the JSON of a whole list.
    pub(crate) fn of(&self, tools: &Arc<[Tool]>, revision: Revision) -> Arc<Json> {
        if let Some(json) = self.find(tools, revision) {
            return json;
        }
        let json = Arc::new(Json::of_list(tools, revision));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.push_back(List {
            tools: Arc::clone(tools),
            revision,
            json: Arc::clone(&json),
        });
        if known.len() > Self::MOST {
            known.pop_front();
        }
        json
    }

    fn find(&self, tools: &Arc<[Tool]>, revision: Revision) -> Option<Arc<Json>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |list: &&List| list.revision == revision && Arc::ptr_eq(&list.tools, tools);
        known.iter().find(is_it).map(|list| Arc::clone(&list.json))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Schema;

    fn tools(name: &'static str) -> Arc<[Tool]> {
        let schema = Schema::input(r#"{"type":"object"}"#).unwrap();
        let mut tool = Tool::new(name, "", schema);
        tool.title = Some("A title".into());
        Arc::new([tool])
    }

    #[test]
    fn a_list_is_written_once_for_each_revision() {
        let listed = Listed::default();
        let tools = tools("a");
        let old = listed.of(&tools, Revision::V2024_11_05);
        let new = listed.of(&tools, Revision::V2025_06_18);
        assert!(!old.as_str().contains("title") && new.as_str().contains("title"));
        assert!(Arc::ptr_eq(&old, &listed.of(&tools, Revision::V2024_11_05)));
        assert!(Arc::ptr_eq(&new, &listed.of(&tools, Revision::V2025_06_18)));
    }

    #[test]
    fn an_equal_list_of_another_time_is_another_one_and_few_are_kept() {
        let listed = Listed::default();
        let first = tools("a");
        let written = listed.of(&first, Revision::V2025_11_25);
        let other = listed.of(&tools("b"), Revision::V2025_11_25);
        assert!(other.as_str().contains("\"b\"") && !written.as_str().contains("\"b\""));
        for _ in 0..2 * Listed::MOST {
            listed.of(&tools("c"), Revision::V2025_11_25);
        }
        assert_eq!(listed.known.read().unwrap().len(), Listed::MOST);
        assert_eq!(listed.of(&first, Revision::V2025_11_25), written);
    }
}
