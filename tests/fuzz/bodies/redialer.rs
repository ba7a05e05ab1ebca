//! Registrations, calls and what phones answer, in any order, with jumps of time, blind spells, restarts and a stop anywhere:
//! nobody is asked twice for one wish, nor who is in a call or not registered, nor more often than may be; nothing is told of a
//! wish that is over; what the store keeps is what is open; no deadline lies in the past.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use offhook::base::{
    Blindness, CaptureChange, CaptureEvent, Flow, FrameCounts, FrameId, HeardTransport, Limits, Timestamp,
};
use offhook::identity::Attributed;
use offhook::redial::{
    AskEnd, AskEvent, AskId, AskOrder, KeptWish, Manner, Outcome, RedialOptions, RedialTold, Redialer, Step,
    Until, WayWanted, WishRecord,
};
use offhook::sip::Aor;
use offhook::track::{
    Binding, BindingEvent, BindingFact, Confidence, DialogFact, DialogState, EndDescription, EndId,
    EndReason, Engagement, Evidence, Fact, Observation, RegistrationId, Rule, Side,
};

use super::input::{Input, Reached};

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "wished",
    "renewed",
    "back",
    "gone",
    "waits",
    "caller",
    "caller-registration",
    "callee",
    "turn",
    "rate",
    "asked",
    "ringing",
    "picked-up",
    "accepted",
    "progress",
    "dialled",
    "talked",
    "refused",
    "not-picked-up",
    "silent",
    "undeliverable",
    "failed-again",
    "expired",
    "withdrawn-reached",
    "withdrawn-code",
    "evicted",
    "recalled after a REFER",
    "probed",
    "a probe was answered",
    "withdrawn",
    "table full",
    "restored",
    "stopped",
    "dry run",
];

const START: Timestamp = Timestamp::from_secs(100_000);
const MOST_STEPS: usize = 120;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const WAITS_MS: [u64; 8] = [1, 1_000, 2_000, 10_000, 60_000, 300_000, 3_600_000, 100_000_000];
const STATUSES: [u16; 8] = [480, 486, 404, 408, 603, 503, 600, 487];
const CODE: &str = "sip:*87@example.com";

struct End {
    user: u8,
    engaged: bool,
    /// Only the To says whose it is.
    weak: bool,
    /// It may be the phone that redial itself rings.
    perhaps_ours: bool,
}

/// A calling end and a called one, on one Call-ID.
struct Call {
    number: u64,
    callers: u8,
    callees: u8,
    dialled: bool,
    expires_s: Option<u32>,
}

struct Wish {
    caller: Aor,
    callee: Aor,
    asked: Vec<Manner>,
}

struct World {
    redialer: Redialer,
    options: RedialOptions,
    limits: Limits,
    /// Some table may be full.
    is_tight: bool,
    now: Timestamp,
    sequence: u64,
    /// The newest last.
    bindings: [Vec<u8>; 4],
    registered_once: [bool; 4],
    /// It answered a probe: it counts as there until then.
    there_until: [Option<Timestamp>; 4],
    calls: Vec<Call>,
    ends: BTreeMap<EndId, End>,
    wishes: BTreeMap<u64, Wish>,
    last_wish: u64,
    /// All that the store was given, and what that comes to.
    records: Vec<WishRecord>,
    kept: BTreeMap<u64, KeptWish>,
    orders: Vec<AskOrder>,
    /// Those that have not ended.
    running: BTreeMap<AskId, AskOrder>,
    withdrawn: BTreeSet<AskId>,
    asked_at: VecDeque<(Timestamp, Aor)>,
    /// When somebody was asked last for a callee, and for which wish.
    turns: BTreeMap<Aor, (Timestamp, u64)>,
    told_at: Timestamp,
    stopped: bool,
    /// Of this run.
    wished: u64,
    asked: u64,
    closed: u64,
    reached: Reached,
}

fn aor(user: u8) -> Aor {
    let Some(aor) = Aor::from_uri(format!("sip:user{user}@example.com").as_bytes()) else { panic!("an AOR") };
    aor
}

fn number(aor: &Aor) -> usize {
    let Some(number) = (0..4).find(|user| *aor == self::aor(*user)) else { panic!("{aor:?} is nobody") };
    usize::from(number)
}

