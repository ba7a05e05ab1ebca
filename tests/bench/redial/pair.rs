//! Two phones: one calls the other, who is away, and is asked to call again when that one is back. It may watch meanwhile, as
//! phones do that know presence.
//! In: numbers of phones, how long the other is away. Out: real SIP at the testbed, and who took part. Knows nothing of what
//! offhook hears. RFC 3261, RFC 3515, RFC 4488, RFC 3856, RFC 6665, over UDP.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use offhook::base::{Limits, Random};
use offhook::sip::{Method, Scanner, SipMessage};

use crate::speech::{self, credentials, fields, response, text, uri_of};
use crate::testbed::{PATIENCE, PBX, PRESENCE, phone_address};

/// Timer T1.
const T1: Duration = Duration::from_millis(500);
const MOST_TRIES: u32 = 7;
/// The PBX takes no longer registrations than this.
const REGISTERED_S: u32 = 3_600;
/// What the caller's call has changed is over by then.
const CALM: Duration = Duration::from_millis(500);

/// How the caller's phone takes a REFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Following {
    /// It says `Refer-Sub: false` (RFC 4488), and no more.
    Silent,
    /// It tells of its call with NOTIFY: 100, then 200 (RFC 3515).
    Notifies,
}

/// How the caller watches while it waits.
#[derive(Clone, Copy, Debug)]
pub struct Watching {
    /// Seconds of its subscription.
    pub subscribed_s: u32,
    /// It is refreshed once, so long after it began.
    pub refreshed_after: Duration,
}

/// What two phones do.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// How long the callee stays away after it was called.
    pub away: Duration,
    /// Whether the caller watches as well.
    pub watching: Option<Watching>,
}

/// A subscription that was.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Its Call-ID.
    pub call_id: String,
    /// When it was refreshed, in seconds since the epoch.
    pub refreshed_s: f64,
}

/// A wait that ended with a REFER.
#[derive(Clone, Debug)]
pub struct Waited {
    /// User names.
    pub caller: String,
    /// Likewise.
    pub callee: String,
    /// Where the caller's phone is.
    pub address: SocketAddr,
    /// How it took the REFER.
    pub following: Following,
    /// What it watched by.
    pub subscription: Option<Subscription>,
}

/// Lets a pair do it: 0 are the phones 0 and 1, and so on.
///
/// # Errors
/// Something did not go as it should: the numbers of this run would be none.
pub fn wait(number: usize, script: Script) -> Result<Waited> {
    let mut caller = Phone::open(2 * number)?;
    let mut callee = Phone::open(2 * number + 1)?;
    caller.following = if number.is_multiple_of(2) { Following::Silent } else { Following::Notifies };
    caller.register(REGISTERED_S)?;
    callee.register(REGISTERED_S)?;
    callee.register(0)?;
    caller.call_in_vain(&callee.user)?;
    let back_at = Instant::now() + script.away;
    let mut watch = None;
    if let Some(watching) = script.watching {
        caller.serve(CALM, |_| false)?;
        let mut dialog = caller.subscribe(&callee.user, watching.subscribed_s)?;
        caller.serve(watching.refreshed_after, |_| false)?;
        let refreshed_s = now_s();
        caller.renew(&mut dialog, watching.subscribed_s)?;
        watch = Some((dialog, refreshed_s));
    }
    caller.serve(back_at.saturating_duration_since(Instant::now()), |_| false)?;
    ensure!(!caller.is_asked, "{} is asked to call before {} is back", caller.user, callee.user);
    caller.knows_of_return = false;
    callee.register(REGISTERED_S)?;
    let watches = watch.is_some();
    caller.serve(PATIENCE, |phone| phone.is_asked && (phone.knows_of_return || !watches))?;
    ensure!(caller.is_asked, "{} is never asked to call {}", caller.user, callee.user);
    ensure!(caller.knows_of_return || !watches, "{} is never told of {}", caller.user, callee.user);
    let mut subscription = None;
    if let Some((mut dialog, refreshed_s)) = watch {
        caller.renew(&mut dialog, 0)?;
        subscription = Some(Subscription { call_id: dialog.call_id, refreshed_s });
    }
    // The last NOTIFY of the subscription, and what is sent again.
    caller.serve(CALM, |_| false)?;
    let Phone { user, address, following, .. } = caller;
    Ok(Waited { caller: user, callee: callee.user, address, following, subscription })
}

/// Seconds since the epoch.
fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What requests of a phone go to.
struct Dialog {
    server: SocketAddr,
    /// The Request-URI.
    target: String,
    call_id: String,
    local: String,
    remote: String,
    routes: Vec<String>,
    cseq: u32,
}

/// A request, but for what its dialog says.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    /// Further header fields, each with the end of its line.
    more: &'a str,
    /// The body's type, and the body; both empty without one.
    content: (&'a str, &'a str),
}

