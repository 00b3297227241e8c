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
