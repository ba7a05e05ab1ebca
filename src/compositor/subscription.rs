//! One subscription, seen from the notifier.
//! In: SUBSCRIBE requests, changes of the presentity, answers to NOTIFY, time. Out: when to send which NOTIFY. Knows
//! nothing of other subscriptions, sockets.
//! RFC 6665 section 4.2. One NOTIFY is in flight; what comes meanwhile waits, and the latest of it counts.
//!
//! ```text
//!  SUBSCRIBE     +------------+  Expires 0, time over, stop    +------------+
//! -------------->|   active   |------------------------------->|   ending   |  the last NOTIFY: terminated
//!                +------------+                                +------------+
//!                  |        |                                        | it is answered, or given up
//!  SUBSCRIBE again |        | NOTIFY: 481 and its like,              V
//!  or a change:    |        | or given up twice running        +------------+
//!  NOTIFY          +->      +--------------------------------->|    over    |
//!                                                              +------------+
//! ```
//!
//! A NOTIFY without an answer, or with one that says nothing of the subscription, is tolerated once: the state goes out
//! again with the next change, or after half a minute. The second time running, the subscription is over.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Hop, Timestamp};
use crate::presence::EventPackage;
use crate::presence::dialog_info_read::DialogElement;
use crate::sip::transaction::{ClientTransaction, TransactionEvent};
use crate::sip::write::{self, Header, RequestMethod, WriteError, header, via};

/// How long after a NOTIFY that got lost the state goes out again, if nothing changes before.
const RETRY: Duration = Duration::from_secs(30);

/// NOTIFYs that may get lost one after the other.
const TOLERATED: u32 = 1;

/// Why a subscription ends (RFC 6665 section 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its time is over, or the watcher ended it.
    Timeout,
    /// The server stops; the watcher should subscribe again at once.
    Deactivated,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Deactivated => "deactivated",
        }
    }
}

/// The dialog of a subscription (RFC 3261 section 12.1.1).
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    pub(super) call_id: String,
    /// From and To of a NOTIFY, with their tags.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) local_tag: String,
    pub(super) remote_tag: String,
    pub(super) target: String,
    /// As Route lists it.
    pub(super) route: Vec<String>,
    pub(super) local_cseq: u32,
    pub(super) remote_cseq: u32,
    /// Where NOTIFY goes.
    pub(super) hop: Hop,
}

/// The NOTIFY that awaits its answer.
struct Flight {
    transaction: ClientTransaction,
    essence: Arc<[u8]>,
    listed: Vec<DialogElement>,
    last: bool,
}

/// What the owner is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing now.
    Wait,
    /// Send the request in flight (again).
    Transmit(Vec<u8>),
    /// Write and begin a NOTIFY.
    Notify,
    /// Forget it.
    Over,
}

pub(super) struct Subscription {
    pub(super) package: EventPackage,
    /// The `id` of Event.
    pub(super) event_id: Option<String>,
    /// Whom it watches.
    pub(super) presentity: u64,
    pub(super) dialog: Dialog,
    pub(super) deadline: Option<Timestamp>,
    /// How many NOTIFYs there were: the version of the next dialog document.
    version: u32,
    expires_at: Timestamp,
    ending: Option<Reason>,
    /// A NOTIFY is due even if it says nothing new.
    owed: bool,
    /// When a NOTIFY is due.
    due_at: Option<Timestamp>,
    not_before: Timestamp,
    told: Option<Arc<[u8]>>,
    /// Dialogs that the watcher may believe in.
    listed: Vec<DialogElement>,
    flight: Option<Flight>,
    lost: u32,
}

impl Subscription {
    pub(super) const fn new(
        package: EventPackage,
        event_id: Option<String>,
        presentity: u64,
        dialog: Dialog,
    ) -> Self {
        Self {
            package,
            event_id,
            presentity,
            dialog,
            deadline: None,
            version: 0,
            expires_at: Timestamp::EPOCH,
            ending: None,
            owed: false,
            due_at: None,
            not_before: Timestamp::EPOCH,
            told: None,
            listed: Vec::new(),
            flight: None,
            lost: 0,
        }
    }

    /// A SUBSCRIBE was taken: full state goes out at once, whatever was told before.
    pub(super) fn subscribed(&mut self, now: Timestamp, expires_s: u32) {
        self.owed = true;
        self.due_at = Some(now);
        self.expires_at = now.after_s(expires_s);
        self.ending = (expires_s == 0).then_some(Reason::Timeout);
    }

    /// The subscription ends, with a last NOTIFY.
    pub(super) fn end(&mut self, now: Timestamp, reason: Reason) {
        if self.ending.is_none() {
            self.ending = Some(reason);
            self.owed = true;
            self.due_at = Some(now);
        }
    }

    /// It has ended, and only its last NOTIFY is left.
    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// A NOTIFY awaits its answer.
    pub(super) const fn is_in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// The presentity's document is this now.
    pub(super) fn changed(&mut self, now: Timestamp, essence: &Arc<[u8]>) {
        if self.told.as_ref() != Some(essence) && self.flight.is_none() {
            let at = now.max(self.not_before);
            self.due_at = Some(self.due_at.map_or(at, |due_at| due_at.min(at)));
        }
    }

