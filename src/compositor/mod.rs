//! The presence server: publications in, composed states out to whoever subscribed.
//! In: SIP messages with the hop that they came on, time. Out: SIP messages to send. Knows nothing of sockets, clocks,
//! captures, taps.

mod composition;
mod content;
