//! Ladders: a call flow as text that a person can read and check. `captures/README.md` describes the format.
//! In: the text of a `.ladder` file. Out: [`Ladder`]: parties, steps, and the truth written by hand. Knows nothing of
//! SIP messages or frames.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::mirror::Mirror;
use super::tunnels::Tunnel;

/// Midnight UTC of the day on which all ladders happen, in seconds since the epoch: 2026-11-22.
pub const MIDNIGHT_S: u64 = 1_795_305_600;
/// Second 0 of a ladder is eight o'clock.
pub const START_US: u64 = (MIDNIGHT_S + 8 * 3_600) * 1_000_000;
/// A message is forwarded this long after it came, unless `hop=` says otherwise.
pub const HOP_US: u64 = 1_000;

/// One case, read.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// The file's name without its extension: seeds tags, branches and Call-IDs.
    pub name: String,
    /// Further command line arguments of the program.
    pub options: Vec<String>,
    /// 802.1Q tag of every frame.
    pub vlan: Option<u16>,
    /// What every frame is wrapped in.
    pub tunnel: Option<Tunnel>,
    /// What the mirror does to the frames, one thing after the other.
    pub mirror: Vec<Mirror>,
    /// What this address sends is in a capture of its own.
    pub split: Option<IpAddr>,
    /// How frames begin.
    pub link: Link,
    /// Who takes part, in the order of declaration.
    pub parties: Vec<Party>,
    /// What happens, in the order of the text.
    pub steps: Vec<Step>,
    /// The status lines that must come of it, written by hand.
    pub truth: Vec<Truth>,
}

/// How frames begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// LINKTYPE_ETHERNET.
    Ethernet,
    /// LINKTYPE_LINUX_SLL, what `tcpdump -i any` writes.
    LinuxCooked,
}

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// RFC 768.
    Udp,
    /// RFC 9293.
    Tcp,
    /// RFC 7118.
    WebSocket,
    /// RFC 4168.
    Sctp,
}

impl Carrier {
    /// The word in Via.
    pub const fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::WebSocket => "WS",
            Self::Sctp => "SCTP",
        }
    }
}

/// What a party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user agent that registers.
    Phone,
    /// A proxy and registrar: forwards, answers REGISTER, challenges.
    Proxy,
    /// A user agent that does not register: voicemail, gateway, B2BUA.
    Server,
}

/// Somebody who sends and receives.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its name in the ladder.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where its packets come from, as the mirror port sees it.
    pub address: SocketAddr,
    /// What it believes its address to be: Via, Contact, SDP. Differs behind a NAT.
    pub inside: SocketAddr,
    /// Its address of record.
    pub aor: String,
    /// The user part of its Contact.
    pub contact_user: String,
    /// Digest password.
    pub password: String,
    /// User-Agent, or Server.
    pub agent: String,
    /// Encoding names, best first.
    pub codecs: Vec<String>,
    /// What it speaks on all its hops, if that is not UDP.
    pub carrier: Carrier,
    /// A proxy that stays in the path.
    pub record_route: bool,
    /// The realm that it challenges for.
    pub realm: String,
}

impl Party {
    /// What carries the messages between two parties.
    pub fn carrier_to(&self, other: &Self) -> Carrier {
        if self.carrier == Carrier::Udp { other.carrier } else { self.carrier }
    }
}

/// One line that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// Microseconds since second 0.
    pub at_us: u64,
    /// Line in the file, for errors.
    pub line: usize,
    /// What happens.
    pub action: Action,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// A message goes along a path.
    Send(Send),
    /// From now on the party has this address.
    Move(String, SocketAddr),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Send {
    /// Which call it belongs to.
    pub call: String,
    /// Sender, those who forward it, receiver.
    pub path: Vec<String>,
    /// `INVITE`, `180`, …
    pub what: String,
    /// The word after it: whom a request is for, or the method that a response answers.
    pub target: Option<String>,
    /// `key=value` and bare words.
    pub words: BTreeMap<String, String>,
    /// Changes to the header fields, in order.
    pub edits: Vec<Edit>,
    /// A body, or for `raw` the whole message, line by line.
    pub text: Option<Vec<String>>,
}

/// A change to a message's header fields.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Added at the end.
    Add(String, String),
    /// All of this name go.
    Remove(String),
    /// The first of this name gets this value.
    Replace(String, String),
}

