//! Finds the places of things in a list by a hash of theirs; made once and then only read.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// Places in a list, 6 to 12 bytes each. The things themselves stay in their list.
///
/// Nobody can choose keys that collide, because their hashes get a new key each time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    places: HashTable<u32>,
    state: RandomState,
}

impl Index {
    /// Makes an index with room for `count` keys.
    pub(crate) fn with_room_for(count: usize) -> Self {
        Self {
            places: HashTable::with_capacity(count),
            state: RandomState::new(),
        }
    }

    /// Finds the place of a key; `is_at` says whether the item at a place has it.
    pub(crate) fn find(&self, key: &impl Hash, is_at: impl Fn(usize) -> bool) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let found = self
            .places
            .find(self.state.hash_one(key), |place| is_at(*place as usize));
        found.map(|place| *place as usize)
    }

    /// Enters a key's place. If the key has one already, returns that and changes nothing.
    ///
    /// There must be room for it.
    pub(crate) fn insert(
        &mut self,
        key: &impl Hash,
        place: usize,
        is_at: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let known = self.find(key, is_at);
        if known.is_none() {
            let place = u32::try_from(place).expect("memory holds fewer than 2^32 tokens");
            let hash = self.state.hash_one(key);
            self.places
                .insert_unique(hash, place, |_| unreachable!("there is room"));
        }
        known
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_where_it_was_put_and_no_other_key_is() {
        for count in [0, 1, 2, 3, 1_000] {
            let keys: Vec<u64> = (0..count).map(|number| number * 7).collect();
            let mut index = Index::with_room_for(keys.len());
            for (place, key) in keys.iter().enumerate() {
                assert_eq!(index.insert(key, place, |at| keys[at] == *key), None);
            }
            for (place, key) in keys.iter().enumerate() {
                assert_eq!(index.find(key, |at| keys[at] == *key), Some(place));
                assert_eq!(index.insert(key, 0, |at| keys[at] == *key), Some(place));
                let other = key + 1;
                assert_eq!(index.find(&other, |at| keys[at] == other), None);
            }
        }
        assert_eq!(Index::default().find(&1, |_| true), None);
    }

    #[test]
    fn a_token_takes_less_than_200_bytes_beside_its_texts() {
        let in_its_list = size_of::<usize>();
        let counts = 2 * size_of::<usize>();
        let in_the_index = Index::with_room_for(1_000).places.allocation_size() / 1_000;
        let record = size_of::<crate::Token>();
        assert!(
            in_its_list + counts + in_the_index + record < 200,
            "{record}"
        );
    }
}
