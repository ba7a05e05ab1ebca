//! All subscriptions.
//! In: SUBSCRIBE requests, changes of presentities, answers to NOTIFY, time. Out: answers, NOTIFY requests. Knows nothing
//! of publications, sockets.
//! RFC 6665, with the packages of RFC 3856 and RFC 4235. A SUBSCRIBE is answered 200, never 202 (section 8.3.1), and a
//! NOTIFY goes where the SUBSCRIBE came from: through the NAT that it came through, over its connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::names::Names;
use super::presentities::Presentities;
use super::request::{Answer, Expiry, accepted, package, presentity};
use super::subscription::{Dialog, Reason, Step, Subscription, contact};
use crate::base::{Deadlines, Hop, Limits, Timestamp, Transmit, Transport};
use crate::presence::EventPackage;
use crate::presence::dialog_info::DialogInfoOptions;
use crate::sip::server_transaction::response_hop;
use crate::sip::transaction::{ClientTransaction, Reliability};
use crate::sip::write::unfolded;
use crate::sip::{Aor, HeaderName, Method, Scheme, SipMessage, Uri};

/// What one watcher's subscription is called before it has a dialog: Call-ID, the watcher's tag, whom it watches, package,
/// `id`.
type Asked = (String, String, Aor, EventPackage, Option<String>);

/// Seconds after which somebody who found no room may ask again.
pub(super) const RETRY_AFTER_S: u32 = 60;

/// A NOTIFY that awaits its answer: its branch, and where it went.
struct Flight {
    branch: Vec<u8>,
    hop: Hop,
}

pub(super) struct Notifier {
    table: BTreeMap<u64, Subscription>,
    numbers: u64,
    /// By our tag in their dialogs.
    dialogs: BTreeMap<String, u64>,
    asked: BTreeMap<Asked, u64>,
    /// By the branch of the NOTIFY in flight.
    branches: BTreeMap<Vec<u8>, u64>,
    flights: BTreeMap<u64, Flight>,
    /// Where to those NOTIFYs are in flight.
    ways: BTreeSet<(Transport, SocketAddr, u64)>,
    deadlines: Deadlines<u64>,
    most: usize,
    most_bytes: usize,
    interval: Duration,
    documents: DialogInfoOptions,
    notifies: u64,
    given_up: u64,
}

