//! What functions that have returned leave on a thread's stack.
//!
//! Guarantees: after [`wipe`] nothing of them is within [`DEPTH`] below its caller.
//! Not here: what returns with a value, and frames that are still in use.

use std::hint::black_box;

/// Deeper than anything that handles an address or a name.
const DEPTH: usize = 32 << 10;

/// Overwrites what is below the caller. Costs less than a microsecond.
#[inline(never)]
pub fn wipe() {
    black_box(&mut [0_u8; DEPTH]);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const MARK: [u8; 16] = *b"of somebody gone";

    /// Where it had it.
    #[inline(never)]
    fn have_it(room: usize) -> usize {
        let mut below = [[0_u8; 64]; 64];
        let place = &mut below[room];
        place[..16].copy_from_slice(black_box(&MARK));
        black_box(place).as_ptr().addr()
    }

    fn look(at: usize) -> [u8; 16] {
        let mut seen = [0; 16];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut seen, u64::try_from(at).unwrap()).unwrap();
        seen
    }

    #[test]
    fn what_a_function_left_is_overwritten() {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut seen = [0; 16];
        let at = u64::try_from(have_it(black_box(7))).unwrap();
        memory.read_exact_at(&mut seen, at).unwrap();
        assert_eq!(seen, MARK, "the look sees what is there");
        wipe();
        assert_ne!(look(usize::try_from(at).unwrap()), MARK);
    }
}
