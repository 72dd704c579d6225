//! Small input that claims, or expands to, far more than allowed must not cost the memory.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use brod_protocol::compress::{compress, decompress, Codec, CodecError};

/// The system's allocator, remembering the largest block that was asked for.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System` unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Relaxed);
        System.realloc(ptr, layout, size)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        System.dealloc(ptr, layout);
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Decompresses and tells the largest block allocated for it.
fn watched(codec: Codec, input: &[u8], limit: usize) -> (Result<Vec<u8>, CodecError>, usize) {
    LARGEST.store(0, Relaxed);
    let result = decompress(codec, input, limit);
    (result, LARGEST.load(Relaxed))
}

// One test, because the allocator sees all threads.
#[test]
fn memory_follows_the_data_and_the_limit() {
    const MIB: usize = 1 << 20;

    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut bomb = Vec::new();
        compress(codec, None, &vec![0; 16 * MIB], &mut bomb).expect("compresses");
        let (result, largest) = watched(codec, &bomb, MIB);
        assert!(
            matches!(result, Err(CodecError::LimitExceeded { limit: MIB })),
            "{codec:?}: {result:?}"
        );
        // The largest block of lz4 takes 4 MiB, whatever the limit.
        assert!(largest <= 4 * MIB, "{codec:?}: {largest}");
    }

    // Snappy states its size up front: 4 GiB, in five bytes, and a limit that allows it.
    let (result, largest) = watched(Codec::Snappy, b"\xff\xff\xff\xff\x0f", usize::MAX);
    assert!(matches!(result, Err(CodecError::Malformed { .. })));
    assert!(largest < MIB, "{largest}");
}
