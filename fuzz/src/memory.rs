//! Memory is counted: what a few KB of input may cost has a limit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Above what any decoder may take for an input of the sizes tried here: 16 MB are ADR 10's for one response.
const MOST: usize = 32 * 1024 * 1024;

/// The system's allocator, counting what is in use.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn took(size: usize) {
    let used = USED.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(used, Relaxed);
}

// SAFETY: every call goes to `System` unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        took(size);
        USED.fetch_sub(layout.size(), Relaxed);
        System.realloc(ptr, layout, size)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        System.dealloc(ptr, layout);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does it, and panics if it took too much memory.
pub fn limited(run: impl FnOnce()) {
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    run();
    let took = PEAK.load(Relaxed).saturating_sub(before);
    assert!(took <= MOST, "it took {took} bytes of memory");
}
