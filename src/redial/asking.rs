//! One asking: from its first request to its one end, and the while in which its remains are seen off.
//! In: responses, requests of the phone, time. Out: requests, replies, what became of it. Knows nothing of other
//! askings, sockets, clocks.
//!
//! ```text
//!            recall             refer, probe
//!              │                     │
//!              V                     │
//!        ┌───────────┐               │
//!        │  Ringing  │──refused, given up, silent──────────────────────┐
//!        └───────────┘               │                                 │
//!              │ 2xx: ACK            │                                 │
//!              V                     V                                 │
//!        ┌───────────┐  0.5 s  ┌───────────┐                           │
//!        │  Talking  │────────►│   Asked   │──refused, answered,──────►│
//!        └───────────┘◄──491───└───────────┘  silent                   │
//!              │                     │ 2xx or NOTIFY                   │
//!              │ hung up             V                                 │
//!              │               ┌───────────┐                           V
//!              │               │ Following │──last NOTIFY, silence──►┌──────┐
//!              │               └───────────┘                         │ Over │ Ended is told; BYE
//!              └────────────────────────────────────────────────────►└──────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::asker::{AskerCounters, AskerOptions, MediaCommand};
use super::recall::{Call, Heard};
use super::{AskEnd, AskEvent, AskId, AskOrder, Manner, Reach};
use crate::base::{Hop, Random, Timestamp, Transmit};
use crate::sip::authenticator::{Attempt, Authenticator};
use crate::sip::dialog::{Dialog, own_contact, own_uri};
use crate::sip::flights::{Flight, Flights, Loss};
use crate::sip::uri;
use crate::sip::write::{self, Header, RequestMethod, header, via};
use crate::sip::{Aor, Method, OWN_CALL_ID_PREFIX, OWN_RECALL_PREFIX, SipMessage};

/// What we take, for Allow.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, UPDATE, NOTIFY, OPTIONS";
/// So long after its end an asking still answers its phone.
const LINGER: Duration = Duration::from_secs(32);
/// Characters of a callee's name that a phone's display is given.
const MAX_NAME: usize = 48;

/// Next hops whose challenges are remembered.
const MAX_PROXIES: usize = 64;

/// What all askings share.
pub(super) struct Means {
    pub(super) options: AskerOptions,
    /// What next hops wanted to know (407), by their addresses: whoever asked once is told at once the next time. What a phone
    /// wanted to know (401) stays with its asking.
    pub(super) proxies: BTreeMap<SocketAddr, Authenticator>,
    pub(super) random: Random,
    pub(super) flights: Flights,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<(AskId, AskEvent)>,
    pub(super) media: VecDeque<MediaCommand>,
    pub(super) counters: AskerCounters,
}

impl Means {
    /// The one for what this next hop wants to know. At the bound another one's is forgotten.
    fn proxy(&mut self, hop: Hop) -> &mut Authenticator {
        if self.proxies.len() >= MAX_PROXIES && !self.proxies.contains_key(&hop.remote) {
            self.proxies.pop_first();
        }
        self.proxies.entry(hop.remote).or_insert_with(|| self.options.authenticator())
    }

    /// Takes a challenge, `own` those of the phone; `true` if it is to be answered by sending again.
    pub(super) fn accept(
        &mut self,
        hop: Hop,
        own: &mut Authenticator,
        attempt: &mut Attempt,
        response: &SipMessage<'_>,
    ) -> bool {
        let mut random = Random::new(self.random.next());
        match response.status() {
            Some(407) => self.proxy(hop).accept(attempt, response, &mut random),
            _ => own.accept(attempt, response, &mut random),
        }
    }

    /// What the next hop, and the phone, want to know of a request.
    pub(super) fn credentials(
        &mut self,
        hop: Hop,
        own: &mut Authenticator,
        method: &str,
        uri: &str,
    ) -> Vec<Header> {
        let mut headers = self.proxy(hop).headers(method, uri);
        headers.extend(own.headers(method, uri));
        headers
    }

    /// RFC 3261 section 8.1.1.7: the magic cookie.
    pub(super) fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.random.token())
    }
}

/// What a request of ours is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The phone is to call.
    Refer,
    /// Is somebody there?
    Options,
    /// A dialog is left: ours, or that of another fork.
    Bye(Box<Dialog>),
    /// The INVITE is taken back.
    Cancel,
}

impl Purpose {
    const fn method(&self) -> (Method, RequestMethod) {
        match self {
            Self::Refer => (Method::Refer, RequestMethod::Refer),
            Self::Options => (Method::Options, RequestMethod::Options),
            Self::Bye(_) => (Method::Bye, RequestMethod::Bye),
            Self::Cancel => (Method::Cancel, RequestMethod::Cancel),
        }
    }
}

