//! What a mirror port and a network may do to traffic without making it mean something else: show frames twice, late,
//! tagged, in pieces, over another transport, swapped, cut short, or not at all. In: all captures there are, changed
//! here. Out: what the tap makes of both, compared. Knows nothing of what the captures mean.
//!
//! A law is exact where the change hides nothing: then every line and every document must be the same, frame numbers
//! aside. Where frames are lost or come out of order it is weak: nothing may be claimed that was not so, nobody may
//! call or ring or talk for ever, and what differs comes later or by a timer that has a name. Each test says which.
//! What is random has a seed, which is printed where a case fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod doubled;
mod hostile;
mod late;
mod links;
mod lost;
mod order;
mod shifted;
mod streams;
mod support;
