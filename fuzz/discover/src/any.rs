//! One libFuzzer binary for all targets: `FUZZ_TARGET` names the one to run, as `cargo xtask fuzz` does.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<String> = LazyLock::new(|| {
    std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target of fuzz/src/lib.rs")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    assert!(fuzz::run(&TARGET, data), "no target is called {}", *TARGET);
});
