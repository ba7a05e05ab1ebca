//! Truth against status: what must be equal, what may differ for how long and why, and how much of the time was right.
//! In: timelines of the truth and of the tap. Out: breaches, shares of time, causes. Knows nothing of messages.

use std::collections::BTreeMap;

use offhook::presence::{Session, Terminal};
use offhook::track::{Confidence, DialogState};

use super::listener::{Status, Told};
use super::mirror::Shown;
use super::truth::Moment;
use super::world::{SECOND_US, USERS, aor};
use crate::support::ladder::START_US;
use crate::support::phones::WireMessage;

/// A claim that outlives what it was about, while the mirror hides how it ended.
pub struct Window {
    /// What is still claimed.
    pub claim: Claim,
    /// For so long after it was last true.
    pub allowed_us: u64,
    /// The rule that ends it then.
    pub rule: &'static str,
    /// Where that is said.
    pub section: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Session(Session),
    Terminal(Terminal),
}

/// How long each claim may outlive the truth (SPEC sections 4 and 5), given how long a dialog without a sign of life
/// is believed and a binding is granted.
pub fn windows(cap_s: u32, granted_s: u32) -> Vec<Window> {
    let s = |seconds: u32| u64::from(seconds) * SECOND_US;
    vec![
        Window {
            claim: Claim::Session(Session::Calling),
            // The last 101–199 that was seen, or the CANCEL.
            allowed_us: s(180),
            rule: "no-response",
            section: "5: 64·T1; after a 1xx 3 min since the last 101–199; 64·T1 after a CANCEL",
        },
        Window {
            claim: Claim::Session(Session::Ringing),
            allowed_us: s(180),
            rule: "no-response",
            section: "5: 3 min since the last 101–199; 64·T1 after the first 2xx, after a CANCEL",
        },
        Window {
            claim: Claim::Session(Session::Talking),
            allowed_us: s(cap_s),
            rule: "dialog-cap",
            section: "5: session timer, 481, else the absolute cap",
        },
        Window {
            claim: Claim::Session(Session::Held),
            allowed_us: s(cap_s),
            rule: "dialog-cap",
            section: "5: session timer, 481, else the absolute cap",
        },
        Window {
            claim: Claim::Terminal(Terminal::Online),
            // Who talks is online (section 9), and a talk may be believed for the cap.
            allowed_us: s(cap_s.max(granted_s)),
            rule: "register-expired",
            section: "4: the granted time; 9: talking",
        },
        Window {
            claim: Claim::Terminal(Terminal::OfflineWaiting),
            allowed_us: s(cap_s),
            rule: "dialog-cap",
            section: "9: until the talk ends",
        },
    ]
}

/// What was so from when to when.
fn spans<T: Clone>(entries: impl Iterator<Item = (u64, T)>, from_us: u64, to_us: u64) -> Vec<(u64, u64, T)> {
    let mut spans = spans_and_instants(entries, from_us, to_us);
    spans.retain(|(begin, end, _)| begin < end);
    spans
}

/// As [`spans`]; what was so for no time at all is among it: whoever calls off a call that has just been answered has
/// talked.
fn spans_and_instants<T: Clone>(
    entries: impl Iterator<Item = (u64, T)>,
    from_us: u64,
    to_us: u64,
) -> Vec<(u64, u64, T)> {
    let mut all: Vec<(u64, u64, T)> = Vec::new();
    for (at_us, what) in entries {
        if let Some(last) = all.last_mut() {
            last.1 = at_us;
        }
        all.push((at_us, u64::MAX, what));
    }
    all.into_iter()
        .map(|(begin, end, what)| (begin.max(from_us), end.min(to_us), what))
        .filter(|(begin, end, _)| begin <= end)
        .collect()
}

pub fn truth_spans(truth: &[Moment], from_us: u64, to_us: u64) -> Vec<(u64, u64, Status)> {
    spans(truth.iter().map(|it| (it.at_us, (it.terminal, it.session))), from_us, to_us)
}

pub fn told_spans(told: &[Told], from_us: u64, to_us: u64) -> Vec<(u64, u64, Status)> {
    let begin = std::iter::once((0, (Terminal::Unknown, Session::Idle)));
    spans(begin.chain(told.iter().map(|it| (it.at_us, (it.terminal, it.session)))), from_us, to_us)
}

/// Whether the stretches cover all of this time.
fn covers(stretches: &mut [(u64, u64)], from_us: u64, to_us: u64) -> Result<(), u64> {
    stretches.sort_unstable();
    let mut until = from_us;
    for &(begin, end) in stretches.iter() {
        if begin > until {
            break;
        }
        until = until.max(end);
    }
    if until >= to_us { Ok(()) } else { Err(until) }
}

