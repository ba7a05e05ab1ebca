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
    for line in log.lines() {
        let Some((_, line)) = line.split_once(": truth ") else { continue };
        let words: Vec<&str> = line.split(' ').collect();
        let [at_s, what, one, other, ..] = words[..] else { panic!("not a line of truth: {line}") };
        let at_s: f64 = at_s.parse().expect("seconds");
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

/// What was claimed and never so within the tolerance: that somebody is here, or calls, rings, talks. What is noticed
/// late or not at all is no claim.
pub fn false_claims(truth: &Lives, told: &Lives, tolerance_s: f64) -> Vec<String> {
    let mut claims = Vec::new();
    for (user, said) in told {
        let was = truth.get(user).map_or(&[][..], Vec::as_slice);
        let mut before = Status { online: false, session: Session::Idle };
        for moment in said {
            let holds = |pleases: &dyn Fn(Status) -> bool| {
                (0..was.len()).any(|place| {
                    let until_s = was.get(place + 1).map_or(f64::MAX, |next| next.at_s);
                    pleases(was[place].status)
                        && was[place].at_s - tolerance_s <= moment.at_s
                        && moment.at_s <= until_s + tolerance_s
                })
            };
            let status = moment.status;
            let new_session = status.session != before.session && status.session != Session::Idle;
            let comes = status.online && !before.online;
            if new_session && !holds(&|was| was.session == status.session)
                || comes && !holds(&|was| was.online)
            {
                claims.push(format!(
                    "{user} was {}, and at {:.3} is said to be {status}",
                    life(was),
                    moment.at_s
                ));
            }
            before = status;
        }
    }
    claims
}

/// A life in a line.
pub fn life(moments: &[Moment]) -> String {
    let words: Vec<_> =
        moments.iter().map(|moment| format!("{:.3} {}", moment.at_s, moment.status)).collect();
    format!("[{}]", words.join(", "))
}