fn contact(user: u8, binding: u8) -> String {
    format!("sip:user{user}@192.0.2.{}", 10 + user * 4 + binding)
}

impl World {
    fn new(choices: [u8; 3]) -> Self {
        let bit = |byte: usize, bit: u8| choices[byte] >> bit & 1 == 1;
        let two = |byte: usize, bit: u8| usize::from(choices[byte] >> bit & 3);
        let options = RedialOptions {
            dry_run: bit(0, 0),
            way: [WayWanted::Auto, WayWanted::Auto, WayWanted::Refer, WayWanted::Recall][two(0, 1)],
            until: if bit(0, 3) { Until::Refer } else { Until::Talking },
            busy: !bit(0, 4),
            domains: if bit(0, 5) { vec!["example.com".to_owned()] } else { Vec::new() },
            probe_s: [0, 60, 600, 30][two(0, 6)],
            per_minute: [60, 1, 2, 5][two(1, 0)],
            per_caller_per_h: [20, 1, 2, 3][two(1, 2)],
            spacing_s: [10, 0, 60, 1][two(1, 4)],
            most_wishes: [10_000, 1, 2, 3][two(1, 6)],
            deny: if bit(2, 2) { vec![aor(3).as_str().to_owned()] } else { Vec::new() },
            allow: if bit(2, 3) { vec!["sip:user0@*".to_owned()] } else { Vec::new() },
            watch_s: [3_600, 60, 86_400, 600][two(2, 4)],
            after_busy_s: if bit(2, 6) { 0 } else { 2 },
            cancel_codes: vec![CODE.to_owned()],
            ..RedialOptions::default()
        };
        let limits = Limits {
            presentities: if bit(2, 0) { 2 } else { 100 },
            calls: if bit(2, 1) { 1 } else { 1_000 },
            ..Limits::default()
        };
        let mut world = Self {
            redialer: Redialer::new(options.clone(), &limits),
            options,
            is_tight: limits.presentities == 2 || limits.calls == 1,
            limits,
            now: START,
            sequence: 0,
            bindings: [const { Vec::new() }; 4],
            registered_once: [false; 4],
            there_until: [None; 4],
            calls: Vec::new(),
            ends: BTreeMap::new(),
            wishes: BTreeMap::new(),
            last_wish: 0,
            records: Vec::new(),
            kept: BTreeMap::new(),
            orders: Vec::new(),
            running: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            asked_at: VecDeque::new(),
            turns: BTreeMap::new(),
            told_at: START,
            stopped: false,
            wished: 0,
            asked: 0,
            closed: 0,
            reached: Reached::default(),
        };
        world.reached.note_if(world.options.dry_run, "dry run");
        world.happens(CaptureChange::Began);
        world
    }

    /// Takes what the list of wishes has to say.
    fn drain(&mut self) {
        let mut asked = VecDeque::new();
        while let Some(told) = self.redialer.poll_told() {
            assert!(self.told_at <= told.at && told.at <= self.now, "told out of time");
            self.told_at = told.at;
            assert_eq!(told.dry_run, self.options.dry_run);
            self.told(&told, &mut asked);
        }
        while let Some(record) = self.redialer.poll_record() {
            self.records.push(record.clone());
            match record {
                WishRecord::Kept(wish) => drop(self.kept.insert(wish.wish, wish)),
                WishRecord::Gone { wish } => {
                    assert!(self.kept.remove(&wish).is_some(), "{wish} was not kept")
                }
            }
        }
        while let Some(order) = self.redialer.poll_order() {
            self.ordered(order, &mut asked);
        }
        assert!(asked.is_empty() || self.options.dry_run, "who is asked is not ordered");
        while let Some(id) = self.redialer.poll_withdrawal() {
            self.reached.note("withdrawn");
            assert!(self.running.contains_key(&id), "{id:?} is not under way");
            assert!(self.withdrawn.insert(id), "{id:?} is given up twice");
        }
        assert!(self.redialer.poll_timeout().is_none_or(|at| at >= self.now), "a deadline in the past");
        self.counted();
    }

