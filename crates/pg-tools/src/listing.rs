//! The lists of tools that agents see: most see the same, and each of their calls asks for it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use foldhash::HashMap;
use mcp_protocol::{Schema, Tool as Listed, ToolAnnotations};

use crate::{
    Agent, Policy,
    shelf::{Shelf, Shelved},
    tools::{Definition, Effect},
};

/// The lists that were requested.
#[derive(Default)]
pub(crate) struct Lists {
    /// What agents of the same standing were shown. Every call reads it; it is only written for new ones.
    shown: RwLock<HashMap<Viewer, Shown>>,
    /// The lists themselves. Locked for a look-up or an insertion.
    known: Mutex<VecDeque<List>>,
}

/// The addresses of an agent's policy and of its list of databases. They cannot be reused, because
/// [`Shown`] keeps both alive.
type Viewer = (usize, usize);

/// What an agent sees, as long as the agent and the custom tools stay the same.
struct Shown {
    _held: (Arc<Policy>, Arc<[Arc<str>]>),
    custom: Arc<[Arc<Shelved>]>,
    listed: Arc<[Listed]>,
}

struct List {
    tools: Vec<Arc<Shelved>>,
    listed: Arc<[Listed]>,
}

impl Lists {
    /// How many lists are kept, which is about as many as are in use at once; beyond that the oldest is dropped, and
    /// made again when it is needed.
    const MOST: usize = 64;
    /// How many standings of agents are remembered.
    const MOST_SHOWN: usize = 4_096;

    /// Returns the tools that an agent may use.
    pub(crate) fn of(&self, shelf: &Shelf, agent: &Agent) -> Arc<[Listed]> {
        let custom = shelf.present_custom();
        let (policy, databases) = (agent.policy(), agent.all_databases());
        let viewer = (
            Arc::as_ptr(policy).addr(),
            Arc::as_ptr(databases).cast::<()>().addr(),
        );
        {
            let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
            let shown = shown.get(&viewer);
            if let Some(shown) = shown.filter(|shown| Arc::ptr_eq(&shown.custom, &custom)) {
                return Arc::clone(&shown.listed);
            }
        }
        let seen = shelf.of(agent, &custom);
        let is_all = seen.len() == shelf.count_allowed(agent, &custom);
        let listed = self.listed(seen);
        // A list that bounds have narrowed is right for this agent only, and only for now.
        if !is_all {
            return listed;
        }
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        if shown.len() >= Self::MOST_SHOWN {
            shown.clear();
        }
        let now = Shown {
            _held: (Arc::clone(policy), Arc::clone(databases)),
            custom,
            listed: Arc::clone(&listed),
        };
        shown.insert(viewer, now);
        listed
    }

    /// Returns the list of these tools, shared by all agents that see the same ones.
    fn listed(&self, seen: Vec<Arc<Shelved>>) -> Arc<[Listed]> {
        let same = |known: &[Arc<Shelved>]| {
            known.len() == seen.len() && known.iter().zip(&seen).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().iter().find(|known| same(&known.tools)) {
            return Arc::clone(&known.listed);
        }
        let listed = seen.iter().map(|shelved| match shelved.tool.own() {
            Some(own) => own.tool().clone(),
            None => list(&shelved.tool.definition()),
        });
        let listed: Arc<[Listed]> = listed.collect();
        let mut known = known();
        known.push_back(List {
            tools: seen,
            listed: Arc::clone(&listed),
        });
        if known.len() > Self::MOST {
            known.pop_front();
        }
        listed
    }
}

fn list(definition: &Definition<'_>) -> Listed {
    let schema = "the schemas of the tools are valid, which a test proves";
    let mut listed = Listed::new(
        definition.name.to_owned(),
        definition.description.to_owned(),
        Schema::input(definition.input_schema).expect(schema),
    );
    listed.title = Some(definition.title.to_owned().into());
    listed.output_schema = Some(Schema::output(definition.output_schema).expect(schema));
    listed.annotations = annotations(definition.effect);
    listed
}

fn annotations(effect: Effect) -> ToolAnnotations {
    let writes = effect == Effect::Writes;
    ToolAnnotations {
        read_only_hint: Some(!writes),
        destructive_hint: Some(writes),
        // A tool that keeps a connection keeps one more with each call.
        idempotent_hint: Some(!writes && effect != Effect::Keeps),
        open_world_hint: Some(effect == Effect::Asks),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use session_pool::{Limits, Sessions};

    use super::*;
    use crate::{Bounds, Leave, Settings, Standing};

    fn names(listed: &[Listed]) -> Vec<&str> {
        listed.iter().map(|tool| &*tool.name).collect()
    }

    fn trial() -> (Shelf, Lists, Agent) {
        let sessions = Sessions::new([], Limits::default());
        let agent = Agent::new(sessions.open("anyone", None), "shop");
        let shelf = Shelf::new(Settings::default()).unwrap();
        (shelf, Lists::default(), agent)
    }

    #[tokio::test]
    async fn agents_see_their_own_lists_and_equal_ones_are_made_once() {
        let (shelf, lists, all) = trial();
        let counts = |tools: &[&str]| Policy {
            tools: Some(BTreeSet::from_iter(
                tools.iter().map(|name| (*name).to_owned()),
            )),
            ..Policy::default()
        };
        let few = all.clone().with_policy(counts(&["count_rows"]));
        for _ in 0..2 {
            let seen = lists.of(&shelf, &all);
            let different: HashSet<_> = names(&seen).into_iter().collect();
            assert_eq!(different.len(), shelf.all().len());
            assert_eq!(names(&lists.of(&shelf, &few)), ["count_rows"]);
        }
        let other = all.clone().with_policy(counts(&["count_rows"]));
        assert!(Arc::ptr_eq(
            &lists.of(&shelf, &few),
            &lists.of(&shelf, &other)
        ));
    }

    #[tokio::test]
    async fn what_bounds_leave_of_a_list_is_seen_for_as_long_as_they_do() {
        let (shelf, lists, agent) = trial();
        let bounds = Bounds::default();
        let standing = Standing {
            name: "bounded".into(),
            databases: ["shop".into()].into(),
            policy: Arc::default(),
            meter: Arc::default(),
            bounds: bounds.clone(),
        };
        let agent = Agent::of(Arc::new(standing), agent.session().clone());
        bounds.draw(|doing| match doing.tool {
            Some("count_rows") => Leave::Stays,
            _ => Leave::Ends,
        });
        assert_eq!(names(&lists.of(&shelf, &agent)), ["count_rows"]);
        bounds.draw(|_| Leave::Stays);
        assert_eq!(lists.of(&shelf, &agent).len(), shelf.all().len());
    }

    #[tokio::test]
    async fn other_custom_tools_are_seen_at_once() {
        let (shelf, lists, agent) = trial();
        let before = lists.of(&shelf, &agent).len();
        let tool = shelf.all().pop().unwrap().tool.clone();
        shelf.put_custom(vec![tool]);
        assert_eq!(lists.of(&shelf, &agent).len(), before + 1);
        shelf.put_custom(Vec::new());
        assert_eq!(lists.of(&shelf, &agent).len(), before);
    }

    #[tokio::test]
    async fn what_is_remembered_has_a_bound() {
        let (shelf, lists, agent) = trial();
        for _ in 0..2 * Lists::MOST_SHOWN {
            let agent = agent.clone().with_policy(Policy::default());
            lists.of(&shelf, &agent);
        }
        assert!(lists.shown.read().unwrap().len() <= Lists::MOST_SHOWN);
        assert_eq!(lists.known.lock().unwrap().len(), 1);
    }
}