/// What a user does on several phones at once does not change on all of them in the same moment, nor is each change told
/// as long after it: in between one of the less engaged shows, for no longer than `lag_us`.
fn is_between(truth: &[Moment], (begin, end, status): (u64, u64, Status), lag_us: u64) -> bool {
    let around = spans(truth.iter().map(|it| (it.at_us, it)), begin.saturating_sub(lag_us), end + lag_us);
    end - begin <= lag_us
        && around.len() > 1
        && around.iter().any(|(.., it)| {
            it.terminal == status.0
                && it.doing.len() > 1
                && it.doing.iter().any(|(doing, _)| *doing == status.1)
        })
}

/// With a perfect mirror: each status is the truth of no more than `lag_us` before or after, and there are no more
/// changes of it than of the truth.
pub fn exact(
    user: usize,
    truth: &[Moment],
    told: &[Told],
    from_us: u64,
    to_us: u64,
    lag_us: u64,
) -> Vec<String> {
    let mut breaches = Vec::new();
    let true_spans = truth_spans(truth, 0, u64::MAX);
    let mut changes = 0;
    let mut last: Option<Status> = None;
    for (begin, end, status) in told_spans(told, from_us, to_us) {
        if is_between(truth, (begin, end, status), lag_us) {
            continue;
        }
        if last.is_some_and(|last| last != status) {
            changes += 1;
        }
        last = Some(status);
        let mut stretches: Vec<(u64, u64)> = true_spans
            .iter()
            .filter(|(.., it)| *it == status)
            .map(|(begin, end, _)| (begin.saturating_sub(lag_us), end.saturating_add(lag_us)))
            .collect();
        if let Err(at_us) = covers(&mut stretches, begin, end) {
            let told_here = told.iter().rfind(|it| it.at_us <= at_us);
            let (rule, frame) = told_here.map_or(("", 0), |it| (it.rule, it.frame));
            breaches.push(format!(
                "{:.3} s: {} is told {}, since {:.3} s by {rule} in frame {frame}; the truth is {}",
                at_us as f64 / 1e6,
                USERS[user],
                name(status),
                begin as f64 / 1e6,
                true_at(truth, at_us)
            ));
        }
    }
    let mut of_truth = 0;
    let mut last: Option<Status> = None;
    for (.., status) in truth_spans(truth, from_us.saturating_sub(lag_us), to_us + lag_us) {
        if last.is_some_and(|last| last != status) {
            of_truth += 1;
        }
        last = Some(status);
    }
    if changes > of_truth {
        breaches.push(format!("{} changed {of_truth} times and was told {changes} times", USERS[user]));
    }
    breaches
}

pub fn name((terminal, session): Status) -> String {
    format!("{}/{}", terminal.name(), session.name())
}

fn true_at(truth: &[Moment], at_us: u64) -> String {
    truth.iter().rfind(|it| it.at_us <= at_us).map_or_else(String::new, |it| name((it.terminal, it.session)))
}

/// Whatever the mirror hides: nothing is claimed that was not true within its window, and no peer but a true one.
pub fn safe(
    user: usize,
    truth: &[Moment],
    told: &[Told],
    to_us: u64,
    lag_us: u64,
    windows: &[Window],
) -> Vec<String> {
    let mut breaches = Vec::new();
    let claims = |(terminal, session): Status| [Claim::Terminal(terminal), Claim::Session(session)];
    let true_spans = spans_and_instants(truth.iter().map(|it| (it.at_us, it)), 0, u64::MAX);
    for (begin, end, status) in told_spans(told, 0, to_us) {
        for claim in claims(status) {
            let Some(window) = windows.iter().find(|window| window.claim == claim) else { continue };
            let mut stretches: Vec<(u64, u64)> = true_spans
                .iter()
                .filter(|(.., it)| holds(it, claim))
                .map(|(begin, end, _)| {
                    let until = end.saturating_add(window.allowed_us + lag_us);
                    (begin.saturating_sub(lag_us), until)
                })
                .collect();
            if let Err(at_us) = covers(&mut stretches, begin, end) {
                let told_here = told.iter().rfind(|it| it.at_us <= at_us);
                let (rule, frame) = told_here.map_or(("", 0), |it| (it.rule, it.frame));
                breaches.push(format!(
                    "{:.3} s: {} is told {} by {rule} in frame {frame}; the truth is {}, and {} is given {} s ({})",
                    at_us as f64 / 1e6,
                    USERS[user],
                    name(status),
                    true_at(truth, at_us),
                    window.rule,
                    window.allowed_us / SECOND_US,
                    window.section
                ));
            }
        }
    }
    for (at, it) in told.iter().enumerate() {
        let Some(peer) = it.peer.as_ref().filter(|_| it.session != Session::Idle) else { continue };
        let until_us = told.get(at + 1).map_or(to_us, |next| next.at_us);
        let begin_us = it.at_us.saturating_sub(lag_us + 600 * SECOND_US);
        let true_peer = truth
            .iter()
            .enumerate()
            .filter(|(at, moment)| {
                let ends_us = truth.get(at + 1).map_or(u64::MAX, |next| next.at_us);
                moment.at_us <= until_us + lag_us && ends_us >= begin_us
            })
            .any(|(_, moment)| moment.doing.iter().any(|(_, other)| other == peer));
        if !true_peer {
            breaches.push(format!(
                "{:.3} s: {} never had {peer} as a peer, told by {} in frame {}",
                it.at_us as f64 / 1e6,
                USERS[user],
                it.rule,
                it.frame
            ));
        }
    }
    breaches
}