/// What an answer is for.
pub(super) struct Cargo {
    pub(super) purpose: Purpose,
    attempt: Attempt,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// INVITE was sent.
    Ringing {
        /// When it rang long enough.
        until: Timestamp,
        /// What was heard of the phone.
        heard: Heard,
        /// We gave up, and this is the end as soon as the INVITE has its own.
        giving_up: Option<AskEnd>,
    },
    /// It was picked up; REFER follows.
    Talking {
        /// When.
        refer_at: Timestamp,
    },
    /// REFER or OPTIONS awaits its answer.
    Asked,
    /// The REFER was accepted.
    Following {
        /// Silence until then is the end.
        until: Timestamp,
        /// The end, however much is told.
        at_latest: Timestamp,
        /// What was told last.
        last: Option<u16>,
    },
    /// Ended was told.
    Over {
        /// Until then the phone is answered.
        until: Timestamp,
    },
}

/// How a request of the phone is answered.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn of(status: u16) -> Self {
        let headers = match status {
            405 => vec![header("Allow", ALLOW)],
            _ => Vec::new(),
        };
        Self { status, headers, body: Vec::new() }
    }

    /// RFC 3261 section 11.2.
    pub(super) fn to_options() -> Self {
        let headers = [("Allow", ALLOW), ("Accept", "application/sdp, message/sipfrag")];
        let headers = headers.map(|(name, value)| header(name, value)).to_vec();
        Self { status: 200, headers, body: Vec::new() }
    }
}

/// One order that is being followed.
pub(super) struct Asking {
    pub(super) key: u32,
    pub(super) order: AskOrder,
    pub(super) reach: Reach,
    /// Who we say that we are.
    pub(super) own_uri: String,
    /// The From field's value without its tag.
    pub(super) from: String,
    pub(super) dialog: Dialog,
    pub(super) stage: Stage,
    pub(super) call: Option<Call>,
    /// Its own: what one phone or proxy asked for is nothing to another.
    pub(super) authenticator: Authenticator,
    requests: Vec<Option<Flight<Cargo>>>,
    /// Its place among the deadlines.
    pub(super) deadline: Option<Timestamp>,
}

impl Asking {
    /// Begins: the first request is sent.
    pub(super) fn begin(
        now: Timestamp,
        key: u32,
        (order, reach): (AskOrder, Reach),
        means: &mut Means,
    ) -> Self {
        let prefix = match order.manner {
            Manner::Recall => OWN_RECALL_PREFIX,
            Manner::Refer | Manner::Probe => OWN_CALL_ID_PREFIX,
        };
        let call_id = format!("{prefix}{}{}", means.random.token(), means.random.token());
        let own_uri = means.options.from.clone().unwrap_or_else(|| own_uri(reach.hop));
        let uri = write::uri_text(&own_uri);
        let from = match order.manner {
            Manner::Recall => format!("{} <{uri}>", write::quoted(&who_is_back(&order.callee))),
            Manner::Refer | Manner::Probe => format!("<{uri}>"),
        };
        let mut asking = Self {
            key,
            from,
            dialog: Dialog::new(call_id, means.random.token()).with_stand_in(order.contact.as_deref()),
            stage: Stage::Asked,
            call: None,
            authenticator: means.options.authenticator(),
            requests: Vec::new(),
            deadline: None,
            own_uri,
            order,
            reach,
        };
        match asking.order.manner {
            Manner::Refer => asking.send(now, Purpose::Refer, Attempt::default(), means),
            Manner::Probe => asking.send(now, Purpose::Options, Attempt::default(), means),
            Manner::Recall => asking.ring(now, means),
        }
        asking.settle(now, means);
        asking
    }

    /// Its order's number.
    pub(super) const fn id(&self) -> AskId {
        self.order.id
    }

