//! A thread of its own with a runtime for sockets, begun before anybody goes on.
//! In: how to begin, what to do then. Out: what the beginning gave, or why there was none. Knows nothing of what is done.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// Why there is no thread, or no runtime in it.
#[derive(Debug, thiserror::Error)]
#[error("its thread cannot be started")]
pub struct WorkerError(#[source] io::Error);

/// Starts a thread that begins, and waits until it has begun. It then goes on with `run`, which is given what the
/// beginning gave it and can leave the thread no more; the rest of that is for whoever started it.
///
/// # Errors
/// What `begin` says; [`WorkerError`].
pub fn start<Begun, Told, Error>(
    name: &str,
    begin: impl AsyncFnOnce() -> Result<(Begun, Told), Error> + Send + 'static,
    run: impl AsyncFnOnce(Begun) + Send + 'static,
) -> Result<(JoinHandle<()>, Told), Error>
where
    Told: Send + 'static,
    Error: From<WorkerError> + Send + 'static,
{
    let (started, answer) = mpsc::sync_channel(1);
    let work = move || {
        let begun = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::from(WorkerError(error)))
            .and_then(|runtime| Ok((runtime.block_on(begin())?, runtime)));
        // The receiver waits for exactly this.
        match begun {
            Ok(((begun, told), runtime)) => {
                let _ = started.send(Ok(told));
                runtime.block_on(run(begun));
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(WorkerError)?;
    let ended = || Err(WorkerError(io::Error::other("it ended")).into());
    let told = answer.recv().unwrap_or_else(|_| ended())?;
    Ok((thread, told))
}
