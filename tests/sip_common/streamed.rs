//! What the stream makes of bytes that come as one datagram, or over a TCP connection.
//! In: bytes. Out: the messages that are handed on, and the oddities. Knows nothing of what is in a message.
#![allow(dead_code, missing_docs)]

use offhook::base::{FrameId, Limits, Oddities, Timestamp};
use offhook::decode::{Payload, Segment};
use offhook::stream::Reassembler;

/// The messages that were handed on, each with whether it is whole, and the names of the oddities.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    pub messages: Vec<(Vec<u8>, bool)>,
    pub oddities: Vec<&'static str>,
}

impl Streamed {
    /// In a few words: `1 whole`, or `2 whole, 1 cut, content_length`, or `none`.
    pub fn told(&self) -> String {
        let whole = self.messages.iter().filter(|(_, whole)| *whole).count();
        let cut = self.messages.len() - whole;
        let mut words = Vec::new();
        for (count, word) in [(whole, "whole"), (cut, "cut")] {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        if words.is_empty() {
            words.push("none".to_owned());
        }
        words.extend(self.oddities.iter().map(|name| (*name).to_owned()));
        words.join(", ")
    }
}

fn streamed(payloads: &[Payload<'_>]) -> Streamed {
    let mut reassembler = Reassembler::new(&Limits::default());
    let mut oddities = Oddities::default();
    let mut messages = Vec::new();
    oddities.at(Timestamp::EPOCH, FrameId::new(0, 1));
    for &payload in payloads {
        let segment = Segment {
            source: "192.0.2.1:5060".parse().unwrap(),
            destination: "192.0.2.2:5060".parse().unwrap(),
            payload,
            whole: true,
        };
        reassembler.handle(Timestamp::EPOCH, &segment, &mut oddities, &mut |message, _| {
            messages.push((message.bytes.to_vec(), message.whole));
        });
    }
    Streamed { messages, oddities: oddities.counts().map(|(oddity, _)| oddity.name()).collect() }
}

/// As one UDP datagram.
pub fn datagram(bytes: &[u8]) -> Streamed {
    streamed(&[Payload::Udp(bytes)])
}

/// Over a TCP connection that is opened before and closed behind, in segments of so many bytes.
pub fn connection(bytes: &[u8], segment_bytes: usize) -> Streamed {
    let tcp = |sequence: usize, syn, fin, bytes| Payload::Tcp {
        acknowledged: None,
        sequence: u32::try_from(sequence).unwrap(),
        syn,
        fin,
        rst: false,
        bytes,
    };
    let mut segments = vec![tcp(0, true, false, &b""[..])];
    for (index, piece) in bytes.chunks(segment_bytes).enumerate() {
        segments.push(tcp(1 + index * segment_bytes, false, false, piece));
    }
    segments.push(tcp(1 + bytes.len(), false, true, b""));
    streamed(&segments)
}