    fn counted(&mut self) {
        let open: Vec<_> = self.wishes.keys().collect();
        assert_eq!(open, self.kept.keys().collect::<Vec<_>>(), "the store keeps other wishes");
        assert!(open.len() <= self.options.most_wishes, "{} wishes", open.len());
        let counters = self.redialer.counters();
        assert_eq!(counters.open, open.len() as u64);
        assert_eq!((counters.wished, counters.asked), (self.wished, self.asked));
        assert_eq!(counters.outcomes.iter().map(|(_, count)| count).sum::<u64>(), self.closed);
        // Nobody is taken to be in more calls at once than this.
        self.is_tight |= self.ends.len() > 32;
        assert!(self.is_tight || counters.table_full == 0, "a table is full of a few calls of four phones");
        self.reached.note_if(counters.table_full > 0, "table full");
    }

    /// A step of a wish; who is asked goes into `asked`.
    fn told(&mut self, told: &RedialTold, asked: &mut VecDeque<(Aor, Aor, Manner)>) {
        let pair = (&told.caller, &told.callee);
        self.reached.note(match told.step {
            Step::Closed(outcome) => outcome.name(),
            step => step.name(),
        });
        if let Step::Wished(_) = told.step {
            assert!(told.wish > self.last_wish, "{} was used before", told.wish);
            assert_ne!(told.caller, told.callee);
            assert!(self.wishes.values().all(|wish| (&wish.caller, &wish.callee) != pair), "two of one pair");
            let denied = [&told.caller, &told.callee].into_iter().any(|aor| self.is_denied(aor));
            assert!(!denied && (self.options.allow.is_empty() || told.caller == aor(0)), "{pair:?} may not");
            assert!(self.registered_once[number(&told.caller)], "a stranger's wish");
            self.last_wish = told.wish;
            self.wished += 1;
            let (caller, callee) = (told.caller.clone(), told.callee.clone());
            self.wishes.insert(told.wish, Wish { caller, callee, asked: Vec::new() });
        }
        let Some(wish) = self.wishes.get_mut(&told.wish) else {
            panic!("{:?} of a wish that is over", told.step)
        };
        assert_eq!(pair, (&wish.caller, &wish.callee));
        match told.step {
            Step::Asked(manner) => {
                self.reached.note_if(wish.asked == [Manner::Refer], "recalled after a REFER");
                wish.asked.push(manner);
                assert!(
                    matches!(
                        &wish.asked[..],
                        [Manner::Refer | Manner::Recall] | [Manner::Refer, Manner::Recall]
                    ),
                    "asked by {:?}",
                    wish.asked
                );
                self.asked += 1;
                self.may_be_asked(told);
                asked.push_back((told.caller.clone(), told.callee.clone(), manner));
            }
            Step::Waits(what) => self.reached.note(what.name()),
            Step::Closed(outcome) => {
                let was_asked = !wish.asked.is_empty();
                let needs = matches!(outcome, Outcome::Talked | Outcome::Asked | Outcome::Silent);
                assert!(was_asked || !needs, "{outcome:?}, and nobody was asked");
                self.closed += 1;
                self.wishes.remove(&told.wish);
            }
            _ => assert!(told.until >= told.at, "its time is over"),
        }
    }

    fn is_denied(&self, aor: &Aor) -> bool {
        self.options.deny.iter().any(|denied| denied == aor.as_str())
    }

    fn is_there(&self, aor: &Aor, at: Timestamp) -> bool {
        let user = number(aor);
        !self.bindings[user].is_empty() || self.there_until[user].is_some_and(|until| until > at)
    }

    fn is_engaged(&self, aor: &Aor) -> bool {
        let mut ends = self.ends.values().filter(|end| usize::from(end.user) == number(aor));
        ends.any(|end| end.engaged && !end.weak && !end.perhaps_ours)
    }

