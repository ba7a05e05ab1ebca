//! A tunnel changes nothing of what it carries: every golden case says the same inside each of them, and inside two.
//! In: the ladders' frames, wrapped. Out: what the tap says of both, compared. Knows nothing of what the cases mean.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use offhook::base::{Limits, Oddities, Oddity};
use offhook::decode::{Decoder, Frame, Payload};
use offhook::tap::{Tap, TapOptions, TapOutput};
use support::heard::captured as frame;
use support::ladder::{Ladder, Link};
use support::mirror::Mirror;
use support::tunnels::Tunnel;
use support::wire::{self, CapturedFrame};

/// The frames of all Ethernet ladders.
fn ladders() -> Vec<(String, Vec<CapturedFrame>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut ladders: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ladder"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Ladder::parse(&name, &std::fs::read_to_string(&path).unwrap()).unwrap()
        })
        .filter(|ladder| ladder.link == Link::Ethernet && ladder.tunnel.is_none())
        // What is cut is cut outside the tunnel: ESP's trailer is not behind it. And what is in ESP has its checksum: by
        // that it is told from noise.
        .filter(|ladder| {
            !ladder.mirror.iter().any(|mirror| matches!(mirror, Mirror::Snap(_) | Mirror::Offload))
        })
        .map(|ladder| (ladder.name.clone(), wire::frames(&ladder).unwrap()))
        .collect();
    ladders.sort_by(|left, right| left.0.cmp(&right.0));
    assert!(ladders.len() > 80);
    ladders
}

/// All that the tap says, oddities included.
fn said(frames: &[CapturedFrame]) -> Vec<String> {
    let mut tap = Tap::new(TapOptions::default(), Limits::default());
    let mut said = Vec::new();
    for (number, captured) in (1..).zip(frames) {
        tap.handle(&frame(number, captured));
        while let Some(output) = tap.poll_output() {
            said.push(match output {
                TapOutput::Change(change) => format!("{change:?}"),
                other => format!("{other:?}"),
            });
        }
    }
    said
}

fn wrapped(frames: &[CapturedFrame], tunnels: &[Tunnel]) -> Vec<CapturedFrame> {
    frames
        .iter()
        .map(|captured| CapturedFrame {
            at_us: captured.at_us,
            bytes: tunnels.iter().fold(captured.bytes.clone(), |bytes, tunnel| tunnel.wrap(&bytes)),
        })
        .collect()
}

#[test]
fn every_case_says_the_same_inside_each_tunnel() {
    for (name, frames) in ladders() {
        let plain = said(&frames);
        for (tunnel_name, tunnel) in Tunnel::ALL {
            assert_eq!(said(&wrapped(&frames, &[tunnel])), plain, "{name} inside {tunnel_name}");
        }
    }
}

/// A mirror port that shows a provider's tunnel by a tunnel of its own. In transport mode ESP holds a transport header
/// only, so the outer tunnel's own datagram is what it protects.
#[test]
fn tunnels_in_tunnels() {
    let cases = ladders();
    let (name, frames) = cases.iter().find(|(name, _)| name == "fragmented-invite").unwrap();
    let plain = said(frames);
    for (inner_name, inner) in Tunnel::ALL {
        for (outer_name, outer) in Tunnel::ALL {
            let both = wrapped(frames, &[inner, outer]);
            assert_eq!(said(&both), plain, "{name} inside {inner_name} inside {outer_name}");
        }
    }
}

#[test]
fn tunnels_are_followed_to_a_bounded_depth() {
    let (_, frames) = ladders().swap_remove(0);
    let deep = wrapped(&frames[..1], &[Tunnel::ErspanII; 30]);
    let mut oddities = Oddities::default();
    let mut decoder = Decoder::new(&Limits::default());
    assert!(decoder.decode(&frame(1, &deep[0]), &mut oddities).is_none());
    assert_eq!(oddities.count(Oddity::NestedTooDeep), 1);
}

/// A port that a tunnel uses may be a telephone's.
#[test]
fn sip_at_a_tunnels_port_is_sip() {
    let ladder = "phone alice 192.0.2.11:4789\nphone carol 192.0.2.13:6081\nphone dave 192.0.2.14:2152\n\
        phone erin 192.0.2.15:37008\nproxy pbx 192.0.2.1:8472\n\
        0 alice registers\n1 carol registers\n2 dave registers\n3 erin registers\n";
    let frames = wire::frames(&Ladder::parse("ports", ladder).unwrap()).unwrap();
    assert_eq!(said(&frames).iter().filter(|line| line.contains("Online")).count(), 4);
}

/// Whatever is cut off: nothing is read beyond the end, and nothing that is there is made up.
#[test]
fn cut_anywhere_a_tunnel_gives_a_beginning_or_nothing() {
    let (_, frames) = ladders().into_iter().find(|(name, _)| name == "busy-486").unwrap();
    let text = |decoder: &mut Decoder, frame: &Frame<'_>| {
        let segment = decoder.decode(frame, &mut Oddities::default())?;
        if segment.source.port() == support::tunnels::OUTER_PORT {
            // So little is left of the tunnel's own header that it might be anything.
            return None;
        }
        let (Payload::Udp(bytes) | Payload::Tcp { bytes, .. } | Payload::Sctp { chunks: bytes, .. }) =
            segment.payload;
        Some((bytes.to_vec(), segment.whole))
    };
    let mut decoder = Decoder::new(&Limits::default());
    let (plain, _) = text(&mut decoder, &frame(1, &frames[0])).unwrap();
    for (name, tunnel) in Tunnel::ALL {
        let whole = &wrapped(&frames[..1], &[tunnel])[0];
        for length in 0..whole.bytes.len() {
            let cut = Frame { bytes: &whole.bytes[..length], ..frame(1, whole) };
            if let Some((bytes, is_whole)) = text(&mut decoder, &cut) {
                assert!(plain.starts_with(&bytes), "{name} cut at {length}");
                assert!(!is_whole || bytes == plain, "{name} cut at {length} passes for whole");
            }
        }
    }
}
