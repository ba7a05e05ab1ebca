//! The way from handing over each frame at once to blocks, and back, while frames pass: in a network namespace of its own,
//! at the end of a cable (veth). Without root, or without `ip`, the test says that it was skipped.

#![expect(clippy::disallowed_methods, reason = "frames are sent as time passes, and a change is waited for")]

use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, sync_channel};

use nix::sched::{CloneFlags, unshare};

use super::*;

/// Nothing here takes longer on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than what a handle that was just opened takes to settle, so that it is the calm that is waited for.
const SHORT_CALM: Duration = Duration::from_millis(400);
const BETWEEN_FRAMES: Duration = Duration::from_micros(300);

/// Moves this thread, and those that it starts, to a namespace with a cable from in0 to span0. Whether it can be done here.
fn enter_net() -> bool {
    let ip = |arguments: &str| {
        Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
    };
    let is_made = unshare(CloneFlags::CLONE_NEWNET).is_ok() && ip("link add span0 type veth peer name in0");
    if !is_made {
        println!("skipped: it takes root and `ip` to make a network namespace");
        return false;
    }
    for end in ["span0", "in0"] {
        // No frames of its own.
        assert!(ip(&format!("link set {end} addrgenmode none")));
        assert!(ip(&format!("link set {end} up")));
    }
    true
}

/// Sends frames of no protocol that is known, each with its number, until it is to stop, or nobody will say so any more.
fn send_numbered(sent: &AtomicU32, stop: &AtomicBool) {
    let mut out = pcap::Capture::from_device("in0").unwrap().open().unwrap();
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) && began.elapsed() < 2 * PATIENCE {
        let number = sent.load(Ordering::Relaxed);
        let mut bytes = [&[0xff; 12][..], &[0x88, 0xb5], &number.to_be_bytes()].concat();
        bytes.resize(200, 0);
        out.sendpacket(bytes).unwrap();
        sent.store(number + 1, Ordering::Relaxed);
        thread::sleep(BETWEEN_FRAMES);
    }
}

/// The numbers of the frames that were handed over since. Says how many the kernel has dropped so far.
fn take_numbers(shown: &Receiver<Shown>, numbers: &mut Vec<u32>) -> u64 {
    let mut kernel_dropped = 0;
    for (source, batch) in shown.try_iter() {
        kernel_dropped = batch.counts.kernel_dropped;
        for index in 0..batch.len() {
            let frame = batch.frame(index, source).unwrap();
            numbers.push(u32::from_be_bytes(frame.bytes[14..18].try_into().unwrap()));
        }
    }
    kernel_dropped
}

fn crowd_comes_and_goes(rounds: usize) {
    if !enter_net() {
        return;
    }
    let (out, shown) = sync_channel(256);
    let section = CaptureSection::default();
    let listening = Listening {
        source: 0,
        name: "span0".into(),
        is_relied_on: Arc::new(AtomicBool::new(true)),
        filter: None,
        section: section.clone(),
        calm: SHORT_CALM,
        stop: Arc::default(),
        out,
    };
    let opened = open("span0", None, &section, HandOver::AtOnce).unwrap();
    let mut listener = Listener::new(listening, Some(opened), crate::io::clock::wall_clock());
    let mut numbers = Vec::new();
    let (sent, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| send_numbered(&sent, &stop));
        let began = Instant::now();
        for _ in 0..rounds {
            // What comes while it stands still is a crowd, once the handle is no new one.
            let enough = sent.load(Ordering::Relaxed) + 2 * CROWD_FRAMES as u32;
            while sent.load(Ordering::Relaxed) < enough || !listener.is_settled() {
                thread::sleep(BETWEEN_FRAMES);
            }
            for hand_over in [HandOver::InBlocks, HandOver::AtOnce] {
                while let Some(opened) = listener.opened.take_if(|opened| opened.hand_over != hand_over) {
                    assert!(began.elapsed() < PATIENCE, "{hand_over:?} does not come");
                    listener.opened = listener.listen(opened);
                    assert!(listener.hand_over());
                    take_numbers(&shown, &mut numbers);
                }
                assert!(listener.opened.is_some());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    listener.end();
    let kernel_dropped = take_numbers(&shown, &mut numbers);
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order, and none twice: {numbers:?}");
    // Where the machine is so busy that a ring runs full, the kernel says so.
    let sent: Vec<u32> = (0..sent.into_inner()).collect();
    assert!(numbers == sent || (sent.len() - numbers.len()) as u64 <= kernel_dropped, "{numbers:?}");
}

#[test]
fn when_it_is_calm_again_frames_come_at_once_and_none_is_missed_and_none_comes_twice() {
    // Only that thread is in the other namespace.
    thread::spawn(|| crowd_comes_and_goes(3)).join().unwrap();
}
