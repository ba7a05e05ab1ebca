//! The only room that touches clock, sockets and files.
pub mod capture;

pub mod publisher;
mod sip_socket;
