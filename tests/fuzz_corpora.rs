//! The corpora of the fuzz targets on any toolchain: each file, and some damaged copies of it, holds what its target
//! demands, and each corpus still comes to see what matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bodies::input::Reached;
use bodies::{TARGETS, Target};
use offhook::base::Random;

/// Damaged copies of all files of one corpus together. `FUZZ_DAMAGED` says another number, for a machine without a fuzzer.
const DAMAGED: usize = 1_500;

/// A body that takes longer with one input does not come to an end.
const LONGEST: Duration = Duration::from_secs(60);

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name);
    let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let mut below = |end: usize| (random.next() % end.max(1) as u64) as usize;
    for _ in 0..=below(4) {
        let at = below(bytes.len());
        match below(6) {
            0 | 1 if !bytes.is_empty() => bytes[at] = below(256) as u8,
            2 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
            3 => bytes.insert(at, below(256) as u8),
            4 => drop(bytes.drain(at..(at + 1 + below(8)).min(bytes.len()))),
            _ => {
                // Goes on as another file of the corpus.
                bytes.truncate(at);
                bytes.extend(&other[below(other.len() + 1)..]);
            }
        }
    }
}

/// Runs one input on a thread of its own, and gives what it saw or why it failed.
fn run(target: Target, bytes: Vec<u8>) -> Result<Reached, String> {
    let (done, result) = mpsc::channel();
    #[allow(clippy::disallowed_methods, reason = "an input that has no end must not stop the test")]
    thread::spawn(move || {
        let told = catch_unwind(|| (target.run)(&bytes)).map_err(|why| match why.downcast::<String>() {
            Ok(why) => *why,
            Err(why) => {
                why.downcast_ref::<&str>().map_or_else(|| "it panicked".to_owned(), |why| (*why).to_owned())
            }
        });
        let _ = done.send(told);
    });
    result.recv_timeout(LONGEST).unwrap_or_else(|_| Err(format!("it goes on after {LONGEST:?}")))
}

fn replay(name: &str) {
    let target = *TARGETS.iter().find(|target| target.name == name).unwrap();
    let files = corpus(&target);
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(files.len() >= 5, "{name} has a corpus of {} files", files.len());
    assert!(
        bytes <= 200_000,
        "{name} has a corpus of {bytes} bytes: `scripts/fuzz {name} keep` makes it small"
    );
    let mut reached = Reached::default();
    for (path, bytes) in &files {
        match run(target, bytes.clone()) {
            Ok(saw) => reached.merge(&saw),
            Err(why) => panic!("{}: {why}", path.display()),
        }
    }
    let missing: Vec<_> = target.must_reach.iter().filter(|what| !reached.0.contains_key(*what)).collect();
    assert!(missing.is_empty(), "the corpus of {name} no longer reaches {missing:?}");
    let count = std::env::var("FUZZ_DAMAGED").map_or(DAMAGED, |count| count.parse().unwrap());
    let mut random = Random::new(count as u64);
    for number in 0..count {
        let (path, bytes) = &files[number % files.len()];
        let other = &files[(random.next() % files.len() as u64) as usize].1;
        let mut damaged = bytes.clone();
        damage(&mut damaged, other, &mut random);
        if let Err(why) = run(target, damaged.clone()) {
            let kept = std::env::temp_dir().join(format!("offhook-{name}-{number}"));
            fs::write(&kept, &damaged).unwrap();
            panic!("{} damaged, kept as {}: {why}", path.display(), kept.display());
        }
    }
}

macro_rules! corpora {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })+

        #[test]
        fn every_target_has_a_test_and_a_way_into_libfuzzer() {
            let tested = [$(stringify!($name)),+];
            let named: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(named, tested);
            let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
            let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
            for name in named {
                let source = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
                assert!(source.contains(&format!("offhook_fuzz::{name}::target(data)")), "{name}");
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
            let corpora: Vec<_> = fs::read_dir(fuzz.join("corpus")).unwrap().collect();
            assert_eq!(corpora.len(), tested.len(), "a corpus without a target");
        }
    };
}

corpora! { capture config decode publisher redialer scan sdp server stream tap values xml }