/// One phone, which does one thing at a time.
struct Phone {
    user: String,
    address: SocketAddr,
    socket: UdpSocket,
    random: Random,
    register_cseq: u32,
    following: Following,
    /// It accepted a REFER.
    is_asked: bool,
    /// A NOTIFY said that whom it watches is there.
    knows_of_return: bool,
    /// What it has still to tell of the REFER.
    to_notify: VecDeque<(Dialog, &'static str, &'static str)>,
}

impl Phone {
    fn open(number: usize) -> Result<Self> {
        let address = phone_address(number);
        let socket = UdpSocket::bind(address).with_context(|| format!("the phone at {address}"))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            user: format!("user{number}"),
            address,
            socket,
            random: Random::new(number as u64 + 1),
            register_cseq: 0,
            following: Following::Silent,
            is_asked: false,
            knows_of_return: false,
            to_notify: VecDeque::new(),
        })
    }

    fn dialog(&mut self, server: &str, target: &str, whom: &str) -> Result<Dialog> {
        Ok(Dialog {
            server: SocketAddr::new(server.parse()?, 5_060),
            target: target.to_owned(),
            call_id: format!("{}@{}", self.random.token(), self.address.ip()),
            local: format!("<sip:{}@example.com>;tag={}", self.user, self.random.token()),
            remote: format!("<sip:{whom}@example.com>"),
            routes: Vec::new(),
            cseq: 0,
        })
    }

    fn contact(&self) -> String {
        format!("Contact: <sip:{}@{}>\r\n", self.user, self.address)
    }

    fn register(&mut self, expires_s: u32) -> Result<()> {
        let user = self.user.clone();
        let mut dialog = self.dialog(PBX, "sip:example.com", &user)?;
        // One Call-ID for all: RFC 3261 section 10.2.4.
        dialog.call_id = format!("register-{user}@{}", self.address.ip());
        dialog.cseq = self.register_cseq;
        let more = format!("Contact: <sip:{user}@{}>;expires={expires_s}\r\n", self.address);
        let request = Request { method: "REGISTER", more: &more, content: ("", "") };
        let answer = self.ask(&mut dialog, request)?;
        self.register_cseq = dialog.cseq;
        expect("REGISTER", &answer, 200)
    }

    fn call_in_vain(&mut self, callee: &str) -> Result<()> {
        let mut dialog = self.dialog(PBX, &format!("sip:{callee}@example.com"), callee)?;
        let ip = self.address.ip();
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\n"
        );
        let content = ("application/sdp", body.as_str());
        let request = Request { method: "INVITE", more: &self.contact(), content };
        let answer = self.ask(&mut dialog, request)?;
        expect("INVITE", &answer, 480)
    }

    fn subscribe(&mut self, callee: &str, expires_s: u32) -> Result<Dialog> {
        let mut dialog = self.dialog(PRESENCE, &format!("sip:{callee}@example.com"), callee)?;
        let answer = self.renew(&mut dialog, expires_s)?;
        dialog.remote = text(&answer, b"To: ");
        dialog.target = uri_of(&text(&answer, b"Contact: "));
        Ok(dialog)
    }

    fn renew(&mut self, dialog: &mut Dialog, expires_s: u32) -> Result<Vec<u8>> {
        let contact = self.contact();
        let more =
            format!("{contact}Event: presence\r\nAccept: application/pidf+xml\r\nExpires: {expires_s}\r\n");
        let answer = self.ask(dialog, Request { method: "SUBSCRIBE", more: &more, content: ("", "") })?;
        ensure!(matches!(status(&answer), Some(200 | 202)), "SUBSCRIBE: {}", first_line(&answer));
        Ok(answer)
    }

    /// A request, with credentials if it is challenged. Gives its final response.
    fn ask(&mut self, dialog: &mut Dialog, request: Request<'_>) -> Result<Vec<u8>> {
        let answer = self.exchange(dialog, request)?;
        if !matches!(status(&answer), Some(401 | 407)) {
            return Ok(answer);
        }
        let mut scanner = Scanner::new(&Limits::default());
        let challenge: SipMessage<'_> = scanner.scan(&answer)?;
        let words = (request.method, dialog.target.as_str());
        let credentials = credentials(&challenge, &self.user, words, &mut self.random);
        let credentials = credentials.context("a challenge that nobody can answer")?;
        let more = format!("{}{credentials}", request.more);
        self.exchange(dialog, Request { more: &more, ..request })
    }

    fn exchange(&mut self, dialog: &mut Dialog, request: Request<'_>) -> Result<Vec<u8>> {
        let Request { method, more, content } = request;
        dialog.cseq += 1;
        let branch = format!("z9hG4bK{}", self.random.token());
        let head = dialog.head(method, &dialog.remote, more);
        let target = dialog.target.clone();
        let request = speech::request(self.address, (method, &target), &branch, &head, content);
        let mut wait = T1;
        for _ in 0..MOST_TRIES {
            self.socket.send_to(&request, dialog.server)?;
            let until = Instant::now() + wait;
            while let Some((bytes, from)) = self.receive(until)? {
                let is_own = text(&bytes, b"Via: ").contains(&branch);
                match status(&bytes) {
                    Some(status) if is_own && status >= 200 => {
                        if method == "INVITE" {
                            let head = dialog.head("ACK", &text(&bytes, b"To: "), "");
                            let target = ("ACK", target.as_str());
                            let ack = speech::request(self.address, target, &branch, &head, ("", ""));
                            self.socket.send_to(&ack, dialog.server)?;
                        }
                        return Ok(bytes);
                    }
                    Some(_) => {}
                    None => self.handle_request(&bytes, from)?,
                }
            }
            wait = (2 * wait).min(8 * T1);
        }
        bail!("{}: nobody answers {method}", self.user)
    }

    /// A datagram that comes until then.
    fn receive(&self, until: Instant) -> Result<Option<(Vec<u8>, SocketAddr)>> {
        let mut bytes = vec![0; 65_535];
        loop {
            match self.socket.recv_from(&mut bytes) {
                Ok((length, from)) => {
                    bytes.truncate(length);
                    return Ok(Some((bytes, from)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // The socket's own timeout is so coarse that pairs would wake together.
            let wait_ms = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).saturating_add(1);
            let _ =
                poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(wait_ms));
        }
    }

    /// Answers what comes, for so long or until it has what it waits for.
    fn serve(&mut self, time: Duration, is_enough: impl Fn(&Self) -> bool) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            while let Some((mut dialog, state, line)) = self.to_notify.pop_front() {
                let more = format!("{}Event: refer\r\nSubscription-State: {state}\r\n", self.contact());
                let content = ("message/sipfrag;version=2.0", line);
                let answer =
                    self.exchange(&mut dialog, Request { method: "NOTIFY", more: &more, content })?;
                expect("NOTIFY", &answer, 200)?;
            }
            if is_enough(self) {
                return Ok(());
            }
            let Some((bytes, from)) = self.receive(until)? else { return Ok(()) };
            if status(&bytes).is_none() {
                self.handle_request(&bytes, from)?;
            }
        }
    }

    fn handle_request(&mut self, bytes: &[u8], from: SocketAddr) -> Result<()> {
        let mut scanner = Scanner::new(&Limits::default());
        let method = scanner.scan(bytes)?.method();
        let answer = match method {
            Some(Method::Refer) => self.accept(bytes, from),
            Some(Method::Notify) => {
                self.knows_of_return |= String::from_utf8_lossy(bytes).contains("<basic>open");
                response(bytes, "200 OK", &text(bytes, b"To: "), &self.contact(), "")
            }
            _ => response(bytes, "501 Not Implemented", &text(bytes, b"To: "), "", ""),
        };
        self.socket.send_to(&answer, from)?;
        Ok(())
    }

    fn accept(&mut self, refer: &[u8], from: SocketAddr) -> Vec<u8> {
        let is_first = !std::mem::replace(&mut self.is_asked, true);
        // The same one if the REFER comes again.
        let local = format!("{};tag=r{}", text(refer, b"To: "), self.user);
        let mut more = self.contact();
        if self.following == Following::Silent {
            more.push_str("Refer-Sub: false\r\n");
        } else if is_first {
            let told = [
                (1, "active;expires=60", "SIP/2.0 100 Trying\r\n"),
                (2, "terminated;reason=noresource", "SIP/2.0 200 OK\r\n"),
            ];
            self.to_notify.extend(told.map(|(cseq, state, line)| {
                let dialog = Dialog {
                    server: from,
                    target: uri_of(&text(refer, b"Contact: ")),
                    call_id: text(refer, b"Call-ID: "),
                    local: local.clone(),
                    remote: text(refer, b"From: "),
                    routes: fields(refer, b"Record-Route: "),
                    cseq: cseq - 1,
                };
                (dialog, state, line)
            }));
        }
        response(refer, "202 Accepted", &local, &more, "")
    }
}

impl Dialog {
    fn head(&self, method: &str, remote: &str, more: &str) -> String {
        let routes: String = self.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let Self { local, call_id, cseq, .. } = self;
        format!(
            "{routes}From: {local}\r\nTo: {remote}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}"
        )
    }
}

fn first_line(message: &[u8]) -> String {
    String::from_utf8_lossy(message.split(|&byte| byte == b'\r').next().unwrap_or_default()).into_owned()
}

/// Of a response.
fn status(message: &[u8]) -> Option<u16> {
    first_line(message).strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

fn expect(method: &str, answer: &[u8], wanted: u16) -> Result<()> {
    ensure!(status(answer) == Some(wanted), "{method}: {}", first_line(answer));
    Ok(())
}
