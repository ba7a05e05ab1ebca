//! One connection at work, TCP or TLS.
//! In: messages to send, a peer's bytes. Out: messages, and how it ended. Knows nothing of other connections.
#![expect(clippy::disallowed_types, reason = "this is where sockets live")]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, WeakUnboundedSender};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::EndpointBounds;
use super::framing::{Frame, Framer, PONG};
use super::routes::canonical;
use super::streams::News;
use crate::base::{Hop, Transport};

/// An answer to a request is waited for so long at most (RFC 3261 section 17.1.2.2: 64 times T1).
const ANSWER_TIME: Duration = Duration::from_secs(32);
/// So much is put together for one write.
const WRITE_BYTES: usize = 65_536;

/// What is sent to a peer piles up.
#[derive(Debug, thiserror::Error)]
#[error("the peer does not read what it is sent")]
pub(super) struct SlowReader;

impl From<SlowReader> for io::Error {
    fn from(slow: SlowReader) -> Self {
        Self::new(io::ErrorKind::TimedOut, slow)
    }
}

/// How a connection begins.
pub(super) enum Opening {
    /// The peer connected to us; over TLS we are the server.
    Accept(TcpStream, Option<Arc<ServerConfig>>),
    /// We connect to the peer; over TLS it has to prove this name.
    Connect(Option<(Arc<ClientConfig>, ServerName<'static>)>),
}

/// What the table of connections and a connection's task both look at.
pub(super) struct Vitals {
    began: Instant,
    /// Milliseconds from `began` to the last whole message or ping, either way.
    active_ms: AtomicU64,
    /// The peer sent a whole message or a ping.
    spoke: AtomicBool,
    /// Bytes that were handed over and not written yet.
    pub queued_bytes: AtomicUsize,
    /// Requests sent without a final answer so far.
    unanswered: AtomicUsize,
    /// Milliseconds from `began` to the last of them.
    requested_ms: AtomicU64,
}

impl Vitals {
    #[expect(clippy::disallowed_methods, reason = "io reads the clock")]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            active_ms: AtomicU64::new(0),
            spoke: AtomicBool::new(false),
            queued_bytes: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            requested_ms: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.active_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// How long nothing whole has come or gone.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.active_ms.load(Ordering::Relaxed)))
    }

    /// Notes a message that is handed over to be sent.
    pub fn queued(&self, bytes: &[u8]) {
        self.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if !bytes.starts_with(b"SIP/2.0 ") {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            self.requested_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// The peer has not said anything yet.
    pub fn is_silent(&self) -> bool {
        !self.spoke.load(Ordering::Relaxed)
    }

    /// The peer sent something whole.
    fn heard(&self) {
        self.touch();
        self.spoke.store(true, Ordering::Relaxed);
    }

    fn received(&self, bytes: &[u8]) {
        self.heard();
        if bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"SIP/2.0 1") {
            let one_less = |count: usize| count.checked_sub(1);
            // Nothing is owed when an answer comes twice.
            let _ = self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
    }

    /// Somebody still waits for an answer over this connection.
    pub fn owes_an_answer(&self) -> bool {
        let since = self.now_ms().saturating_sub(self.requested_ms.load(Ordering::Relaxed));
        self.unanswered.load(Ordering::Relaxed) > 0 && Duration::from_millis(since) < ANSWER_TIME
    }
}

/// One connection.
pub(super) struct Connection {
    pub transport: Transport,
    pub remote: SocketAddr,
    /// Tells it from earlier connections to the same address.
    pub id: u64,
    pub vitals: Arc<Vitals>,
    pub outgoing: UnboundedReceiver<Vec<u8>>,
    /// Into `outgoing`: for pongs. Weak, so that it does not keep the queue open.
    pub answer: WeakUnboundedSender<Vec<u8>>,
    pub tell: Sender<News>,
    pub bounds: EndpointBounds,
}

impl Connection {
    /// Opens the connection, carries messages until it ends, and tells how it ended.
    pub async fn run(mut self, opening: Opening) {
        let error = match self.carry(opening).await {
            Ok(()) => io::Error::new(io::ErrorKind::ConnectionAborted, "the peer closed the connection"),
            Err(error) => error,
        };
        let ended = News::Ended { transport: self.transport, remote: self.remote, id: self.id, error };
        // Nobody is left to tell once the endpoint is gone.
        let _ = self.tell.send(ended).await;
    }

    async fn carry(&mut self, opening: Opening) -> io::Result<()> {
        let time = self.bounds.open_time;
        let remote = self.remote;
        match opening {
            Opening::Accept(tcp, None) => {
                let local = prepare(&tcp)?;
                self.converse(local, tcp).await
            }
            Opening::Accept(tcp, Some(config)) => {
                let local = prepare(&tcp)?;
                let tls = within(time, "the TLS handshake", TlsAcceptor::from(config).accept(tcp)).await?;
                self.converse(local, tls).await
            }
            Opening::Connect(tls) => {
                let tcp = within(time, "the connection", TcpStream::connect(remote)).await?;
                let local = prepare(&tcp)?;
                match tls {
                    None => self.converse(local, tcp).await,
                    Some((config, name)) => {
                        let handshake = TlsConnector::from(config).connect(name, tcp);
                        let tls = within(time, "the TLS handshake", handshake).await?;
                        self.converse(local, tls).await
                    }
                }
            }
        }
    }

    /// Reads, writes and watches the time at once, until one of them ends.
    async fn converse<S: AsyncRead + AsyncWrite>(&mut self, local: SocketAddr, stream: S) -> io::Result<()> {
        let hop = Hop { transport: self.transport, local, remote: self.remote };
        let (reading, writing) = tokio::io::split(stream);
        let Self { vitals, outgoing, answer, tell, bounds, .. } = self;
        vitals.touch();
        tokio::select! {
            ended = read(reading, hop, vitals, answer, tell, bounds.message_bytes) => ended,
            ended = write(writing, vitals, outgoing, bounds.write_time) => ended,
            () = idle(vitals, bounds.idle_time) => Ok(()),
        }
    }
}

/// Small messages are to leave at once.
fn prepare(tcp: &TcpStream) -> io::Result<SocketAddr> {
    tcp.set_nodelay(true)?;
    Ok(canonical(tcp.local_addr()?))
}

async fn within<T>(time: Duration, what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(time, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{what} took longer than {} s", time.as_secs_f32()),
        ))
    })
}