impl Notifier {
    pub(super) const fn new(limits: &Limits, interval: Duration, documents: DialogInfoOptions) -> Self {
        Self {
            table: BTreeMap::new(),
            numbers: 0,
            dialogs: BTreeMap::new(),
            asked: BTreeMap::new(),
            branches: BTreeMap::new(),
            flights: BTreeMap::new(),
            ways: BTreeSet::new(),
            deadlines: Deadlines::new(),
            most: limits.subscriptions,
            most_bytes: limits.subscription_bytes,
            interval,
            documents,
            notifies: 0,
            given_up: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn notifies(&self) -> u64 {
        self.notifies
    }

    pub(super) const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Takes a SUBSCRIBE. The NOTIFY that follows it comes out of [`Self::handle_timeout`].
    pub(super) fn subscribe(
        &mut self,
        now: Timestamp,
        hop: Hop,
        request: &SipMessage<'_>,
        expiry: Expiry,
        presentities: &mut Presentities,
        names: &mut Names,
    ) -> Result<Answer, Answer> {
        let aor = presentity(request.request_uri().unwrap_or_default());
        let package = package(request)?;
        accepted(request, package)?;
        if kept_bytes(request) > self.most_bytes {
            return Err(Answer::new(513));
        }
        let expires_s = expiry.granted(request)?;
        let number = match request.to_tag() {
            Some(tag) => self.refreshed(hop, request, package, tag)?,
            None => self.begun(now, hop, request, (aor?, package), presentities, names)?,
        };
        let Some(subscription) = self.table.get_mut(&number) else { return Err(Answer::new(481)) };
        subscription.subscribed(now, expires_s);
        let answer = Answer::new(200).with("Expires", expires_s.to_string()).with("Contact", contact(hop));
        let answer = Answer { to_tag: Some(subscription.dialog.local_tag.clone()), ..answer };
        self.settle(number);
        Ok(answer)
    }

    /// A SUBSCRIBE in the dialog of a subscription.
    fn refreshed(
        &mut self,
        hop: Hop,
        request: &SipMessage<'_>,
        package: EventPackage,
        tag: &[u8],
    ) -> Result<u64, Answer> {
        let unknown = || Answer::new(481);
        let number = *self.dialogs.get(&*String::from_utf8_lossy(tag)).ok_or_else(unknown)?;
        let subscription = self.table.get_mut(&number).ok_or_else(unknown)?;
        let dialog = &subscription.dialog;
        let its_own = dialog.call_id.as_bytes() == request.call_id()
            && Some(dialog.remote_tag.as_bytes()) == request.from_tag()
            && subscription.package == package
            && subscription.event_id == event_id(request);
        if !its_own || subscription.is_ending() {
            return Err(unknown());
        }
        let dialog = &mut subscription.dialog;
        if request.cseq().number <= dialog.remote_cseq {
            return Err(Answer::new(500).because("The CSeq did not rise."));
        }
        if request.header(HeaderName::Contact).is_some() {
            dialog.target = target(request)?;
        }
        dialog.remote_cseq = request.cseq().number;
        dialog.hop = notify_hop(request, hop);
        Ok(number)
    }

    /// A SUBSCRIBE that makes a dialog.
    fn begun(
        &mut self,
        now: Timestamp,
        hop: Hop,
        request: &SipMessage<'_>,
        (aor, package): (Aor, EventPackage),
        presentities: &mut Presentities,
        names: &mut Names,
    ) -> Result<u64, Answer> {
        let target = target(request)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let remote_tag = text(request.from_tag().unwrap_or_default());
        let asked = (text(request.call_id()), remote_tag.clone(), aor.clone(), package, event_id(request));
        if let Some(&before) = self.asked.get(&asked) {
            let same = |known: &Subscription| known.dialog.remote_cseq == request.cseq().number;
            if self.table.get(&before).is_some_and(same) {
                // One request over two ways (RFC 3261 section 8.2.2.2).
                return Err(Answer::new(482));
            }
            // The watcher knows nothing of the dialog that it had.
            self.remove(now, before, presentities);
        }
        let full = || Answer::new(503).with("Retry-After", RETRY_AFTER_S.to_string());
        if self.table.len() >= self.most {
            return Err(full());
        }
        self.numbers += 1;
        let number = self.numbers;
        let presentity = presentities.watch(now, &aor, number).map_err(|_| full())?;
        let local_tag = names.next("tag");
        let dialog = Dialog {
            call_id: text(request.call_id()),
            local: format!(
                "{};tag={local_tag}",
                unfolded(request.header(HeaderName::To).unwrap_or_default())
            ),
            remote: unfolded(request.header(HeaderName::From).unwrap_or_default()),
            local_tag: local_tag.clone(),
            remote_tag,
            target,
            route: request.values(HeaderName::RecordRoute).map(unfolded).collect(),
            local_cseq: 0,
            remote_cseq: request.cseq().number,
            hop: notify_hop(request, hop),
        };
        self.table.insert(number, Subscription::new(package, event_id(request), presentity, dialog));
        self.dialogs.insert(local_tag, number);
        self.asked.insert(asked, number);
        Ok(number)
    }

    /// The documents of a presentity changed.
    pub(super) fn changed(&mut self, now: Timestamp, key: u64, presentities: &Presentities) {
        let Some(presentity) = presentities.get(key) else { return };
        for number in presentity.watchers() {
            if let Some(subscription) = self.table.get_mut(&number) {
                subscription.changed(now, presentity.essence(subscription.package));
                self.settle(number);
            }
        }
    }

    /// A response came.
    pub(super) fn handle_response(&mut self, now: Timestamp, response: &SipMessage<'_>, status: u16) {
        let notify = response.cseq().method == Method::Notify;
        if let Some(&number) = self.branches.get(response.top_branch()).filter(|_| notify)
            && let Some(subscription) = self.table.get_mut(&number)
        {
            subscription.handle_response(now, status);
            self.touch(now, number);
        }
    }

    /// Nothing arrives there.
    pub(super) fn handle_transport_error(&mut self, now: Timestamp, hop: Hop) {
        let way = |number| (hop.transport, hop.remote, number);
        let there: Vec<u64> = self.ways.range(way(0)..=way(u64::MAX)).map(|(_, _, number)| *number).collect();
        for number in there {
            if let Some(subscription) = self.table.get_mut(&number) {
                subscription.handle_transport_error();
                self.touch(now, number);
            }
        }
    }

    /// All subscriptions end; whoever is told so may subscribe again at once.
    pub(super) fn stop(&mut self, now: Timestamp) {
        let numbers: Vec<u64> = self.table.keys().copied().collect();
        for number in numbers {
            if let Some(subscription) = self.table.get_mut(&number) {
                subscription.end(now, Reason::Deactivated);
                self.settle(number);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Fires what is due.
    pub(super) fn handle_timeout(
        &mut self,
        now: Timestamp,
        presentities: &mut Presentities,
        names: &mut Names,
        transmits: &mut VecDeque<Transmit>,
    ) {
        while let Some((_, number)) = self.deadlines.pop_due(now) {
            if let Some(subscription) = self.table.get_mut(&number) {
                subscription.deadline = None;
            }
            self.advance(now, number, presentities, names, transmits);
            self.settle(number);
        }
    }

    /// Does what a subscription has to do now.
    fn advance(
        &mut self,
        now: Timestamp,
        number: u64,
        presentities: &mut Presentities,
        names: &mut Names,
        transmits: &mut VecDeque<Transmit>,
    ) {
        loop {
            let Some(subscription) = self.table.get_mut(&number) else { return };
            let Some(presentity) = presentities.get(subscription.presentity) else {
                return self.remove(now, number, presentities);
            };
            let essence = presentity.essence(subscription.package);
            match subscription.step(now, essence) {
                Step::Wait => break,
                Step::Transmit(bytes) => {
                    // The watcher may be reached elsewhere by now; this request has its Via and goes its way.
                    let hop = self.flights.get(&number).map_or(subscription.dialog.hop, |flight| flight.hop);
                    transmits.push_back(Transmit { hop, bytes });
                }
                Step::Over => {
                    self.given_up += u64::from(!subscription.is_ending());
                    return self.remove(now, number, presentities);
                }
                Step::Notify => {
                    let package = subscription.package;
                    let body = presentity.body(
                        package,
                        subscription.listed(),
                        subscription.version(),
                        self.documents,
                    );
                    // RFC 3261 section 8.1.1.7: the magic cookie.
                    let branch = format!("z9hG4bK{}", names.next("branch"));
                    let Ok(request) = subscription.notify(now, &branch, &body) else {
                        return self.remove(now, number, presentities);
                    };
                    let reliable = subscription.dialog.hop.transport.is_reliable();
                    let reliability = if reliable { Reliability::Reliable } else { Reliability::Unreliable };
                    let transaction =
                        ClientTransaction::new(now, branch.as_bytes(), Method::Notify, request, reliability);
                    let live = presentity.dialogs(package, self.documents.dialogs_per_document);
                    let hop = subscription.dialog.hop;
                    subscription.sent(now, transaction, essence.clone(), live, self.interval);
                    self.notifies += 1;
                    self.landed(number);
                    let branch = branch.into_bytes();
                    self.branches.insert(branch.clone(), number);
                    self.ways.insert((hop.transport, hop.remote, number));
                    self.flights.insert(number, Flight { branch, hop });
                }
            }
        }
        if self.table.get(&number).is_some_and(|subscription| !subscription.is_in_flight()) {
            self.landed(number);
        }
    }

    /// Its NOTIFY awaits no answer any more.
    fn landed(&mut self, number: u64) {
        if let Some(Flight { branch, hop }) = self.flights.remove(&number) {
            self.branches.remove(&branch);
            self.ways.remove(&(hop.transport, hop.remote, number));
        }
    }

    /// It has something to do at once.
    fn touch(&mut self, now: Timestamp, number: u64) {
        if let Some(subscription) = self.table.get_mut(&number) {
            self.deadlines.set(&mut subscription.deadline, number, Some(now));
        }
    }

    fn settle(&mut self, number: u64) {
        if let Some(subscription) = self.table.get_mut(&number) {
            let at = subscription.poll_timeout();
            self.deadlines.set(&mut subscription.deadline, number, at);
        }
    }

    fn remove(&mut self, now: Timestamp, number: u64, presentities: &mut Presentities) {
        self.landed(number);
        let Some(mut gone) = self.table.remove(&number) else { return };
        self.deadlines.set(&mut gone.deadline, number, None);
        let Dialog { call_id, local_tag, remote_tag, .. } = gone.dialog;
        self.dialogs.remove(&local_tag);
        if let Some(presentity) = presentities.get(gone.presentity) {
            let asked = (call_id, remote_tag, presentity.aor.clone(), gone.package, gone.event_id);
            if self.asked.get(&asked) == Some(&number) {
                self.asked.remove(&asked);
            }
        }
        presentities.unwatch(now, gone.presentity, number);
    }
}

/// The `id` of Event, which tells several subscriptions of one watcher apart.
fn event_id(request: &SipMessage<'_>) -> Option<String> {
    request.event_id().map(|id| String::from_utf8_lossy(id).into_owned())
}

/// Bytes of the request that are kept for as long as it is subscribed.
fn kept_bytes(request: &SipMessage<'_>) -> usize {
    let fields =
        [HeaderName::CallId, HeaderName::From, HeaderName::To, HeaderName::Contact, HeaderName::Event];
    let fields = fields.into_iter().filter_map(|name| request.header(name)).map(<[u8]>::len).sum::<usize>();
    let route = request.values(HeaderName::RecordRoute).map(<[u8]>::len).sum::<usize>();
    fields + route + request.request_uri().unwrap_or_default().len()
}

/// The watcher's Contact: one sip or sips URI.
fn target(request: &SipMessage<'_>) -> Result<String, Answer> {
    let contact = request.contacts().next().filter(|contact| !contact.star);
    let uri = contact.map(|contact| contact.addr.uri).unwrap_or_default();
    match Uri::parse(uri).map(|uri| uri.scheme) {
        Some(Scheme::Sip | Scheme::Sips) => Ok(String::from_utf8_lossy(uri).into_owned()),
        _ => Err(Answer::new(400).because("Contact is not a SIP URI.")),
    }
}

/// Where NOTIFY goes: back where the SUBSCRIBE came from. Over UDP without `rport` the sender listens at its Contact's
/// port, if that is an address and no proxy is between, else at its Via's.
fn notify_hop(request: &SipMessage<'_>, hop: Hop) -> Hop {
    let back = response_hop(request, hop);
    let direct = request.via_count() == 1 && request.header(HeaderName::RecordRoute).is_none();
    if hop.transport.is_reliable() || request.top_via().asks_rport || !direct {
        return back;
    }
    let contact = request.contacts().next().and_then(|contact| Uri::parse(contact.addr.uri)?.address());
    match contact {
        Some(contact) => Hop { remote: SocketAddr::new(hop.remote.ip(), contact.port()), ..hop },
        None => back,
    }
}