/// A registration as its registrar granted it.
pub struct Granted {
    /// Its phone: the Call-ID of its REGISTERs.
    phone: String,
    /// The lines of all contacts that the answer lists, and where the phone's own is.
    contacts: String,
    contact: String,
    from_us: u64,
    until_us: u64,
    /// In a blind spell.
    unseen: bool,
}

/// What was granted to a user's phones.
pub fn granted(user: usize, sent: &[WireMessage], spells: &[(u64, u64)]) -> Vec<Granted> {
    let to = format!("<{}>", aor(user));
    let of_answer = |message: &WireMessage| {
        let text = std::str::from_utf8(&message.bytes).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if !text.starts_with("SIP/2.0 200")
            || !field("CSeq: ")?.ends_with("REGISTER")
            || !field("To: ")?.contains(&to)
        {
            return None;
        }
        let seconds =
            |line: &str| line.split(";expires=").nth(1)?.split([';', ',']).next()?.parse::<u64>().ok();
        let contacts: Vec<&str> = text.lines().filter(|line| line.starts_with("Contact: ")).collect();
        let from_us = message.at_us.checked_sub(START_US)?;
        let longest_s = contacts.iter().filter_map(|line| seconds(line)).max().unwrap_or(0);
        Some(Granted {
            phone: field("Call-ID: ")?.to_owned(),
            contacts: contacts.concat(),
            contact: format!("@{}", field("Via: ")?.split([' ', ';']).nth(1)?),
            from_us,
            until_us: from_us + longest_s * SECOND_US,
            unseen: spells.iter().any(|&(from, to)| (from..to).contains(&from_us)),
        })
    };
    let mut granted: Vec<Granted> = sent.iter().filter_map(of_answer).collect();
    granted.sort_by_key(|it| it.from_us);
    // What was seen of a phone is over as soon as an answer no longer lists it; a call of one that was not seen outlives that.
    for at in 0..granted.len() {
        let (so_far, later) = granted.split_at_mut(at + 1);
        if let Some(seen) = so_far.last_mut().filter(|it| !it.unseen)
            && let Some(without) = later.iter().find(|it| !it.contacts.contains(&seen.contact))
        {
            seen.until_us = seen.until_us.min(without.from_us);
        }
    }
    granted
}

/// A phone is registered of which all that was seen has run out.
fn has_an_unseen_phone(granted: &[Granted], at_us: u64) -> bool {
    let holds = |it: &&Granted| it.from_us <= at_us && at_us < it.until_us;
    let seen = |phone: &str| granted.iter().filter(holds).any(|it| it.phone == phone && !it.unseen);
    granted.iter().filter(holds).any(|it| it.unseen && !seen(&it.phone))
}

