//! The memory of the process: what is freed is zero and goes back to the system, and no dump is made of it.
//!
//! Owns: the allocator that `incamera` runs on; when its free pages go back to the system; what keeps the kernel
//! from writing the process to disk.
//! Guarantees: a freed block of Rust's heap holds nothing of what it held. What C libraries allocate they
//! wipe or not as they like: aws-lc does. Whole pages of the heap that are free are resident for
//! [`GIVE_BACK_EVERY`] at most.
//! Not here: histories and receive buffers (`sys::Mapping`), which are no heap; stacks; swap, which the
//! operator encrypts or does without; root, who reads all memory of a process while it is there.
//! Source: explicit_bzero(3), malloc_trim(3), prctl(2), getrlimit(2).
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait, and the kernel is asked directly"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::listener::Phase;

/// How often the heap's free pages go back to the system.
///
/// By itself glibc gives back the end of a heap alone: one block that lives at the end keeps all below it, and a
/// server that was busy for an hour would keep that hour's memory. To look costs a millisecond at most, and to give
/// back a hundred MiB ten; meanwhile nobody waits but who allocates in the same part of the heap.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(20);

/// The system's allocator, which zeroes each block before it is given back.
///
/// What grows is allocated anew, copied and freed: that is what the trait does by itself, and the system's
/// own `realloc` would leave the old block as it was.
#[derive(Debug)]
pub struct WipingAllocator;

// SAFETY: every block comes from `System` and goes back to it with the layout that it was made with; between
// the two, nobody but the caller touches it.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_zeroing_off() {
            // SAFETY: as in `alloc`.
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: the block was allocated with this layout, so it has `size` writable bytes, and the caller
        // reads none of them again. Unlike a plain `memset` this one may not be left out.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Forbids core dumps, and that other processes of the same user look into this one. Root still can.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn forbid_dumps() -> io::Result<()> {
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads the structure, which outlives the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing) };
    if limited != 0 {
        return Err(io::Error::last_os_error());
    }
    // A core file is one way out; a pipe to a crash reporter, which no limit stops, is another.
    // SAFETY: takes numbers only.
    let hidden = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if hidden == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives free memory back to the system, over and over, until the server closes.
pub(crate) async fn give_back(mut phase: watch::Receiver<Phase>) {
    let mut ticks = interval(GIVE_BACK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = Phase::closing(&mut phase) => return,
        }
        // It takes a lock of the allocator for each part of the heap that it looks through.
        if spawn_blocking(trim).await.is_err() {
            return;
        }
    }
}

/// Of glibc's own allocator. Others have no such call.
fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes a number only, and locks what it looks at. Whether anything went is no matter.
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    const PATTERN: u8 = 0x5a;

    /// What lies at an address, whoever's it is.
    fn look<const LEN: usize>(memory: &File, at: usize) -> [u8; LEN] {
        let mut seen = [PATTERN; LEN];
        memory.read_exact_at(&mut seen, u64::try_from(at).unwrap()).unwrap();
        seen
    }

    /// Whether no run of the pattern is left. The system's allocator keeps notes in what is free.
    fn is_forgotten(seen: &[u8]) -> bool {
        !seen.windows(8).any(|run| run == [PATTERN; 8])
    }

    #[test]
    fn a_freed_block_is_zero() {
        let memory = File::open("/proc/self/mem").unwrap();
        // Small enough to stay in this thread's share of the heap, where nothing else takes it meanwhile.
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: the block is written within its size, and freed once with its layout.
        let at = unsafe {
            let block = WipingAllocator.alloc(layout);
            block.write_bytes(PATTERN, 1000);
            assert!(
                !is_forgotten(&look::<1000>(&memory, block.addr())),
                "the look sees what is there"
            );
            WipingAllocator.dealloc(block, layout);
            block.addr()
        };
        assert!(is_forgotten(&look::<1000>(&memory, at)));
    }

    #[test]
    fn what_grows_or_shrinks_leaves_nothing_behind() {
        let memory = File::open("/proc/self/mem").unwrap();
        for len_after in [2000, 100] {
            let layout = Layout::from_size_align(1000, 8).unwrap();
            // SAFETY: the block is written within its size; the new one is freed once with its layout.
            let (before, after) = unsafe {
                let block = WipingAllocator.alloc(layout);
                block.write_bytes(PATTERN, 1000);
                let grown = WipingAllocator.realloc(block, layout, len_after);
                let kept = std::slice::from_raw_parts(grown, len_after.min(1000));
                assert!(kept.iter().all(|byte| *byte == PATTERN));
                WipingAllocator.dealloc(grown, Layout::from_size_align(len_after, 8).unwrap());
                (block.addr(), grown.addr())
            };
            assert_ne!(before, after);
            assert!(is_forgotten(&look::<1000>(&memory, before)), "to {len_after}");
        }
    }
}