    /// Ended was told.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. })
    }

    /// It is over, and nothing that the phone must get is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_over() && self.requests.is_empty() && !self.call.as_ref().is_some_and(Call::is_pending)
    }

    /// Nothing more will happen.
    pub(super) fn is_gone(&self, now: Timestamp) -> bool {
        matches!(self.stage, Stage::Over { until } if until <= now) && self.awaits_nothing()
    }

    fn awaits_nothing(&self) -> bool {
        self.requests.is_empty() && self.call.as_ref().is_none_or(Call::is_terminated)
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let of_stage = match self.stage {
            Stage::Asked => None,
            Stage::Ringing { until, giving_up: Some(_), .. } => Some(until.after(LINGER)),
            Stage::Ringing { until, .. } | Stage::Following { until, .. } => Some(until),
            Stage::Talking { refer_at } => Some(refer_at),
            Stage::Over { until } => Some(until).filter(|_| self.awaits_nothing()),
        };
        let of_call = self.call.as_ref().and_then(Call::poll_timeout);
        let flights = self.requests.iter().flatten().filter_map(Flight::poll_timeout);
        flights.chain(of_call).chain(of_stage).min()
    }

    /// Fires what is due.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, means: &mut Means) {
        for flight in self.requests.iter_mut().flatten() {
            flight.handle_timeout(now);
        }
        if let Some(call) = &mut self.call {
            call.handle_timeout(now);
        }
        match self.stage {
            Stage::Ringing { until, heard, giving_up: None } if until <= now => {
                self.give_up(now, heard.end_in_vain(), means);
            }
            // Its INVITE should have had its end long ago.
            Stage::Ringing { until, giving_up: Some(end), .. } if until.after(LINGER) <= now => {
                self.end(now, end, means);
            }
            Stage::Talking { refer_at } if refer_at <= now => {
                self.stage = Stage::Asked;
                self.send(now, Purpose::Refer, Attempt::default(), means);
            }
            Stage::Following { until, last, .. } if until <= now => {
                self.end(now, AskEnd::Followed { status: last }, means);
            }
            _ => {}
        }
        self.settle(now, means);
    }

    /// The transport said that nothing reaches the phone.
    pub(super) fn handle_transport_error(&mut self, now: Timestamp, means: &mut Means) {
        for flight in self.requests.iter_mut().flatten() {
            flight.handle_transport_error();
        }
        if let Some(call) = &mut self.call {
            call.handle_transport_error();
        }
        self.settle(now, means);
    }

    /// Gives up, politely. What is told then is the end that the phone had left open.
    pub(super) fn withdraw(&mut self, now: Timestamp, means: &mut Means) {
        match self.stage {
            Stage::Ringing { giving_up: Some(_), .. } | Stage::Over { .. } => {}
            Stage::Ringing { .. } => self.give_up(now, AskEnd::NotPickedUp { status: None }, means),
            Stage::Talking { .. } => self.end(now, AskEnd::HungUp, means),
            Stage::Asked if self.call.is_some() => self.end(now, AskEnd::HungUp, means),
            Stage::Asked => self.end(now, AskEnd::Silent, means),
            Stage::Following { last, .. } => self.end(now, AskEnd::Followed { status: last }, means),
        }
        self.settle(now, means);
    }

    /// Takes a response to anything but an INVITE.
    pub(super) fn handle_answer(
        &mut self,
        now: Timestamp,
        status: u16,
        response: &SipMessage<'_>,
        means: &mut Means,
    ) {
        let mut answered = self
            .requests
            .iter_mut()
            .filter_map(|place| means.flights.handle_response(now, place, status, response));
        let answered = answered.next().map(|(status, flight)| (status, flight.cargo));
        self.requests.retain(Option::is_some);
        if let Some((status, cargo)) = answered {
            self.handle_final(now, status, cargo, response, means);
        }
        self.settle(now, means);
    }

    fn handle_final(
        &mut self,
        now: Timestamp,
        status: u16,
        mut cargo: Cargo,
        response: &SipMessage<'_>,
        means: &mut Means,
    ) {
        let is_wanted = match cargo.purpose {
            Purpose::Refer | Purpose::Options => self.stage == Stage::Asked && !self.phone_left(),
            Purpose::Bye(_) => true,
            Purpose::Cancel => false,
        };
        let hop = self.reach.hop;
        if is_wanted && means.accept(hop, &mut self.authenticator, &mut cargo.attempt, response) {
            self.send(now, cargo.purpose, cargo.attempt, means);
            return;
        }
        match cargo.purpose {
            Purpose::Refer => self.handle_refer_answer(now, status, response, means),
            Purpose::Options => self.handle_probe_answer(now, status, means),
            // The dialog is over, whatever is said of it.
            Purpose::Bye(_) | Purpose::Cancel => {}
        }
    }

    fn handle_loss(&mut self, now: Timestamp, loss: Loss, purpose: &Purpose, means: &mut Means) {
        let is_awaited = matches!(purpose, Purpose::Refer | Purpose::Options) && self.stage == Stage::Asked;
        if is_awaited {
            let end = match loss {
                _ if self.phone_left() => AskEnd::HungUp,
                Loss::Silence => AskEnd::Silent,
                Loss::Transport => AskEnd::Undeliverable,
            };
            self.end(now, end, means);
        }
    }

    /// Sends a request other than INVITE.
    pub(super) fn send(&mut self, now: Timestamp, mut purpose: Purpose, attempt: Attempt, means: &mut Means) {
        let (method, written_method) = purpose.method();
        let branch = means.branch();
        let more = self.fields_of(&purpose);
        let dialog = match &mut purpose {
            Purpose::Bye(dialog) => dialog.as_mut(),
            _ => &mut self.dialog,
        };
        let (uri, routes) = dialog.way(&self.reach.request_uri);
        let cseq = dialog.next_cseq();
        let to = write::tagged(self.order.phone.as_str(), dialog.remote_tag());
        let from = format!("{};tag={}", self.from, dialog.local_tag());
        let hop = self.reach.hop;
        let mut headers = vec![
            via(hop.transport.via_name(), hop.local, &branch),
            Header::MaxForwards("70".to_owned().into()),
            header("From", from),
            header("To", to),
            Header::CallId(dialog.call_id().to_owned().into()),
            Header::CSeq(format!("{cseq} {}", method.name()).into()),
        ];
        headers.extend(routes);
        headers.extend(more);
        headers.extend(means.credentials(hop, &mut self.authenticator, method.name(), &uri));
        headers.push(user_agent());
        match write::request(written_method, &uri, headers, b"") {
            Ok(bytes) => self.let_off(now, (method, &branch, bytes), Cargo { purpose, attempt }, means),
            // The AORs or the phone's contact cannot stand in a message: nobody can be asked so.
            Err(_) if self.stage == Stage::Asked => self.end(now, AskEnd::Undeliverable, means),
            Err(_) => {}
        }
    }

    fn let_off(&mut self, now: Timestamp, request: (Method, &str, Vec<u8>), cargo: Cargo, means: &mut Means) {
        let mut flight = means.flights.begin(now, self.key, request, self.reach.hop, cargo);
        means.transmits.extend(flight.poll_transmit());
        self.requests.push(Some(flight));
    }

    fn fields_of(&self, purpose: &Purpose) -> Vec<Header> {
        match purpose {
            Purpose::Refer => self.refer_fields(),
            Purpose::Options => vec![self.contact(), header("Accept", "application/sdp")],
            Purpose::Bye(_) | Purpose::Cancel => Vec::new(),
        }
    }

    pub(super) fn contact(&self) -> Header {
        Header::Contact(own_contact(self.reach.hop).into())
    }

    pub(super) fn tell(&self, event: AskEvent, means: &mut Means) {
        means.events.push_back((self.id(), event));
    }

    /// Tells the end, once; what is left of a call is left by [`Self::settle`].
    pub(super) fn end(&mut self, now: Timestamp, end: AskEnd, means: &mut Means) {
        if self.is_over() {
            return;
        }
        let linger = match self.order.manner {
            Manner::Probe => Duration::ZERO,
            Manner::Refer | Manner::Recall => LINGER,
        };
        self.stage = Stage::Over { until: now.after(linger) };
        self.tell(AskEvent::Ended(end), means);
    }

    /// After anything that happened: sends what is to be sent, hears of what was lost, leaves what is over.
    pub(super) fn settle(&mut self, now: Timestamp, means: &mut Means) {
        let mut lost = Vec::new();
        for place in &mut self.requests {
            means.transmits.extend(place.as_mut().and_then(Flight::poll_transmit));
            lost.extend(means.flights.poll_lost(place).map(|(loss, flight)| (loss, flight.cargo.purpose)));
        }
        self.requests.retain(Option::is_some);
        for (loss, purpose) in lost {
            self.handle_loss(now, loss, &purpose, means);
        }
        self.settle_call(now, means);
    }

    /// Sends the CANCEL of an INVITE: with that one's branch, and never challenged (RFC 3261 section 22.1).
    pub(super) fn send_cancel(
        &mut self,
        now: Timestamp,
        (branch, bytes): (String, Vec<u8>),
        means: &mut Means,
    ) {
        let cargo = Cargo { purpose: Purpose::Cancel, attempt: Attempt::default() };
        self.let_off(now, (Method::Cancel, &branch, bytes), cargo, means);
    }
}

pub(super) fn user_agent() -> Header {
    Header::UserAgent(concat!("offhook/", env!("CARGO_PKG_VERSION")).to_owned().into())
}

/// For the phone's display.
fn who_is_back(callee: &Aor) -> String {
    let name = match callee.user() {
        "" => callee.as_str().to_owned(),
        user => uri::unescaped(user),
    };
    let name: String = name.chars().filter(|character| !character.is_control()).take(MAX_NAME).collect();
    format!("{name} is back")
}