/// What a line says surely is true when it says so. What is said between the frames of one moment is not looked at. And
/// SPEC section 11 takes one call that is seen for all that there are: what somebody did in a blind spell and still does
/// beside it is not known, nor what is done on a phone of which only a blind spell has shown that it is theirs.
pub fn honest(
    user: usize,
    truth: &[Moment],
    told: &[Told],
    granted: &[Granted],
    spells: &[(u64, u64)],
    lag_us: u64,
) -> Vec<String> {
    let doing = |at_us: u64| truth.iter().rfind(|it| it.at_us <= at_us).map_or(&[][..], |it| &it.doing);
    let mut breaches = Vec::new();
    let lines: Vec<&Told> = told.iter().filter(|it| it.line).collect();
    for (at, it) in lines.iter().enumerate().filter(|(_, it)| it.confidence == Confidence::Full) {
        if lines.get(at + 1).is_some_and(|next| next.at_us <= it.at_us + lag_us) {
            continue;
        }
        let status = (it.terminal, it.session);
        let around = truth_spans(truth, it.at_us.saturating_sub(lag_us), it.at_us + lag_us);
        let dark_us = spells.iter().map(|(_, to_us)| *to_us).rfind(|&to_us| to_us <= it.at_us).unwrap_or(0);
        let from_the_dark =
            doing(it.at_us).iter().any(|(_, peer)| doing(dark_us).iter().any(|(_, before)| before == peer));
        let is_known = !from_the_dark && !has_an_unseen_phone(granted, it.at_us);
        if is_known && !around.iter().any(|(.., truly)| *truly == status) {
            breaches.push(format!(
                "{:.3} s: {} is surely {}, by {} in frame {}; the truth is {}",
                it.at_us as f64 / 1e6,
                USERS[user],
                name(status),
                it.rule,
                it.frame,
                true_at(truth, it.at_us)
            ));
        }
    }
    breaches
}

fn holds(moment: &Moment, claim: Claim) -> bool {
    let does = |session: Session| moment.doing.iter().any(|(doing, _)| *doing == session);
    // Who talks may be taken for held and the other way, when the re-INVITE is hidden.
    let speaks = does(Session::Talking) || does(Session::Held);
    match claim {
        Claim::Session(Session::Talking | Session::Held) => speaks,
        Claim::Session(claimed) => does(claimed),
        // A talk shows that somebody is there.
        Claim::Terminal(Terminal::Online) => {
            speaks || matches!(moment.terminal, Terminal::Online | Terminal::OfflineWaiting)
        }
        Claim::Terminal(Terminal::OfflineWaiting) => speaks,
        Claim::Terminal(claimed) => moment.terminal == claimed,
    }
}

/// Known gap: a publication that follows a registration ends with it, a moment before the tap says that it is offline;
/// the server knows nothing of the terminal, or that it is online as long as it talks, until the tap has answered its 412.
const UNKNOWN_US: u64 = 3_000_000;

/// Each facet that the one shows was shown by the other no more than `lag_us` before or after.
pub fn follows(
    what: &str,
    user: usize,
    shown: &[(u64, Status)],
    by: &[(u64, Status)],
    lag_us: u64,
    to_us: u64,
) -> Vec<String> {
    let begin = (0, Status::default());
    let ours = spans(std::iter::once(begin).chain(shown.iter().copied()), 0, to_us);
    let mut theirs: Vec<(u64, u64, Status)> = Vec::new();
    for &(at_us, status) in std::iter::once(&begin).chain(by) {
        if let Some(last) = theirs.last_mut() {
            last.1 = at_us;
        }
        theirs.push((at_us, to_us, status));
    }
    let mut breaches = Vec::new();
    for (begin, end, status) in ours {
        let between = status.0 == Terminal::Unknown && end - begin < UNKNOWN_US;
        let facets: [&dyn Fn(Status) -> bool; 2] =
            [&|it| it.0 == status.0 || between, &|it| it.1 == status.1];
        for (which, facet) in facets.into_iter().enumerate() {
            let same = theirs.iter().filter(|(.., it)| facet(*it));
            let mut stretches: Vec<(u64, u64)> =
                same.map(|(begin, end, _)| (begin.saturating_sub(lag_us), end + lag_us)).collect();
            if which == 0 && status.0 == Terminal::Online {
                let waiting = theirs.iter().filter(|(.., it)| it.0 == Terminal::OfflineWaiting);
                stretches.extend(waiting.map(|&(begin, ..)| (begin, begin + UNKNOWN_US)));
            }
            if let Err(at_us) = covers(&mut stretches, begin, end) {
                let at_s = at_us as f64 / 1e6;
                breaches.push(format!("{at_s:.3} s: {what} {} of {}", name(status), USERS[user]));
            }
        }
    }
    breaches
}

/// A BYE that the mirror showed.
pub struct Bye {
    pub at_us: u64,
    pub call_id: String,
    pub from_tag: String,
    pub to_tag: String,
}

