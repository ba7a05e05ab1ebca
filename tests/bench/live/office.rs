//! A few hundred phones at the testbed, each at an address of its own.
//! In: how many, a seed. Out: what each knows to have been so. Knows nothing of what they say: see [`super::phone`].

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::phone::{Phone, user};
use crate::testbed::truth::Lives;
use crate::testbed::{PBX, Testbed, phone_address};

/// After the last call the phones stay so long.
const REST_S: f64 = 4.0;

/// Phones that live. They end with [`Office::end`].
pub struct Office {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Lives>>,
}

impl Office {
    /// Opens: within seconds all are registered and begin to call each other.
    pub fn open(testbed: &Testbed, phones: usize, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let thread = testbed.spawn("phones", move || live(phones, seed, &stops));
        Self { stop, thread }
    }

    /// All end their calls. What was.
    ///
    /// # Errors
    /// What the system says of the sockets.
    pub fn end(self) -> Result<Lives> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(lives) => lives,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Seconds since the epoch.
pub fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn live(count: usize, seed: u64, stop: &AtomicBool) -> Result<Lives> {
    let mut phones = Vec::new();
    for number in 0..count {
        let address = phone_address(number);
        let socket = UdpSocket::bind(address).with_context(|| format!("the phone at {address}"))?;
        socket.connect((PBX, 5060))?;
        socket.set_nonblocking(true)?;
        phones.push((socket, Phone::new(number, count, address, seed, now_s())));
    }
    let mut datagram = vec![0; 65_535];
    let mut ends_at_s = f64::MAX;
    loop {
        let now = now_s();
        if stop.load(Ordering::Relaxed) && ends_at_s == f64::MAX {
            ends_at_s = now + REST_S;
        }
        if now > ends_at_s {
            break;
        }
        let mut next_s = now + 0.1;
        for (socket, phone) in &mut phones {
            if ends_at_s < f64::MAX {
                phone.rest(now);
            }
            if phone.next_s() <= now {
                // The others took their time.
                phone.handle_time(now_s());
                send(socket, phone);
            }
            next_s = next_s.min(phone.next_s());
        }
        let wait = Duration::from_secs_f64((next_s - now_s()).clamp(0.0, 0.1));
        let mut waits: Vec<_> =
            phones.iter().map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        // To the next millisecond; what is wrong with a socket its next use tells.
        let wait_ms = u16::try_from(wait.as_millis()).unwrap_or(100) + u16::from(!wait.is_zero());
        let _ = poll(&mut waits, PollTimeout::from(wait_ms));
        let readable: Vec<bool> = waits.iter().map(|wait| wait.any().unwrap_or(false)).collect();
        for ((socket, phone), _) in phones.iter_mut().zip(readable).filter(|(_, readable)| *readable) {
            while let Ok(length) = socket.recv(&mut datagram) {
                phone.handle(now_s(), datagram.get(..length).unwrap_or_default());
                send(socket, phone);
            }
        }
    }
    Ok(phones.into_iter().enumerate().map(|(number, (_, phone))| (user(number), phone.life)).collect())
}

fn send(socket: &UdpSocket, phone: &mut Phone) {
    for datagram in phone.out.drain(..) {
        // What does not arrive is sent again.
        let _ = socket.send(&datagram);
    }
}