    /// All that it was told speaks for asking this caller now.
    fn may_be_asked(&mut self, told: &RedialTold) {
        let (caller, callee, at) = (&told.caller, &told.callee, told.at);
        assert!(!self.stopped, "asked after the end");
        assert!(self.is_there(caller, at), "{caller:?} is not registered");
        // What found a full table it does not know.
        if self.redialer.counters().table_full == 0 {
            assert!(!self.is_engaged(caller), "{caller:?} is in a call");
            assert!(!self.is_engaged(callee), "{callee:?} is in a call");
            let has_left = self.registered_once[number(callee)] && !self.is_there(callee, at);
            assert!(!has_left, "{callee:?} is not registered");
        }
        let its_own = |order: &&AskOrder| order.phone == *caller && order.manner != Manner::Probe;
        assert!(self.running.values().find(its_own).is_none(), "{caller:?} is being asked already");
        while self.asked_at.front().is_some_and(|(before, _)| at.since(*before) >= HOUR) {
            self.asked_at.pop_front();
        }
        self.asked_at.push_back((at, caller.clone()));
        let of_caller = self.asked_at.iter().filter(|(_, asked)| asked == caller).count();
        let in_minute = self.asked_at.iter().filter(|(before, _)| at.since(*before) < MINUTE).count();
        assert!(of_caller <= self.options.per_caller_per_h as usize, "{of_caller} times in an hour");
        assert!(in_minute <= self.options.per_minute as usize, "{in_minute} times in a minute");
        if let Some((before, wish)) = self.turns.insert(callee.clone(), (at, told.wish)) {
            let spacing = Duration::from_secs(u64::from(self.options.spacing_s));
            assert!(wish == told.wish || at.since(before) >= spacing, "it was another's turn");
        }
    }

    fn ordered(&mut self, order: AskOrder, asked: &mut VecDeque<(Aor, Aor, Manner)>) {
        assert!(!self.options.dry_run && !self.stopped, "nobody is to be asked");
        if order.manner == Manner::Probe {
            self.reached.note("probed");
            assert!(self.options.probe_s > 0 && order.phone == order.callee);
            assert!(self.running.values().all(|running| running.phone != order.phone), "it is busy with us");
        } else {
            let told = asked.pop_front();
            assert_eq!(told, Some((order.phone.clone(), order.callee.clone(), order.manner)));
        }
        let user = number(&order.phone);
        if let Some(newest) = self.bindings[user].last().filter(|_| self.limits.presentities > 2) {
            assert_eq!(order.contact.as_deref(), Some(&*contact(user as u8, *newest)));
        }
        assert!(self.running.insert(order.id, order.clone()).is_none(), "{:?} was used before", order.id);
        self.orders.push(order);
    }

    /// All that was due before it comes first: it knows nothing of this yet.
    fn observed(
        &mut self,
        user: u8,
        (rule, call_id): (Rule, &str),
        fact: Fact,
        weak: bool,
        withdrawn: bool,
    ) -> Attributed {
        self.redialer.handle_timeout(self.now);
        self.drain();
        self.sequence += 1;
        let evidence = Evidence { rule, frame: FrameId::new(0, self.sequence), call_id: call_id.into() };
        Attributed {
            aor: aor(user),
            registration: None,
            observation: Observation { sequence: self.sequence, at: self.now, evidence, fact },
            seen_at: self.now,
            contact: None,
            weak,
            given: false,
            withdrawn,
        }
    }

    fn hear(&mut self, attributed: &Attributed) {
        let asked = self.asked;
        self.redialer.handle(attributed);
        self.drain();
        assert_eq!(asked, self.asked, "asked before the frame was over");
    }

    /// Somebody registers, or is registered no more.
    fn register(&mut self, user: u8, how: u8) {
        let (user, which) = (user & 3, how & 3);
        let goes = how & 4 != 0;
        let address = SocketAddr::from(([192, 0, 2, user], 5060)).into();
        let agents = [None, Some("Phone A"), Some("Phone B"), Some("Phone A")];
        let binding = Binding {
            id: u64::from(user * 4 + which),
            aor: aor(user),
            registration: RegistrationId(u32::from(user)),
            contact: contact(user, which).into(),
            flow: Some(Flow { address, transport: HeardTransport::Udp }),
            registrar: address,
            aliases: Vec::new(),
            auth: None,
            user_agent: agents[usize::from(how >> 3 & 3)].map(Arc::from),
        };
        let expires_at = self.now.after_s([60, 600, 3_600, 86_400][usize::from(how >> 5 & 3)]);
        let event = if goes { BindingEvent::Removed } else { BindingEvent::Registered { expires_at } };
        let rule = if goes { Rule::Unregister200 } else { Rule::Register200 };
        let fact = BindingFact { binding: Arc::new(binding), confidence: Confidence::Full, event };
        let attributed = self.observed(user, (rule, "register"), Fact::Binding(fact), false, false);
        let known = &mut self.bindings[usize::from(user)];
        known.retain(|known| *known != which);
        if !goes {
            known.push(which);
            self.registered_once[usize::from(user)] = true;
            self.there_until[usize::from(user)] = None;
        }
        self.hear(&attributed);
    }