/// The BYEs among these frames; over TCP they may wait behind lost bytes, and are left out.
pub fn byes(shown: &[Shown]) -> Vec<Bye> {
    let tag = |line: &str| line.split(";tag=").nth(1).unwrap_or_default().to_owned();
    shown
        .iter()
        .filter_map(|frame| {
            let at = frame.bytes.windows(4).position(|window| window == b"BYE ")?;
            let text = std::str::from_utf8(frame.bytes.get(at..)?).ok()?;
            if text.contains(" SIP/2.0\r\nVia: SIP/2.0/TCP") {
                return None;
            }
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            Some(Bye {
                at_us: frame.at_us,
                call_id: field("Call-ID: ")?.to_owned(),
                from_tag: tag(field("From: ")?),
                to_tag: tag(field("To: ")?),
            })
        })
        .collect()
}

/// No dialog is believed any more whose BYE was shown (SPEC section 5: ends that are seen are final).
pub fn final_ends(user: usize, told: &[Told], byes: &[Bye], to_us: u64, lag_us: u64) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut began_us = 0;
    for (at, it) in told.iter().enumerate() {
        if it.rule == "restart" {
            began_us = it.at_us;
        }
        let until_us = told.get(at + 1).map_or(to_us, |next| next.at_us);
        for dialog in it.dialogs.iter().filter(|dialog| dialog.state == DialogState::Confirmed) {
            let is = |bye: &&Bye| {
                let tags = (Some(bye.from_tag.as_str()), Some(bye.to_tag.as_str()));
                let (local, remote) = (dialog.local_tag.as_deref(), dialog.remote_tag.as_deref());
                *bye.call_id == *dialog.call_id && (tags == (local, remote) || tags == (remote, local))
            };
            let overdue = |bye: &&Bye| bye.at_us >= began_us && bye.at_us + lag_us < until_us;
            if let Some(bye) = byes.iter().filter(is).find(overdue) {
                breaches.push(format!(
                    "{:.3} s: {} is still in {}, whose BYE was shown at {:.3} s",
                    until_us as f64 / 1e6,
                    USERS[user],
                    dialog.call_id,
                    bye.at_us as f64 / 1e6
                ));
            }
        }
    }
    breaches
}

/// A time in which a status was wrong.
#[derive(Clone, Debug)]
pub struct Wrong {
    pub from_us: u64,
    pub to_us: u64,
    /// Who, what was told by which rule in which frame, and what was so.
    pub what: String,
}

/// How much of the time a status was right, and what the rest was.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// Of one run only.
    pub wrong: Vec<Wrong>,
    pub right_us: u64,
    pub all_us: u64,
    /// Time by what was told instead of what, and by which rule.
    pub wrong_us: BTreeMap<(String, String, &'static str), u64>,
}

impl Share {
    pub fn percent(&self) -> f64 {
        if self.all_us == 0 { 100.0 } else { self.right_us as f64 / self.all_us as f64 * 100.0 }
    }

    pub fn add(&mut self, other: &Self) {
        self.right_us += other.right_us;
        self.all_us += other.all_us;
        for (cause, time_us) in &other.wrong_us {
            *self.wrong_us.entry(cause.clone()).or_default() += time_us;
        }
    }

    /// The worst causes first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<_> = self.wrong_us.iter().collect();
        causes.sort_by_key(|(_, time_us)| std::cmp::Reverse(**time_us));
        causes
            .into_iter()
            .take(6)
            .map(|((truth, told, rule), &time_us)| {
                let part = time_us as f64 / self.all_us.max(1) as f64 * 100.0;
                format!("{part:.3} %  told {told} ({rule}) while {truth}")
            })
            .collect()
    }
}

/// How right one user's status was in this time.
pub fn share(user: usize, truth: &[Moment], told: &[Told], from_us: u64, to_us: u64) -> Share {
    let mut share = Share { all_us: to_us - from_us, ..Share::default() };
    let told_spans = told_spans(told, from_us, to_us);
    for (begin, end, truly) in truth_spans(truth, from_us, to_us) {
        for (told_begin, told_end, status) in &told_spans {
            let (begin, end) = (begin.max(*told_begin), end.min(*told_end));
            if begin >= end {
                continue;
            }
            if *status == truly {
                share.right_us += end - begin;
            } else {
                let (rule, frame) = told
                    .iter()
                    .rfind(|it| it.at_us <= begin)
                    .map_or(("nothing", 0), |it| (it.rule, it.frame));
                let what = format!(
                    "{} told {} ({rule}, frame {frame}) while {}",
                    USERS[user],
                    name(*status),
                    name(truly)
                );
                share.wrong.push(Wrong { from_us: begin, to_us: end, what });
                *share.wrong_us.entry((name(truly), name(*status), rule)).or_default() += end - begin;
            }
        }
    }
    share
}
