//! The only room that touches clock, sockets and files.
//! In: captures, requests to publish. Out: lines, datagrams, HTTP requests. Knows all rooms.

pub mod capture;
mod clock;
pub mod config_file;
pub mod dns;
pub mod http;
pub mod interfaces;
pub mod live;
mod mailbox;
pub mod output;
pub mod presence_server;
pub mod publisher;
pub mod recording;
pub mod redialer;
mod redialing;
pub mod replay;
pub mod results;
mod run;
mod silence;
pub mod sip_endpoint;
pub mod stop;
pub mod tls;
pub mod watch;
pub mod way;
mod worker;
