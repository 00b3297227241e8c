//! An allocator that counts allocations.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ops::Sub,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

/// The system's allocator, counting the allocations of threads that have asked for it.
pub struct Counting;

/// What was allocated so far.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// How often memory was allocated or grown.
    pub allocations: i64,
    /// How many bytes were requested.
    pub bytes: i64,
    /// How many bytes are in use.
    pub in_use: i64,
}

static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);
static FREED: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// Counts this thread's allocations from now on.
pub fn count_this_thread() {
    IS_COUNTED.set(true);
}

/// Returns the counts so far.
#[must_use]
pub fn counted() -> Count {
    let bytes = BYTES.load(Relaxed);
    Count {
        allocations: ALLOCATIONS.load(Relaxed),
        bytes,
        in_use: bytes - FREED.load(Relaxed),
    }
}

impl Sub for Count {
    type Output = Count;

    fn sub(self, before: Count) -> Count {
        Count {
            allocations: self.allocations - before.allocations,
            bytes: self.bytes - before.bytes,
            in_use: self.in_use - before.in_use,
        }
    }
}

fn note(asked: usize, freed: usize) {
    // A thread that is ending no longer has this value.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        if asked > 0 {
            ALLOCATIONS.fetch_add(1, Relaxed);
            BYTES.fetch_add(size(asked), Relaxed);
        }
        FREED.fetch_add(size(freed), Relaxed);
    }
}

// SAFETY: everything is delegated to the system's allocator. Counting allocates nothing, as the thread-local value is
// const-initialized and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}