    fn call(&mut self, who: u8, how: u8) {
        self.calls.push(Call {
            number: self.calls.len() as u64,
            callers: who & 3,
            callees: who >> 2 & 3,
            dialled: how & 12 == 12,
            expires_s: [None, Some(60), Some(900), Some(u32::MAX)][usize::from(how >> 4 & 3)],
        });
    }

    /// What became of one end of a call.
    fn end(&mut self, at: usize, side: Side, how: u8, status: u16) {
        let call = &self.calls[at];
        let caller = side == Side::Caller;
        let (mut user, peer) =
            if caller { (call.callers, call.callees) } else { (call.callees, call.callers) };
        // It is somebody else's.
        user = if how & 64 == 0 { user } else { (user + 1) & 3 };
        let (state, engagement) = match how & 7 {
            0 | 1 if caller => (DialogState::Trying, Engagement::Calling),
            0 => (DialogState::Trying, Engagement::None),
            1 | 2 => (DialogState::Early, if caller { Engagement::Calling } else { Engagement::Ringing }),
            3 | 4 => (DialogState::Confirmed, Engagement::Talking),
            5 => (DialogState::Confirmed, Engagement::Held),
            _ => (DialogState::Terminated, Engagement::None),
        };
        let is_over = state == DialogState::Terminated;
        let (weak, withdrawn) = (how & 8 != 0, how & 48 == 48 && !is_over);
        let ended = match how >> 4 & 3 {
            _ if !is_over => None,
            0 => Some(EndReason::Rejected),
            1 => Some(EndReason::Cancelled),
            2 => Some(EndReason::NoResponse),
            _ => Some(EndReason::Bye),
        };
        let call_id: Arc<str> = format!("call-{}", call.number).into();
        let about = EndDescription {
            call_id: Arc::clone(&call_id),
            peer: Some(aor(peer).as_str().into()),
            dialled: call.dialled.then(|| CODE.into()),
            expires_s: call.expires_s.filter(|_| caller),
            ..EndDescription::default()
        };
        let end = EndId(call.number * 2 + u64::from(caller));
        let fact = DialogFact {
            end,
            about: Arc::new(about),
            side,
            revoked_ends: 0,
            state,
            engagement,
            confirmed_at: None,
            ended,
            final_status: (ended == Some(EndReason::Rejected)).then_some(status),
            whole: true,
            confidence: Confidence::Full,
        };
        let attributed = self.observed(user, (Rule::Invite, &call_id), Fact::Dialog(fact), weak, withdrawn);
        if is_over || withdrawn {
            self.ends.remove(&end);
        } else {
            let rung = |order: &AskOrder| order.manner == Manner::Recall && order.phone == aor(user);
            let known = self.ends.get(&end).filter(|end| end.user == user);
            let perhaps_ours =
                known.map_or(!caller && self.running.values().any(rung), |end| end.perhaps_ours);
            self.ends.insert(end, End { user, engaged: engagement != Engagement::None, weak, perhaps_ours });
        }
        self.hear(&attributed);
    }

    /// A phone answers.
    fn answer(&mut self, at: usize, what: u8, status: u16) {
        let order = self.orders[at].clone();
        let event = match what & 15 {
            0 => AskEvent::Accepted { status: 202 },
            1 => AskEvent::Ringing,
            2 => AskEvent::PickedUp,
            3 => AskEvent::Progress { status: 180 },
            4 => AskEvent::Ended(AskEnd::Followed { status: Some(200) }),
            5 => AskEvent::Ended(AskEnd::Followed { status: Some(status) }),
            6 => AskEvent::Ended(AskEnd::Followed { status: None }),
            7 | 8 => AskEvent::Ended(AskEnd::Refused { status: if what & 16 == 0 { 405 } else { status } }),
            9 => AskEvent::Ended(AskEnd::Silent),
            10 => AskEvent::Ended(AskEnd::NotPickedUp { status: (what & 16 == 0).then_some(status) }),
            11 => AskEvent::Ended(AskEnd::HungUp),
            12 => AskEvent::Ended(AskEnd::Undeliverable),
            _ => AskEvent::Ended(AskEnd::There { status: 200 }),
        };
        // Whoever is probed cannot be asked for anything, and a probe is all that says who is there.
        let is_probe = order.manner == Manner::Probe;
        let fits = match event {
            AskEvent::Ended(AskEnd::There { .. }) => is_probe,
            AskEvent::Ended(AskEnd::Silent | AskEnd::Undeliverable) => true,
            _ => !is_probe,
        };
        if !fits {
            return;
        }
        self.redialer.handle_timeout(self.now);
        self.drain();
        if let AskEvent::Ended(end) = event
            && self.running.remove(&order.id).is_some()
        {
            self.withdrawn.remove(&order.id);
            if let AskEnd::There { .. } = end {
                let user = number(&order.phone);
                self.reached.note("a probe was answered");
                self.there_until[user] = Some(self.now.after_s(self.options.probe_s * 2));
            }
        }
        self.redialer.handle_ask(self.now, order.id, event);
        self.drain();
    }

