//! The same work for every presence server: publications of many presentities, with and without watchers.
//! In: a server's address. Out: how much was done in what time, how long single changes took. Knows nothing of which
//! server it is.
//! One thread and one socket that publishes, watches and answers NOTIFYs, so that rivals differ in nothing else.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::memmem;

use crate::wire;

/// PUBLISH requests that await their answer at once.
pub const WINDOW: usize = 32;
/// Timer T1: what is not answered by then is sent again.
const SILENCE: Duration = Duration::from_millis(500);
/// The least time between two publications of one presentity whose delays are measured.
const LAP: Duration = Duration::from_millis(100);
/// As often in a row nothing comes before the server is given up.
const MOST_SILENCES: u32 = 10;
/// Only a body with this says that somebody is on the phone.
const ON_THE_PHONE: &[u8] = b"<rpid:on-the-phone";

#[derive(Clone, Default)]
struct Presentity {
    entity_tag: Vec<u8>,
    cseq: u32,
    on_the_phone: bool,
    awaits_answer: bool,
}

/// How much to publish.
#[derive(Clone, Copy)]
pub enum Amount {
    /// So many.
    Publications(usize),
    /// As many as the server takes in this time.
    For(Duration),
}

/// What went to and fro.
#[derive(Clone, Copy, Default)]
pub struct Flow {
    /// PUBLISH requests, each of them answered with a 200.
    pub publications: usize,
    /// NOTIFYs that came.
    pub notifications: usize,
    /// Requests that had to be sent again.
    pub repeated: usize,
    /// From the first message to the last.
    pub elapsed: Duration,
}

/// From a PUBLISH to its consequences, one after another.
#[derive(Default)]
pub struct Delays {
    /// Until the 200.
    pub answered: Vec<Duration>,
    /// Until the watcher was told the new state.
    pub told: Vec<Duration>,
}

enum Came {
    Answer,
    Notification { on_the_phone: bool },
    Nothing,
}

/// Presentities at one server, and whoever watches them.
pub struct Load {
    socket: UdpSocket,
    local: SocketAddr,
    presentities: Vec<Presentity>,
    is_watched: bool,
    next: usize,
    received: Vec<u8>,
    text: String,
    body: String,
    answer: Vec<u8>,
}

