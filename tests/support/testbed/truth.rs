//! What the PBX of the testbed knows of its phones: who is registered, who calls, rings, talks.
//! In: the lines of its log that begin with `truth`. Out: each user's statuses with their times. Knows nothing of offhook's
//! inside, only of the words of its status lines.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// `terminal` and `session` as status lines name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status {
    /// Registered.
    pub online: bool,
    /// `idle`, `calling`, `ringing`, `talking`.
    pub session: Session,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Session {
    #[default]
    Idle,
    Calling,
    Ringing,
    Talking,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", if self.online { "online" } else { "offline" }, self.session)
    }
}

/// From then on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Seconds since the epoch.
    pub at_s: f64,
    /// What is then.
    pub status: Status,
}

/// Of each user, in the order of time.
pub type Lives = BTreeMap<String, Vec<Moment>>;

/// What the PBX's log tells.
///
/// # Panics
/// A line is not as `tests/testbed/pbx.cfg` writes it.
pub fn of_log(log: &str) -> Lives {
    let mut lives = Lives::new();
    let events = log.lines().filter_map(|line| line.split_once(": truth ")).map(|(_, line)| {
        let words: Vec<&str> = line.split(' ').collect();
        let [at_s, what, one, other, ..] = words[..] else { panic!("not a line of truth: {line}") };
        let at_s: f64 = at_s.parse().expect("seconds");
        (at_s, what, one, other)
    });
    let mut events: Vec<_> = events.collect();
    // The PBX's processes write when they come to it.
    events.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (at_s, what, one, other) in events {
        let mut becomes = |user: &str, change: &dyn Fn(Status) -> Status| {
            let life = lives.entry(user.to_owned()).or_default();
            let nothing = Status { online: false, session: Session::Idle };
            let before = life.last().map_or(nothing, |moment| moment.status);
            let status = change(before);
            if status != before {
                life.push(Moment { at_s, status });
            }
        };
        let session = |session| move |before: Status| Status { session, ..before };
        match what {
            "registered" => becomes(one, &|before| Status { online: true, ..before }),
            "unregistered" | "expired" => becomes(one, &|before| Status { online: false, ..before }),
            "invite" => becomes(one, &session(Session::Calling)),
            "ringing" => becomes(other, &session(Session::Ringing)),
            "answered" => {
                becomes(one, &session(Session::Talking));
                becomes(other, &session(Session::Talking));
            }
            "bye" | "refused" => {
                becomes(one, &session(Session::Idle));
                becomes(other, &session(Session::Idle));
            }
            _ => {}
        }
    }
    lives
}

/// What offhook's JSON lines tell of the users of `example.com`.
///
/// # Panics
/// A line is not JSON, or no status line.
pub fn of_lines(lines: &[String]) -> Lives {
    let mut lives = Lives::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if line["kind"] != "status" {
            continue;
        }
        let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("no {key}: {line}")).to_owned();
        let presentity = text("presentity");
        let user = presentity.strip_prefix("sip:").and_then(|rest| rest.strip_suffix("@example.com"));
        let user = user.unwrap_or_else(|| panic!("nobody here is called {presentity}"));
        let status = Status {
            online: text("terminal") == "online",
            session: match text("session").as_str() {
                "idle" => Session::Idle,
                "calling" => Session::Calling,
                "ringing" => Session::Ringing,
                "talking" | "held" => Session::Talking,
                other => panic!("no such session: {other}"),
            },
        };
        lives.entry(user.to_owned()).or_default().push(Moment { at_s: seconds(&text("time")), status });
    }
    lives
}

/// `2026-11-22T06:08:01.123456Z`, in seconds since the epoch.
fn seconds(time: &str) -> f64 {
    let number = |range: std::ops::Range<usize>| -> f64 { time[range].parse().expect("a number") };
    let (year, month, day) = (number(0..4) as i64, number(5..7) as i64, number(8..10) as i64);
    // Days since 1970 in the Gregorian calendar, counted from March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    days as f64 * 86_400.0 + number(11..13) * 3_600.0 + number(14..16) * 60.0 + number(17..26)
}

/// Where the two differ in order or by more than so much time; a sentence for each user.
pub fn differences(truth: &Lives, told: &Lives, tolerance_s: f64) -> Vec<String> {
    let users: std::collections::BTreeSet<_> = truth.keys().chain(told.keys()).collect();
    let mut differences = Vec::new();
    for user in users {
        let none = Vec::new();
        let (was, said) = (truth.get(user).unwrap_or(&none), told.get(user).unwrap_or(&none));
        let same = was.len() == said.len()
            && was
                .iter()
                .zip(said)
                .all(|(was, said)| was.status == said.status && (was.at_s - said.at_s).abs() <= tolerance_s);
        if !same {
            differences.push(format!("{user} was {}, and is said to be {}", life(was), life(said)));
        }
    }
    differences
}

/// What was claimed and was not so: that somebody is here, or calls, rings, talks. Each claim must be of a time in which it
/// was so, within the tolerance; in their order, and each time claimed once. What is noticed late or not at all is no claim.
pub fn false_claims(truth: &Lives, told: &Lives, tolerance_s: f64) -> Vec<String> {
    let mut claims = Vec::new();
    for (user, said) in told {
        let was = truth.get(user).map_or(&[][..], Vec::as_slice);
        for spans in [presences, sessions] {
            let mut times = spans(was).into_iter();
            for (from_s, _, claim) in spans(said) {
                let is_so = times.any(|(began_s, ended_s, was)| {
                    was == claim && began_s - tolerance_s <= from_s && from_s <= ended_s + tolerance_s
                });
                if !is_so {
                    let (was, said) = (life(was), life(said));
                    claims.push(format!("{user} was {was}, and is said to be {said}: at {from_s:.3}"));
                    break;
                }
            }
        }
    }
    claims
}

/// From when to when, and what.
type Span = (f64, f64, Session);

/// The times in which somebody was registered.
fn presences(life: &[Moment]) -> Vec<Span> {
    spans(life, |status| status.online.then_some(Session::Idle))
}

/// The times in which somebody did something.
fn sessions(life: &[Moment]) -> Vec<Span> {
    spans(life, |status| (status.session != Session::Idle).then_some(status.session))
}

fn spans(life: &[Moment], what: impl Fn(Status) -> Option<Session>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut open = false;
    for moment in life {
        let now = what(moment.status);
        if let Some((_, ended_s, was)) = spans.last_mut().filter(|_| open) {
            if Some(*was) == now {
                continue;
            }
            *ended_s = moment.at_s;
        }
        open = now.is_some();
        spans.extend(now.map(|what| (moment.at_s, f64::MAX, what)));
    }
    spans
}

/// A life in a line.
pub fn life(moments: &[Moment]) -> String {
    let words: Vec<_> =
        moments.iter().map(|moment| format!("{:.3} {}", moment.at_s, moment.status)).collect();
    format!("[{}]", words.join(", "))
}
