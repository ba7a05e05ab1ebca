//! The only room that touches clock, sockets and files.
//! In: captures, requests to publish. Out: lines, datagrams. Knows all rooms.

pub mod capture;
pub mod clock;
pub mod config_file;
pub mod dns;
pub mod next_hop;
pub mod output;
pub mod publisher;
pub mod replay;
pub mod sip_endpoint;
mod sip_socket;
pub mod stop;
pub mod watch;