impl Load {
    /// Publishes all of them for the first time.
    ///
    /// # Errors
    /// The server does not take them.
    pub fn begin(server: SocketAddr, presentities: usize) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(SILENCE))?;
        let mut load = Self {
            local: socket.local_addr()?,
            socket,
            presentities: vec![Presentity::default(); presentities],
            is_watched: false,
            next: 0,
            received: vec![0; 65_535],
            text: String::new(),
            body: String::new(),
            answer: Vec::new(),
        };
        load.publish(Amount::Publications(presentities))?;
        Ok(load)
    }

    /// From now on each presentity has a watcher.
    ///
    /// # Errors
    /// The server does not take the subscriptions.
    pub fn watch(&mut self) -> Result<()> {
        for index in 0..self.presentities.len() {
            self.send_subscribe(index)?;
            while !matches!(self.receive()?, Came::Answer) {}
        }
        // The first NOTIFY of each subscription.
        while !matches!(self.receive()?, Came::Nothing) {}
        self.is_watched = true;
        Ok(())
    }

    /// Publishes as fast as the server answers; each presentity in its turn, open and on the phone by turns. Waits for
    /// the NOTIFYs too.
    ///
    /// # Errors
    /// The server refuses, or is silent.
    pub fn publish(&mut self, amount: Amount) -> Result<Flow> {
        let mut flow = Flow::default();
        let (mut outstanding, mut silences) = (0, 0);
        let began = Instant::now();
        loop {
            let is_enough = |flow: &Flow| match amount {
                Amount::Publications(most) => flow.publications >= most,
                Amount::For(time) => began.elapsed() >= time,
            };
            while outstanding < WINDOW && !self.presentity(self.next)?.awaits_answer && !is_enough(&flow) {
                self.change(self.next)?;
                self.next = (self.next + 1) % self.presentities.len();
                flow.publications += 1;
                outstanding += 1;
            }
            let is_told = !self.is_watched || flow.notifications >= flow.publications;
            if outstanding == 0 && is_told {
                return Ok(flow);
            }
            match self.receive()? {
                Came::Answer => outstanding -= 1,
                Came::Notification { .. } => flow.notifications += 1,
                // A server may tell watchers of two changes at once.
                Came::Nothing if outstanding == 0 => return Ok(flow),
                Came::Nothing => {
                    silences += 1;
                    if silences > MOST_SILENCES {
                        bail!("{outstanding} PUBLISH requests are not answered");
                    }
                    flow.repeated += self.repeat()?;
                    continue;
                }
            }
            silences = 0;
            flow.elapsed = began.elapsed();
        }
    }

    /// Publishes one after another, over and over the first `among` presentities, and waits for the 200 and the NOTIFY of
    /// each. A server may wait before it tells the same watcher again, so each presentity has its turn but once in a while.
    ///
    /// # Errors
    /// The server refuses, or is silent.
    pub fn publish_singly(&mut self, count: usize, among: usize) -> Result<Delays> {
        let mut delays = Delays::default();
        let mut lap_began = Instant::now();
        for number in 0..count {
            let index = number % among;
            if index == 0 && number > 0 {
                std::thread::sleep(LAP.saturating_sub(lap_began.elapsed()));
                lap_began = Instant::now();
            }
            let began = Instant::now();
            self.change(index)?;
            let expected = self.presentity(index)?.on_the_phone;
            let (mut answered, mut told) = (None, None);
            while answered.is_none() || told.is_none() {
                match self.receive()? {
                    Came::Answer => answered = Some(began.elapsed()),
                    Came::Notification { on_the_phone } if on_the_phone == expected => {
                        told = Some(began.elapsed());
                    }
                    Came::Notification { .. } => {}
                    Came::Nothing => bail!("nothing came of a PUBLISH within {SILENCE:?}"),
                }
            }
            delays.answered.extend(answered);
            delays.told.extend(told);
        }
        Ok(delays)
    }

    fn presentity(&self, index: usize) -> Result<&Presentity> {
        self.presentities.get(index).context("there is no such presentity")
    }

    /// Changes the presentity's state and publishes it.
    fn change(&mut self, index: usize) -> Result<()> {
        let presentity = self.presentities.get_mut(index).context("there is no such presentity")?;
        presentity.cseq += 1;
        presentity.on_the_phone = !presentity.on_the_phone;
        presentity.awaits_answer = true;
        self.send_publish(index)
    }

    /// Sends again what awaits its answer; says how much that was.
    fn repeat(&mut self) -> Result<usize> {
        let waiting: Vec<usize> = (0..)
            .zip(&self.presentities)
            .filter(|(_, one)| one.awaits_answer)
            .map(|(index, _)| index)
            .collect();
        for &index in &waiting {
            self.send_publish(index)?;
        }
        Ok(waiting.len())
    }

    fn send_publish(&mut self, index: usize) -> Result<()> {
        let presentity = self.presentities.get(index).context("there is no such presentity")?;
        let Self { local, text, body, .. } = self;
        let Presentity { cseq, on_the_phone, .. } = *presentity;
        body.clear();
        document(index, on_the_phone, body)?;
        text.clear();
        write!(
            text,
            "PUBLISH sip:user{index}@example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};rport;branch=z9hG4bKp{index}x{cseq}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:user{index}@example.com>;tag=p{index}\r\n\
             To: <sip:user{index}@example.com>\r\n\
             Call-ID: p{index}-{local}\r\n\
             CSeq: {cseq} PUBLISH\r\n\
             Event: presence\r\n\
             Expires: 3600\r\n"
        )?;
        if !presentity.entity_tag.is_empty() {
            write!(text, "SIP-If-Match: {}\r\n", String::from_utf8_lossy(&presentity.entity_tag))?;
        }
        let length = body.len();
        write!(text, "Content-Type: application/pidf+xml\r\nContent-Length: {length}\r\n\r\n{body}")?;
        self.socket.send(text.as_bytes())?;
        Ok(())
    }

    fn send_subscribe(&mut self, index: usize) -> Result<()> {
        let local = self.local;
        let request = format!(
            "SUBSCRIBE sip:user{index}@example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};rport;branch=z9hG4bKs{index}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:watcher@example.com>;tag=s{index}\r\n\
             To: <sip:user{index}@example.com>\r\n\
             Call-ID: s{index}-{local}\r\n\
             CSeq: 1 SUBSCRIBE\r\n\
             Contact: <sip:watcher@{local}>\r\n\
             Event: presence\r\n\
             Accept: application/pidf+xml\r\n\
             Expires: 3600\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.socket.send(request.as_bytes())?;
        Ok(())
    }

    /// Takes one message; answers it if it is a NOTIFY.
    fn receive(&mut self) -> Result<Came> {
        let length = match self.socket.recv(&mut self.received) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(Came::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        let message = self.received.get(..length).unwrap_or_default();
        if message.starts_with(b"NOTIFY ") {
            wire::answer(message, b"", &mut self.answer);
            self.socket.send(&self.answer)?;
            let on_the_phone = memmem::find(message, ON_THE_PHONE).is_some();
            return Ok(Came::Notification { on_the_phone });
        }
        if !message.starts_with(b"SIP/2.0 2") {
            bail!("the server says:\n{}", String::from_utf8_lossy(message));
        }
        let call_id = wire::field(message, b"Call-ID: ").context("an answer without a Call-ID")?;
        let Some(call_id) = call_id.strip_prefix(b"p") else {
            return Ok(Came::Answer); // to a SUBSCRIBE
        };
        let entity_tag =
            wire::field(message, b"SIP-ETag: ").context("a 200 to PUBLISH without entity-tag")?;
        let index =
            call_id.split(|&byte| byte == b'-').next().and_then(|index| std::str::from_utf8(index).ok());
        let index: usize =
            index.and_then(|index| index.parse().ok()).context("an answer to nothing of ours")?;
        let presentity = self.presentities.get_mut(index).context("an answer to nothing of ours")?;
        presentity.entity_tag.clear();
        presentity.entity_tag.extend_from_slice(entity_tag);
        presentity.awaits_answer = false;
        Ok(Came::Answer)
    }
}

/// A PIDF document as a phone's publisher writes it (RFC 3863, RFC 4480).
fn document(index: usize, on_the_phone: bool, out: &mut String) -> Result<()> {
    let activities =
        if on_the_phone { "<rpid:activities><rpid:on-the-phone/></rpid:activities>" } else { "" };
    write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"sip:user{index}@example.com\">\
         <tuple id=\"t{index}\"><status><basic>open</basic></status>\
         <contact>sip:user{index}@192.0.2.1:5060</contact></tuple>\
         <dm:person id=\"p{index}\">{activities}</dm:person></presence>\r\n"
    )?;
    Ok(())
}