    fn happens(&mut self, what: CaptureChange) {
        let interface = Arc::from("span0");
        let event = CaptureEvent { at: self.now, interface, what, counts: FrameCounts::default() };
        self.redialer.handle_timeout(self.now);
        self.drain();
        self.redialer.handle_capture(&event);
        self.drain();
    }

    fn flush(&mut self) {
        self.redialer.flush();
        self.drain();
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, until: Timestamp) {
        self.flush();
        let mut steps = 0;
        while let Some(at) = self.redialer.poll_timeout().filter(|&at| at <= until) {
            steps += 1;
            assert!(steps < 100_000, "timers without end");
            self.now = self.now.max(at);
            self.redialer.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.redialer.handle_timeout(until);
        self.drain();
    }

    /// All but what the store keeps is gone.
    fn restart(&mut self) {
        self.flush();
        self.redialer = Redialer::new(self.options.clone(), &self.limits);
        self.bindings = [const { Vec::new() }; 4];
        self.registered_once = [false; 4];
        self.there_until = [None; 4];
        self.calls.clear();
        self.ends.clear();
        self.orders.clear();
        self.running.clear();
        self.withdrawn.clear();
        self.asked_at.clear();
        self.turns.clear();
        (self.wished, self.asked, self.closed) = (0, 0, 0);
        self.stopped = false;
        self.reached.note_if(!self.kept.is_empty(), "restored");
        for (id, wish) in &mut self.wishes {
            // Who made the wish anew after the first asking may be asked anew.
            if self.kept.get(id).is_some_and(|kept| !kept.asked) {
                wish.asked.clear();
            }
        }
        self.redialer.restore(self.now, self.records.clone());
        self.drain();
        self.happens(CaptureChange::Began);
    }
}

/// Three bytes of choices, then steps.
pub fn target(data: &[u8]) -> Reached {
    let mut input = Input::new(data);
    let mut world = World::new([input.byte(), input.byte(), input.byte()]);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => {
                let (user, how) = (input.byte(), input.byte());
                world.register(user, how);
            }
            // A call, and its calling end.
            1 => {
                let (who, how) = (input.byte(), input.byte());
                world.call(who, how);
                let last = world.calls.len() - 1;
                world.end(last, Side::Caller, how & 1, 0);
            }
            2 | 3 => {
                if let Some(at) = input.recent(world.calls.len()) {
                    let (how, status) = (input.byte(), input.pick(&STATUSES));
                    let side = if how & 128 == 0 { Side::Caller } else { Side::Called };
                    world.end(at, side, how, status);
                }
            }
            4 => {
                if let Some(at) = input.recent(world.orders.len()) {
                    let (what, status) = (input.byte(), input.pick(&STATUSES));
                    world.answer(at, what, status);
                }
            }
            5 => {
                let until = Timestamp::from_nanos(world.now.as_nanos() + input.pick(&WAITS_MS) * 1_000_000);
                world.pass(until);
            }
            6 => world.flush(),
            _ => match input.byte() {
                0..64 => {
                    let since = world.now;
                    world.happens(CaptureChange::Blind { why: Blindness::Drops, since });
                }
                64..128 => world.happens(CaptureChange::Seeing),
                128..192 => world.restart(),
                192..208 => {
                    world.redialer.stop();
                    world.stopped = true;
                    world.reached.note("stopped");
                }
                _ => {}
            },
        }
    }
    world.flush();
    world.reached
}