/// A line that the program must write, as a person worked it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Milliseconds since second 0.
    pub at_ms: u64,
    /// Whose.
    pub aor: String,
    /// What.
    pub says: Says,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// A status line.
    Status {
        /// `online`, …
        terminal: String,
        /// `talking`, …
        session: String,
        /// The rule that changed it.
        rule: String,
        /// Checked if written.
        confidence: Option<String>,
        /// Checked if written.
        watching: Option<bool>,
    },
    /// A contact line with the new contact.
    Contact(String),
    /// A redial line of a caller's wish.
    Redial {
        /// AOR of the callee.
        callee: String,
        /// `wished`, …
        step: String,
        /// Why, by what, for what, how: the step's second word, if it has one.
        word: Option<String>,
    },
}

/// Words that a message line may carry.
const WORDS: &[&str] = &[
    "binary",
    "call-id",
    "contact",
    "event",
    "every",
    "expires",
    "for",
    "frames",
    "from",
    "granted",
    "hop",
    "new-connection",
    "nosdp",
    "over",
    "sdp",
    "again",
    "cseq",
    "refer-to",
    "reliable",
    "replaces",
    "rtcp",
    "segments",
    "session-expires",
    "state",
    "to",
    "unseen",
    "uri",
    "with-next",
    "within",
    "no-credentials",
    "stale",
];

