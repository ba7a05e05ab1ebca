//! Frames as no network sends them: cut short, with bytes of chance, at impossible times, and very many.
//! In: captures, and calls made up here. Out: lines that are sound. Knows nothing of attackers.

use std::time::{Duration, Instant};

use offhook::base::{Rules, Timestamp};

use crate::support::captures::ours;
use crate::support::claims::Claims;
use crate::support::outcome::end;
use crate::support::{Dice, Faults, Load, Packet, Seen, outcome};

/// Its provider's only REGISTER is longer than what follows: cut so that only that is unreadable, nothing tells that the domain
/// has a registrar, and the called number stands for whoever answers (SPEC section 6, rule 3).
const NO_REGISTER_LEFT: &str = "trunk-that-registers";

/// Weak: a snapshot length hides what is behind it. What is left claims nothing that the whole does not.
#[test]
fn frames_cut_anywhere_show_nothing_new() {
    let mut faults = Faults::default();
    let decidable = ours().into_iter().filter(|capture| capture.name != NO_REGISTER_LEFT);
    for (offset, capture) in decidable.enumerate() {
        let whole = Claims::of(&capture.outcome());
        let longest = capture.frames.iter().map(|seen| seen.bytes.len()).max().unwrap_or(0);
        for length in (offset % 5..longest).step_by(5) {
            let mut cut = capture.frames.clone();
            for seen in &mut cut {
                seen.bytes.truncate(length);
            }
            let shown = capture.outcome_of(&cut);
            shown.assert_sound(&capture.name);
            let new = Claims::without_reserve(&shown).beyond(&whole);
            for new in new {
                faults.add(format!("{}, frames of {length} bytes: {new}", capture.name));
            }
        }
    }
    faults.assert_none();
}

/// Whatever the bytes say: each line follows from the one before it, and nobody talks who is not there.
#[test]
fn any_bytes_give_sound_lines() {
    for capture in ours() {
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let mut broken = capture.frames.clone();
            for seen in &mut broken {
                for _ in 0..dice.below([2, 4, 20, 200][seed as usize % 4]) {
                    let at = dice.below(seen.bytes.len());
                    if let Some(byte) = seen.bytes.get_mut(at) {
                        *byte = dice.below(256) as u8;
                    }
                }
                if dice.below(8) == 0 {
                    let far = [Timestamp::EPOCH, seen.at.after_s(u32::MAX), Timestamp::MAX];
                    seen.at = far[dice.below(64).min(3) % 3];
                }
            }
            println!("{}, seed {seed}", capture.name);
            let until = end(&broken).after_s(u32::MAX);
            outcome(&capture.rules, &broken, until).assert_sound(&capture.name);
        }
    }
}

/// Time per message stays what it is, however many calls stand at one address.
#[test]
fn calls_at_one_address_cost_the_same_each() {
    // The best of several: others use the machine, too.
    let best_of = |calls| (0..3).map(|_| cost_of_calls(calls)).min().unwrap_or_default();
    let (few, many) = (best_of(1_000), best_of(8_000));
    assert!(many < few * 8 * 4, "1,000 calls took {few:?}, 8,000 took {many:?}");
}

fn cost_of_calls(calls: u32) -> Duration {
    let mut frames = Vec::new();
    for call in 0..calls {
        let [high, low] = [(call >> 8) as u8, call as u8];
        let (phone, pbx) = ([10, 0, high, low], [192, 0, 2, 1]);
        let fields = format!(
            "Via: SIP/2.0/UDP 10.0.{high}.{low};branch=z9hG4bK{call}\r\nFrom: <sip:u{call}@example.com>;tag=f\r\n\
             Call-ID: {call}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\nTo: <sip:bob@example.com>"
        );
        let invite = format!("INVITE sip:bob@example.com SIP/2.0\r\n{fields}\r\n\r\n");
        let accepted = format!("SIP/2.0 200 OK\r\n{fields};tag=t\r\nContact: <sip:192.0.2.1>\r\n\r\n");
        let at = Timestamp::from_nanos(1_795_327_681_000_000_000 + u64::from(call) * 100_000);
        frames.push(datagram(at, phone, pbx, &invite));
        frames.push(datagram(at, pbx, phone, &accepted));
    }
    #[expect(clippy::disallowed_methods, reason = "what is measured here is this machine")]
    let begin = Instant::now();
    assert!(outcome(&Rules::default(), &frames, end(&frames)).told().count() > calls as usize);
    begin.elapsed()
}

/// A UDP datagram between ports 5060.
fn datagram(at: Timestamp, from: [u8; 4], to: [u8; 4], text: &str) -> Seen {
    let load = Load::Udp(text.as_bytes().to_vec());
    let (source, destination) = ((from, 5_060).into(), (to, 5_060).into());
    Packet { at, source, destination, load, whole: true }.frame()
}
