//! The watcher's side of presence: SUBSCRIBE, and what NOTIFY tells.
//! In: whom to watch, SIP messages, time. Out: SIP messages to send, what was told. Knows nothing of sockets, clocks,
//! the presence server's inside.