async fn read<S: AsyncRead>(
    mut stream: ReadHalf<S>,
    hop: Hop,
    vitals: &Vitals,
    answer: &WeakUnboundedSender<Vec<u8>>,
    tell: &Sender<News>,
    longest: usize,
) -> io::Result<()> {
    let mut framer = Framer::new(longest);
    while stream.read_buf(framer.unfilled()).await? > 0 {
        loop {
            let frame = framer.next().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match frame {
                None => break,
                Some(Frame::Message(bytes)) => {
                    vitals.received(&bytes);
                    if tell.send(News::Message { hop, bytes }).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Frame::Ping) => {
                    vitals.heard();
                    if let Some(answer) = answer.upgrade() {
                        vitals.queued_bytes.fetch_add(PONG.len(), Ordering::Relaxed);
                        // Whoever no longer writes ends this connection.
                        let _ = answer.send(PONG.to_vec());
                    }
                }
            }
        }
    }
    Ok(())
}

async fn write<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    vitals: &Vitals,
    outgoing: &mut UnboundedReceiver<Vec<u8>>,
    time: Duration,
) -> io::Result<()> {
    while let Some(mut bytes) = outgoing.recv().await {
        while bytes.len() < WRITE_BYTES
            && let Ok(next) = outgoing.try_recv()
        {
            bytes.extend_from_slice(&next);
        }
        let written = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        tokio::time::timeout(time, written).await.map_err(|_| SlowReader)??;
        vitals.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        vitals.touch();
    }
    Ok(())
}

/// Ends once nothing has come or gone for so long.
async fn idle(vitals: &Vitals, time: Duration) {
    while let Some(left) = time.checked_sub(vitals.idle()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left).await;
    }
}