impl Ladder {
    /// Reads the text of a ladder; `name` is the file's name without extension.
    ///
    /// # Errors
    /// A sentence that names the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut ladder = Self {
            name: name.to_owned(),
            options: Vec::new(),
            vlan: None,
            tunnel: None,
            mirror: Vec::new(),
            split: None,
            link: Link::Ethernet,
            parties: Vec::new(),
            steps: Vec::new(),
            truth: Vec::new(),
        };
        let mut clock_us = 0;
        for (index, line) in text.lines().enumerate() {
            ladder
                .line(line, index + 1, &mut clock_us)
                .map_err(|wrong| format!("{name}.ladder line {}: {wrong}: {line}", index + 1))?;
        }
        Ok(ladder)
    }

    /// The party of that name.
    pub fn party(&self, name: &str) -> Option<&Party> {
        self.parties.iter().find(|party| party.name == name)
    }

    fn line(&mut self, line: &str, number: usize, clock_us: &mut u64) -> Result<(), String> {
        if let Some(truth) = line.trim_start().strip_prefix("#=") {
            let truth = self.truth_line(truth)?;
            self.truth.push(truth);
            return Ok(());
        }
        if let Some(options) = line.strip_prefix("# options:") {
            self.options.extend(options.split_whitespace().map(str::to_owned));
            return Ok(());
        }
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            return self.edit(line.trim_start());
        }
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match first {
            "phone" => self.declare(Kind::Phone, rest),
            "proxy" => self.declare(Kind::Proxy, rest),
            "server" => self.declare(Kind::Server, rest),
            "vlan" => {
                self.vlan = Some(rest.parse().map_err(|_| "not a VLAN number")?);
                Ok(())
            }
            "tunnel" => {
                self.tunnel = Some(Tunnel::named(rest).ok_or("not a tunnel's name")?);
                Ok(())
            }
            "mirror" => {
                for word in rest.split_whitespace() {
                    self.mirror.push(Mirror::parse(word).ok_or_else(|| format!("no mirror does {word}"))?);
                }
                Ok(())
            }
            "split" => {
                self.split = Some(rest.parse().map_err(|_| "not an address")?);
                Ok(())
            }
            "link" => {
                self.link = match rest {
                    "ethernet" => Link::Ethernet,
                    "sll" => Link::LinuxCooked,
                    _ => return Err("link is ethernet or sll".into()),
                };
                Ok(())
            }
            _ => {
                *clock_us = match first.strip_prefix('+') {
                    Some(later) => *clock_us + seconds_as_us(later)?,
                    None => seconds_as_us(first)?,
                };
                self.step(*clock_us, number, rest)
            }
        }
    }

    fn declare(&mut self, kind: Kind, text: &str) -> Result<(), String> {
        let mut tokens = text.split_whitespace();
        let name = tokens.next().ok_or("no name")?.to_owned();
        let address = address(tokens.next().ok_or("no address")?)?;
        let user = name.split('-').next().unwrap_or(&name);
        let mut party = Party {
            aor: format!("sip:{user}@example.com"),
            contact_user: user.to_owned(),
            password: format!("{user}-secret"),
            agent: match kind {
                Kind::Phone => "Exampletel 300/2.4.1",
                Kind::Proxy => "example-proxy (5.6.3)",
                Kind::Server => "example-media (1.9)",
            }
            .to_owned(),
            codecs: vec!["PCMU".into(), "PCMA".into()],
            carrier: Carrier::Udp,
            record_route: kind == Kind::Proxy,
            realm: "example.com".into(),
            inside: address,
            name,
            kind,
            address,
        };
        for token in tokens {
            let (key, value) = token.split_once('=').unwrap_or((token, ""));
            match key {
                "aor" => {
                    value.clone_into(&mut party.aor);
                    let user = value.split([':', '@']).nth(1).unwrap_or(value);
                    user.clone_into(&mut party.contact_user);
                }
                "user" => value.clone_into(&mut party.contact_user),
                "password" => value.clone_into(&mut party.password),
                "agent" => party.agent = value.replace('_', " "),
                "codecs" => party.codecs = value.split(',').map(str::to_owned).collect(),
                "inside" => party.inside = self::address(value)?,
                "realm" => value.clone_into(&mut party.realm),
                "tcp" => party.carrier = Carrier::Tcp,
                "ws" => party.carrier = Carrier::WebSocket,
                "sctp" => party.carrier = Carrier::Sctp,
                "no-record-route" => party.record_route = false,
                _ => return Err(format!("no such word for a party: {key}")),
            }
        }
        if self.party(&party.name).is_some() {
            return Err("declared twice".into());
        }
        self.parties.push(party);
        Ok(())
    }

    fn step(&mut self, at_us: u64, line: usize, text: &str) -> Result<(), String> {
        let mut tokens = text.split_whitespace().peekable();
        let call = tokens
            .next_if(|token| token.starts_with('['))
            .map(|token| token.trim_matches(['[', ']']).to_owned());
        let first = self.known(tokens.next().ok_or("nothing happens")?)?;
        match tokens.peek() {
            Some(&"moves") => {
                let to = address(tokens.nth(1).ok_or("where to?")?)?;
                self.steps.push(Step { at_us, line, action: Action::Move(first, to) });
                return Ok(());
            }
            Some(&("registers" | "unregisters")) => {
                let verb = tokens.next().unwrap_or_default().to_owned();
                return self.registration(at_us, line, &first, &verb, tokens);
            }
            _ => {}
        }
        let mut path = vec![first];
        while tokens.next_if_eq(&"->").is_some() {
            path.push(self.known(tokens.next().ok_or("arrow to nobody")?)?);
        }
        if path.len() < 2 {
            return Err("no arrow".into());
        }
        let what = tokens.next().ok_or("no message")?.to_owned();
        let target =
            tokens.next_if(|token| !token.contains('=') && !WORDS.contains(token)).map(str::to_owned);
        let words = words(tokens)?;
        let call = call.unwrap_or_else(|| match what.as_str() {
            "REGISTER" => format!("register-{}", path[0]),
            status if status.starts_with(|first: char| first.is_ascii_digit()) => self.asked(&path),
            _ => "call".to_owned(),
        });
        self.send(at_us, line, Send { call, path, what, target, words, edits: Vec::new(), text: None });
        Ok(())
    }

    /// The unlabelled call or registration whose request went the other way last.
    fn asked(&self, path: &[String]) -> String {
        let requests = self.steps.iter().rev().filter_map(|step| match &step.action {
            Action::Send(send) if send.what.starts_with(|first: char| first.is_ascii_uppercase()) => {
                Some(send)
            }
            _ => None,
        });
        requests
            .filter(|send| send.call == "call" || send.call.starts_with("register-"))
            .find(|send| send.path.windows(2).any(|hop| hop[0] == path[1] && hop[1] == path[0]))
            .map_or_else(|| "call".to_owned(), |send| send.call.clone())
    }

    fn send(&mut self, at_us: u64, line: usize, send: Send) {
        self.steps.push(Step { at_us, line, action: Action::Send(send) });
    }

    /// `alice registers [challenged] [expires=…] …`: two messages 1 ms apart, or four.
    fn registration<'t>(
        &mut self,
        at_us: u64,
        line: usize,
        phone: &str,
        verb: &str,
        tokens: impl Iterator<Item = &'t str>,
    ) -> Result<(), String> {
        let (mut challenged, mut at) = (false, None);
        let mut rest = Vec::new();
        for token in tokens {
            match token {
                "challenged" => challenged = true,
                _ if token.starts_with("at=") => at = Some(self.known(&token[3..])?),
                _ => rest.push(token),
            }
        }
        let registrar = at
            .or_else(|| {
                let proxy = self.parties.iter().find(|party| party.kind == Kind::Proxy);
                proxy.map(|party| party.name.clone())
            })
            .ok_or("no registrar")?;
        let mut words = words(rest.into_iter())?;
        if verb == "unregisters" {
            words.insert("expires".into(), "0".into());
        }
        let mut answer = words.clone();
        answer.retain(|key, _| ["granted", "unseen"].contains(&key.as_str()));
        words.retain(|key, _| key != "granted");
        let messages: &[&str] = match challenged {
            true => &["REGISTER", "401", "REGISTER", "200"],
            false => &["REGISTER", "200"],
        };
        for (index, what) in messages.iter().enumerate() {
            let request = index % 2 == 0;
            let (from, to) = if request { (phone, &*registrar) } else { (&*registrar, phone) };
            self.send(
                at_us + index as u64 * HOP_US,
                line,
                Send {
                    call: format!("register-{phone}"),
                    path: vec![from.to_owned(), to.to_owned()],
                    what: (*what).to_owned(),
                    target: None,
                    words: if request { words.clone() } else { answer.clone() },
                    edits: Vec::new(),
                    text: None,
                },
            );
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Result<String, String> {
        self.party(name).map(|party| party.name.clone()).ok_or_else(|| format!("nobody is called {name}"))
    }

    /// An indented line changes the message above it.
    fn edit(&mut self, text: &str) -> Result<(), String> {
        let Some(Step { action: Action::Send(send), .. }) = self.steps.last_mut() else {
            return Err("nothing above to change".into());
        };
        if let Some(body) = text.strip_prefix('|') {
            let body = body.strip_prefix(' ').unwrap_or(body);
            send.text.get_or_insert_default().push(body.to_owned());
            return Ok(());
        }
        if let Some(name) = text.strip_prefix('-') {
            send.edits.push(Edit::Remove(name.trim().to_owned()));
            return Ok(());
        }
        let (name, value) = text.split_once(':').ok_or("a header field has a colon")?;
        let value = value.trim().to_owned();
        send.edits.push(match name.strip_prefix('+') {
            Some(name) => Edit::Add(name.to_owned(), value),
            None => Edit::Replace(name.to_owned(), value),
        });
        Ok(())
    }

    /// `4.210 bob online/ringing invite-180 full`, or `4.210 bob contact sip:…`.
    fn truth_line(&self, text: &str) -> Result<Truth, String> {
        let mut tokens = text.split_whitespace();
        let at_us = seconds_as_us(tokens.next().ok_or("no time")?)?;
        if at_us % 1_000 != 0 {
            return Err("times of lines are whole milliseconds".into());
        }
        let aor_of = |who: &str| match self.party(who) {
            Some(party) => party.aor.clone(),
            None if who.contains(':') => who.to_owned(),
            None => format!("sip:{who}@example.com"),
        };
        let aor = aor_of(tokens.next().ok_or("no presentity")?);
        let status = tokens.next().ok_or("no status")?;
        let third = tokens.next().ok_or("no rule")?.to_owned();
        let says = if status == "contact" {
            Says::Contact(third)
        } else if status == "redial" {
            let step = tokens.next().ok_or("no step")?.to_owned();
            Says::Redial { callee: aor_of(&third), step, word: tokens.next().map(str::to_owned) }
        } else {
            let (terminal, session) = status.split_once('/').ok_or("status is terminal/session")?;
            let (mut confidence, mut watching) = (None, None);
            for token in tokens {
                match token {
                    "full" | "weak" | "degraded" => confidence = Some(token.to_owned()),
                    "watching" => watching = Some(true),
                    "not-watching" => watching = Some(false),
                    _ => return Err(format!("not a confidence: {token}")),
                }
            }
            Says::Status {
                terminal: terminal.to_owned(),
                session: session.to_owned(),
                rule: third,
                confidence,
                watching,
            }
        };
        Ok(Truth { at_ms: at_us / 1_000, aor, says })
    }
}

fn words<'t>(tokens: impl Iterator<Item = &'t str>) -> Result<BTreeMap<String, String>, String> {
    tokens
        .map(|token| {
            let (key, value) = token.split_once('=').unwrap_or((token, ""));
            if WORDS.contains(&key) {
                Ok((key.to_owned(), value.to_owned()))
            } else {
                Err(format!("no such word: {key}"))
            }
        })
        .collect()
}

/// `192.0.2.1`, `192.0.2.1:5080`, `2001:db8::1`, `[2001:db8::1]:5080`; the port is 5060 unless said.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 5_060)).map_err(|_| format!("not an address: {text}"))
}

/// Decimal seconds with up to six digits of fraction.
fn seconds_as_us(text: &str) -> Result<u64, String> {
    let wrong = || format!("not a time: {text}");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 6 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds: u64 = whole.parse().map_err(|_| wrong())?;
    let micros: u64 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
    Ok(seconds * 1_000_000 + micros)
}
