//! offhook listens to SIP on a mirror port or in capture files and works out who is online, ringing,
//! talking or gone. It tells a presence server with SIP PUBLISH, for phones that cannot. It is never in the
//! signalling path: what it hears passes by, and nothing waits for it.
//!
//! # One packet's journey
//!
//! ```text
//! frame → decode → stream → sip → track → identity → presence → publish → (io) → presence server
//!                                   │observation  │attributed  │change     │publication
//! ```
//!
//! A frame comes from a file ([`io::capture`]) or from an interface ([`io::interfaces`]). [`decode`] takes off link, tags and IP and puts fragments
//! together: a [`decode::Segment`]. [`stream`] finds the messages in it, for TCP in a stream that may arrive in
//! any order, and in the WebSocket frames there: a [`stream::RawMessage`]. [`sip`] reads it without copying: a
//! [`sip::SipMessage`]. Up to here all is borrowed from the frame, or from what was put together.
//!
//! [`track`] remembers transactions, bindings, dialogs and subscriptions, and says what a message means for
//! them: a [`track::Observation`], owned and small. [`identity`] says whose it is, at once or when a
//! binding appears later: an [`identity::Attributed`]. [`presence`] merges what is known of one presentity by one
//! table and says what changed: a [`presence::PresentityChange`]; a status line is a projection of it.
//! [`publish`] turns states into PUBLISH requests, and lines into webhook requests, and sees them through.
//! [`redial`] keeps who called in vain, and asks their phones to call again.
//! [`tap`] is the way up to the change, composed into one machine.
//!
//! # The rooms and who knows whom
//!
//! A room imports [`base`] and what lies to its left; `sip` and the documents in `presence` are vocabulary
//! that later rooms may use; `tap` sees the spine; `io` sees all; [`config`] is what an operator may choose, [`cli`]
//! the way in. `tests/tidy.rs` holds the table and fails
//! on an import that is not in it.
//!
//! # Invariants
//!
//! 1. Machines have no I/O and no clock: time comes in as an argument. Only `io` touches clocks, sockets
//!    and files; `.clippy.toml` and `tests/tidy.rs` see to it.
//! 2. `handle(now, …)` first fires every deadline at or before `now`, in order of time, each stamped with its
//!    own, so that a replay at any speed gives the same lines.
//!    Live, timers fire by the wall clock, and lag it until every interface is past their time: no timer beats a frame that
//!    is still in the kernel's ring ([`io::live`]).
//! 3. `now` never goes back: a frame with an earlier stamp counts as of now, and as an oddity.
//! 4. No result depends on the order of a hash map. Tags, branches and jitter come from a seeded generator.
//! 5. After each `handle`, drain `poll_…` until it gives `None`.
//! 6. Borrowing ends at the observation: to its left nothing is copied that need not be, to its right
//!    everything is owned.
//! 7. What happened to the capture itself ([`base::CaptureEvent`]: it began, is blind, sees again) goes into the tap beside
//!    the frames, in the same order, and into what [`io::recording`] keeps: a replay of that gives the same status lines.
//! 8. Nothing on the wire panics, grows a table beyond its [`base::Limits`], or makes a claim without
//!    [`track::Evidence`].
//!
//! Deliberately absent: any part in the signalling between phones and PBX (only [`redial`] ever speaks to a phone, in dialogs
//! of its own, and only where it is switched on), any state outside the machines, any thread inside them.

pub mod base;
pub mod cli;
pub mod compositor;
pub mod config;
pub mod decode;
pub mod identity;
pub mod io;
pub mod presence;
pub mod publish;
pub mod redial;
pub mod sip;
pub mod stream;
pub mod tap;
pub mod track;
pub mod watch;
