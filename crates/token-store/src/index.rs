//! Where in a list things stand, found by a hash of theirs; made once and then only read.

use std::hash::{BuildHasher, Hash, RandomState};

/// Places in a list, in an open table with linear probing: 11 bytes for each, however many there are.
///
/// The things themselves stay in their list. Nobody can choose keys that collide, for their hashes are keyed anew each time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    slots: Box<[Slot]>,
    state: RandomState,
}

/// A place and what tells it from most others without a look at the list.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    mark: u32,
    /// The place and one; 0 is an empty slot.
    next: u32,
}

impl Index {
    /// Makes room for so many keys.
    pub(crate) fn with_room_for(count: usize) -> Self {
        // At three quarters full, 2.5 slots are looked at on average to find a key, and 8.5 to miss one.
        let slots = vec![Slot::default(); count + count / 3 + 1];
        Self {
            slots: slots.into(),
            state: RandomState::new(),
        }
    }

    /// Finds the place of a key; `is_at` says whether it is the key of a place.
    pub(crate) fn find(&self, key: &impl Hash, is_at: impl Fn(usize) -> bool) -> Option<usize> {
        self.look(key, is_at).ok()
    }

    /// Puts a key's place in. Where the key has one already, returns that and changes nothing.
    ///
    /// There must be room for it.
    pub(crate) fn insert(
        &mut self,
        key: &impl Hash,
        place: usize,
        is_at: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (at, mark) = match self.look(key, is_at) {
            Ok(known) => return Some(known),
            Err(free) => free?,
        };
        let next = u32::try_from(place + 1).expect("memory holds fewer than 2^32 tokens");
        self.slots[at] = Slot { mark, next };
        None
    }

    /// Returns the place of a key, or else the free slot for it and its mark.
    fn look(
        &self,
        key: &impl Hash,
        is_at: impl Fn(usize) -> bool,
    ) -> Result<usize, Option<(usize, u32)>> {
        if self.slots.is_empty() {
            return Err(None);
        }
        let hash = self.state.hash_one(key);
        // The high half picks the slot, the low half is the mark.
        let first = (u128::from(hash) * self.slots.len() as u128) >> 64;
        let first = usize::try_from(first).unwrap_or_default();
        let mark = hash as u32;
        let (before, from) = self.slots.split_at(first);
        for (step, slot) in from.iter().chain(before).enumerate() {
            let Some(place) = slot.next.checked_sub(1) else {
                return Err(Some(((first + step) % self.slots.len(), mark)));
            };
            if slot.mark == mark && is_at(place as usize) {
                return Ok(place as usize);
            }
        }
        Err(None)
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
        let in_the_index = Index::with_room_for(1_000).slots.len() * size_of::<Slot>() / 1_000;
        let record = size_of::<crate::Token>();
        assert!(
            in_its_list + counts + in_the_index + record < 200,
            "{record}"
        );
    }
}
