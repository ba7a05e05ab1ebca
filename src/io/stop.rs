//! Being asked to stop: SIGINT, SIGTERM.
//! In: signals. Out: a flag, and a standard input that ends when it is raised. Knows nothing of what is stopped.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How often a wait looks whether a stop was asked for.
const LOOK: Duration = Duration::from_millis(100);
/// Read from standard input at once, and how many such pieces may wait.
const PIECE_BYTES: usize = 1 << 16;
const PIECES: usize = 16;
/// What a shell says of a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Somebody asked for an orderly end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// From now on the first SIGINT or SIGTERM asks for an orderly end, the second ends the program at once.
///
/// # Errors
/// When the system lets no handler be installed.
pub fn on_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        next_of(&mut interrupt, &mut terminate).await;
        REQUESTED.store(true, Ordering::Relaxed);
        next_of(&mut interrupt, &mut terminate).await;
        std::process::exit(EXIT_INTERRUPTED);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}

async fn next_of(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Standard input, read by a thread of its own: it ends when a stop is asked for, even while nothing comes.
pub struct StandardInput {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl StandardInput {
    /// Begins to read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open() -> io::Result<Self> {
        let (send, pieces) = sync_channel(PIECES);
        let read = move || {
            let mut input = io::stdin().lock();
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let result = match input.read(&mut piece) {
                    Ok(0) => return,
                    Ok(length) => {
                        piece.truncate(length);
                        Ok(piece)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = result.is_err();
                if send.send(result).is_err() || failed {
                    return;
                }
            }
        };
        thread::Builder::new().name("standard input".to_owned()).spawn(read)?;
        Ok(Self { pieces, piece: Vec::new(), at: 0 })
    }
}

impl Read for StandardInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() {
            match self.pieces.recv_timeout(LOOK) {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(RecvTimeoutError::Timeout) if !requested() => {}
                Err(_) => return Ok(0),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let length = rest.len().min(into.len());
        let (from, to) = (rest.get(..length), into.get_mut(..length));
        if let (Some(from), Some(to)) = (from, to) {
            to.copy_from_slice(from);
        }
        self.at += length;
        Ok(length)
    }
}
