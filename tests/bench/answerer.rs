//! The floor under a presence server: one that answers every request at once and remembers nothing.
//! In: SIP over UDP. Out: a 200 to each request; once somebody has subscribed, also a NOTIFY to whoever publishes. Knows
//! nothing of presentities, subscriptions, entity-tags.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Result;

use crate::part;
use crate::wire;

/// Answers until it is ended. Prints its address first.
///
/// # Errors
/// What the system says of the socket.
pub fn run() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let local = socket.local_addr()?;
    println!("{local}");
    part::end_with_parent();
    let mut datagram = vec![0; 65_535];
    let mut out = Vec::with_capacity(2_048);
    let (mut is_watched, mut notified) = (false, 0_u32);
    loop {
        let (length, peer) = socket.recv_from(&mut datagram)?;
        let request = datagram.get(..length).unwrap_or_default();
        if request.starts_with(b"SIP/2.0") {
            continue; // the 200 to a NOTIFY
        }
        wire::answer(request, wire::ENTITY_TAG, &mut out);
        socket.send_to(&out, peer)?;
        is_watched |= request.starts_with(b"SUBSCRIBE ");
        if is_watched && request.starts_with(b"PUBLISH ") {
            notified = notified.wrapping_add(1);
            notify(request, local, notified, &mut out);
            socket.send_to(&out, peer)?;
        }
    }
}

/// A NOTIFY with the body that was published.
fn notify(publish: &[u8], local: SocketAddr, number: u32, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(
        format!(
            "NOTIFY sip:watcher@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{number}\r\n\
             CSeq: {number} NOTIFY\r\nMax-Forwards: 70\r\nSubscription-State: active;expires=600\r\n"
        )
        .as_bytes(),
    );
    let copied: &[&[u8]] =
        &[b"From: ", b"To: ", b"Call-ID: ", b"Event: ", b"Content-Type: ", b"Content-Length: "];
    wire::copy(publish, copied, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(wire::body(publish));
}
