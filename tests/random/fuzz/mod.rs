//! No bytes that somebody else wrote make shoebox panic, hang or believe what does not hold.
//!
//! Here each target runs on mutations of real inputs, the same ones each time. `scripts/fuzz` runs
//! the same targets for as long as it is told with libFuzzer, which sees what an input reaches.
//! With `SHOEBOX_FUZZ_SEEDS=FOLDER` the inputs to begin with and the dictionary are written for it.

mod mutate;
mod seeds;
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::Random;
use targets::{Target, WORDS};

/// How many inputs each target gets, by how long it takes for one.
fn count(name: &str) -> u64 {
    match name {
        "repository" => 30,
        "catalog" => 100,
        "dump" => 800,
        _ => 6_000,
    }
}

/// Runs a target on its seeds and on mutations of them; how many there were.
fn fuzz((name, target): Target, seeds: &[Vec<u8>]) -> u64 {
    let seconds = std::env::var("SHOEBOX_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = Random(0x5eed);
    let mut inputs = 0;
    for seed in seeds {
        run(name, target, seed);
    }
    while until.map_or(inputs < count(name), |until| Instant::now() < until) {
        run(name, target, &mutate::mutated(&mut random, seeds));
        inputs += 1;
    }
    inputs
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let kept = std::env::temp_dir().join(format!("shoebox-fuzz-{name}"));
        fs::write(&kept, input).unwrap();
        let shown = &input[..input.len().min(2000)];
        panic!(
            "{name} fails with {} bytes, kept as {}: {}",
            input.len(),
            kept.display(),
            shown.escape_ascii()
        );
    }
}

#[test]
fn no_mutated_input_makes_a_reader_panic() {
    let seeds = seeds::all();
    if let Some(folder) = std::env::var_os("SHOEBOX_FUZZ_SEEDS") {
        return write_seeds(Path::new(&folder), &seeds);
    }
    for target in targets::TARGETS {
        let begun = Instant::now();
        let inputs = fuzz(target, &seeds[target.0]);
        println!("{}: {inputs} inputs in {:.1} s", target.0, begun.elapsed().as_secs_f64());
    }
}

fn write_seeds(folder: &Path, seeds: &seeds::Seeds) {
    for (name, inputs) in seeds {
        fs::create_dir_all(folder.join(name)).unwrap();
        for (number, input) in inputs.iter().enumerate() {
            fs::write(folder.join(name).join(format!("seed-{number}")), input).unwrap();
        }
    }
    let escaped =
        |word: &&str| word.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let words: String = WORDS.iter().map(|word| format!("\"{}\"\n", escaped(word))).collect();
    fs::write(folder.join("words"), words).unwrap();
}