    /// The network says that what is in flight cannot arrive.
    pub(super) fn handle_transport_error(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.transaction.handle_transport_error();
        }
    }

    /// The NOTIFY in flight was answered.
    pub(super) fn handle_response(&mut self, now: Timestamp, status: u16) {
        if let Some(flight) = &mut self.flight {
            flight.transaction.handle(now, status);
        }
    }

    /// Fires what is due. `essence` is the presentity's document now. Call it again until it says to wait.
    pub(super) fn step(&mut self, now: Timestamp, essence: &Arc<[u8]>) -> Step {
        if self.ending.is_none() && self.expires_at <= now {
            self.end(now, Reason::Timeout);
        }
        if let Some(flight) = &mut self.flight {
            if flight.transaction.poll_timeout().is_some_and(|at| at <= now) {
                flight.transaction.handle_timeout(now);
            }
            if let Some(bytes) = flight.transaction.poll_transmit() {
                return Step::Transmit(bytes.to_vec());
            }
            return match flight.transaction.poll_event() {
                None | Some(TransactionEvent::Provisional(_)) => Step::Wait,
                Some(TransactionEvent::Final(status)) => self.answered(now, Some(status), essence),
                Some(TransactionEvent::TimedOut | TransactionEvent::TransportFailed) => {
                    self.answered(now, None, essence)
                }
            };
        }
        if self.due_at.is_none_or(|at| at > now) {
            return Step::Wait;
        }
        self.due_at = None;
        if self.owed || self.told.as_ref() != Some(essence) { Step::Notify } else { Step::Wait }
    }

    /// The NOTIFY in flight is done with. RFC 5057 section 5.1 has the statuses that end a subscription.
    fn answered(&mut self, now: Timestamp, status: Option<u16>, essence: &Arc<[u8]>) -> Step {
        let Some(flight) = self.flight.take() else { return Step::Wait };
        match status {
            _ if flight.last => return Step::Over,
            Some(404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604) => return Step::Over,
            Some(200..=299) => {
                self.lost = 0;
                self.told = Some(flight.essence);
                self.listed = flight.listed;
                if self.owed {
                    self.due_at = Some(now);
                } else {
                    self.changed(now, essence);
                }
            }
            _ => {
                self.lost += 1;
                if self.lost > TOLERATED {
                    return Step::Over;
                }
                // Nobody knows what the watcher was told.
                let changed = flight.essence != *essence;
                self.told = None;
                self.due_at = Some(if self.owed || changed { now } else { now.after(RETRY) });
            }
        }
        self.step(now, essence)
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let expires_at = self.ending.is_none().then_some(self.expires_at);
        let next = match &self.flight {
            Some(flight) => flight.transaction.poll_timeout(),
            None => self.due_at,
        };
        expires_at.into_iter().chain(next).min()
    }

    /// The dialogs that the next document lists as over unless they are live.
    pub(super) fn listed(&self) -> &[DialogElement] {
        &self.listed
    }

    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    /// Writes the NOTIFY that is due.
    pub(super) fn notify(
        &mut self,
        now: Timestamp,
        branch: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, WriteError> {
        let dialog = &mut self.dialog;
        dialog.local_cseq = dialog.local_cseq.wrapping_add(1) & 0x7fff_ffff;
        let (hop, package) = (dialog.hop, self.package);
        let event = match &self.event_id {
            Some(id) => format!("{};id={id}", package.name()),
            None => package.name().to_owned(),
        };
        let state = match self.ending {
            Some(reason) => format!("terminated;reason={}", reason.name()),
            // Rounded down, it would end before its time for whoever counts from here.
            None => format!("active;expires={}", self.expires_at.since(now).as_millis().div_ceil(1_000)),
        };
        let (target, route) = dialog.path();
        let mut headers = vec![
            via(hop.transport.via_name(), hop.local, branch),
            Header::MaxForwards("70".to_owned().into()),
        ];
        headers.extend(route.into_iter().map(|route| header("Route", route)));
        headers.extend([
            Header::From(dialog.local.clone().into()),
            Header::To(dialog.remote.clone().into()),
            Header::CallId(dialog.call_id.clone().into()),
            Header::CSeq(format!("{} NOTIFY", dialog.local_cseq).into()),
            Header::Contact(contact(hop).into()),
            Header::Event(event.into()),
            header("Subscription-State", state),
            Header::ContentType(package.content_type().to_owned().into()),
        ]);
        write::request(RequestMethod::Notify, &target, headers, body)
    }

    /// The NOTIFY is on its way.
    pub(super) fn sent(
        &mut self,
        now: Timestamp,
        transaction: ClientTransaction,
        essence: Arc<[u8]>,
        live: &[DialogElement],
        interval: Duration,
    ) {
        for dialog in live {
            match self.listed.iter_mut().find(|listed| listed.id == dialog.id) {
                Some(listed) => *listed = dialog.clone(),
                None => self.listed.push(dialog.clone()),
            }
        }
        let last = self.ending.is_some();
        self.flight = Some(Flight { transaction, essence, listed: live.to_vec(), last });
        self.version = self.version.wrapping_add(1);
        self.owed = false;
        self.not_before = now.after(interval);
    }
}

impl Dialog {
    /// Request-URI and Route (RFC 3261 section 12.2.1.1): a strict router's URI goes into the request line, and the
    /// target to the end of the route.
    fn path(&self) -> (String, Vec<String>) {
        let strict = self.route.first().and_then(|first| {
            let uri = crate::sip::NameAddr::parse(first.as_bytes())?.uri;
            let loose = crate::sip::Uri::parse(uri)?.params.get(b"lr").is_some();
            (!loose).then(|| String::from_utf8_lossy(uri).into_owned())
        });
        match strict {
            Some(first) => {
                let rest = self.route.iter().skip(1).cloned();
                (first, rest.chain([format!("<{}>", self.target)]).collect())
            }
            None => (self.target.clone(), self.route.clone()),
        }
    }
}

/// Where we are reached over this hop.
pub(super) fn contact(hop: Hop) -> String {
    format!("<sip:{};transport={}>", hop.local, hop.transport)
}
