//! What Control and the Forwards promise together, played out with seeds.
//!
//! A seed that fails prints the line that plays it again and keeps its text.

use std::time::Duration;

use sim::{Counts, Ended, run};

const TIME: Duration = Duration::from_secs(8);
const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];

/// Plays a seed and stops at a broken invariant.
fn play(seed: u64) -> Ended {
    let ended = run(seed, TIME, false);
    if let Some(broken) = &ended.broken {
        panic!(
            "{broken}\nSIM_SEED={seed} cargo test -p sim --test replay -- a_seed_of_choice --nocapture"
        );
    }
    ended
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in SEEDS {
        let (first, second) = (play(seed), play(seed));
        assert_eq!(first.trace.lines(), second.trace.lines(), "seed {seed}");
        assert_eq!(first.trace.hash(), second.trace.hash(), "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
    }
}

#[test]
fn another_seed_leaves_another_trace() {
    let mut hashes: Vec<u64> = SEEDS.iter().map(|seed| play(*seed).trace.hash()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), SEEDS.len());
}

/// The witness inside looks at every datagram; runs in which nothing happens would prove nothing.
#[test]
fn payloads_arrive_unchanged_and_only_where_they_are_wanted() {
    let runs: Vec<Counts> = (100..132).map(|seed| play(seed).counts).collect();
    let least = |count: fn(&Counts) -> u64| runs.iter().map(count).min().unwrap_or(0);
    let total = |count: fn(&Counts) -> u64| runs.iter().map(count).sum::<u64>();
    assert!(least(|run| run.forwarded) > 500, "{runs:?}");
    assert!(least(|run| run.lost) > 50, "{runs:?}");
    assert!(least(|run| run.joined) > 6, "{runs:?}");
    assert!(total(|run| run.relayed) > 5_000, "{runs:?}");
    assert!(total(|run| run.retransmitted) > 500, "{runs:?}");
    assert!(total(|run| run.keyframes_wanted) > 50, "{runs:?}");
    // Few: in most frames here the first packet is overtaken, and no such key frame begins anything.
    assert!(total(|run| run.switches) > 30, "{runs:?}");
}

#[test]
fn a_seed_of_choice() {
    let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(17);
    let ended = run(seed, TIME, true);
    println!("{}", ended.trace.text().unwrap_or_default());
    assert_eq!(ended.broken, None, "{:?}", ended.counts);
}
