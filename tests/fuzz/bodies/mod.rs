//! The bodies of the fuzz targets: what is done with some bytes, and what must hold whatever they are.
//!
//! A body panics where something does not hold, and else says what it came to see. `fuzz_targets/` hands it to libFuzzer,
//! `tests/fuzz_corpora.rs` gives it what is committed in `corpus/`, and asks that this still comes to see what matters.

pub mod capture;
pub mod config;
pub mod decode;
pub mod input;
pub mod publisher;
pub mod redialer;
pub mod scan;
pub mod sdp;
pub mod server;
pub mod stream;
pub mod tap;
pub mod values;
pub mod xml;

use input::Reached;

/// A body by its name.
#[derive(Clone, Copy)]
pub struct Target {
    /// Of the target, and of its folder in `corpus/`.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&[u8]) -> Reached,
    /// What the whole corpus must come to see.
    pub must_reach: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "capture", run: capture::target, must_reach: capture::MUST_REACH },
    Target { name: "config", run: config::target, must_reach: config::MUST_REACH },
    Target { name: "decode", run: decode::target, must_reach: decode::MUST_REACH },
    Target { name: "publisher", run: publisher::target, must_reach: publisher::MUST_REACH },
    Target { name: "redialer", run: redialer::target, must_reach: redialer::MUST_REACH },
    Target { name: "scan", run: scan::target, must_reach: scan::MUST_REACH },
    Target { name: "sdp", run: sdp::target, must_reach: sdp::MUST_REACH },
    Target { name: "server", run: server::target, must_reach: server::MUST_REACH },
    Target { name: "stream", run: stream::target, must_reach: stream::MUST_REACH },
    Target { name: "tap", run: tap::target, must_reach: tap::MUST_REACH },
    Target { name: "values", run: values::target, must_reach: values::MUST_REACH },
    Target { name: "xml", run: xml::target, must_reach: xml::MUST_REACH },
];
