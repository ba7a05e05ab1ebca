//! What the tests share: ladders (calls written down for people), the phones that act them out, and the
//! frames that a mirror port would have shown of it (`wire::frames`).
//! In: `captures/NAME.ladder`. Out: messages, frames, pcap files; frames as the program is handed them (`heard`), which alone knows
//! the program under test.
#![allow(dead_code, reason = "each test program uses its own part of what is shared")]

pub mod heard;
pub mod ladder;
pub mod mirror;
pub mod phones;
pub mod sctp;
pub mod tunnels;
pub mod websocket;
pub mod wire;
