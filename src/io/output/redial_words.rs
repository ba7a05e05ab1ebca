//! A step of a wish as a sentence that somebody understands who knows telephones, not SIP.
//! In: `RedialTold`. Out: words and their ink. Knows nothing of ladders, explanations.

use super::RedialCounts;
use super::style::{Ink, counted};
use crate::io::redialer::VoiceCounters;
use crate::redial::{AskerCounters, BackBy, Manner, Outcome, RedialTold, Step, WaitsFor, Why};
use crate::sip::write::reason_phrase;

/// What happened. `name` says how to write an address.
pub(super) fn in_words(told: &RedialTold, name: &dyn Fn(&str) -> String) -> (Ink, String) {
    let (caller, callee) = (name(told.caller.as_str()), name(told.callee.as_str()));
    match told.step {
        Step::Wished(why) => {
            (Ink::Yellow, format!("{caller} called {callee} in vain: {}", why_in_words(why, &callee)))
        }
        Step::Renewed(why) => {
            (Ink::Yellow, format!("{caller} called {callee} in vain again: {}", why_in_words(why, &callee)))
        }
        Step::Back(by) => (Ink::Green, format!("{callee}, whom {caller} called, {}", back_in_words(by))),
        Step::Gone => (Ink::Dim, format!("{callee} cannot be called any more; {caller} waits on")),
        Step::Waits(reason) => {
            let reason = waits_in_words(reason, &callee);
            (Ink::Plain, format!("{caller}'s phone is not asked yet to call {callee}: {reason}"))
        }
        Step::Asked(manner) => (Ink::Blue, asked_in_words(manner, told.dry_run, &caller, &callee)),
        Step::Ringing => (Ink::Yellow, format!("{caller}'s phone rings, to call {callee}")),
        Step::PickedUp => (Ink::Green, format!("{caller} picked up, to call {callee}")),
        Step::Accepted(status) => {
            (Ink::Green, format!("{caller}'s phone will call {callee} ({})", response(status)))
        }
        Step::Progress(status) => {
            (Ink::Plain, format!("{caller}'s phone says of its call to {callee}: {}", response(status)))
        }
        Step::Dialled => (Ink::Blue, format!("{caller}'s phone calls {callee}")),
        Step::Closed(outcome) => closed_in_words(outcome, &caller, &callee),
    }
}

fn response(status: u16) -> String {
    format!("{status} {}", reason_phrase(status)).trim_end().to_owned()
}

fn why_in_words(why: Why, callee: &str) -> String {
    match why {
        Why::Status(status) => format!("{callee} is not registered ({})", response(status)),
        Why::Unanswered => format!("{callee} is not registered, and nobody answered"),
        Why::AnsweredElsewhere => format!("{callee} is not registered, and somebody else answered"),
        Why::Busy(status) => format!("{callee} is busy ({})", response(status)),
    }
}

const fn back_in_words(by: BackBy) -> &'static str {
    match by {
        BackBy::Registered => "is back: the phone registered",
        BackBy::Idle => "is free again: the call is over",
        BackBy::Probe => "is back: the phone answers",
    }
}

fn waits_in_words(reason: WaitsFor, callee: &str) -> String {
    match reason {
        WaitsFor::Caller => "it is in use".to_owned(),
        WaitsFor::CallerRegistration => "it is not registered".to_owned(),
        WaitsFor::Callee => format!("{callee} is in a call, or was just now"),
        WaitsFor::Turn => "another caller was asked just now".to_owned(),
        WaitsFor::Rate => "as many phones as may be were asked already".to_owned(),
    }
}

fn asked_in_words(manner: Manner, dry_run: bool, caller: &str, callee: &str) -> String {
    let is = if dry_run { "would be" } else { "is" };
    let way = manner.name();
    match manner {
        Manner::Refer => format!("{caller}'s phone {is} asked to call {callee} ({way})"),
        Manner::Recall => format!("{caller}'s phone {is} rung, and asked to call {callee} ({way})"),
        Manner::Probe => format!("{callee}'s phone {is} asked whether it is there ({way})"),
    }
}

fn closed_in_words(outcome: Outcome, caller: &str, callee: &str) -> (Ink, String) {
    match outcome {
        Outcome::Talked => (Ink::Green, format!("{caller} and {callee} talk: the wish is fulfilled")),
        Outcome::Asked => (Ink::Green, format!("{caller}'s phone was asked: the wish is fulfilled")),
        Outcome::Reached => (Ink::Green, format!("{caller} reached {callee} without help")),
        Outcome::Refused { status } => {
            (Ink::Red, format!("{caller}'s phone refused to call {callee} ({})", response(status)))
        }
        Outcome::NotPickedUp => (Ink::Red, format!("{caller} did not pick up to call {callee}")),
        Outcome::Silent => (Ink::Red, format!("{caller}'s phone did not answer when asked to call {callee}")),
        Outcome::Undeliverable => {
            (Ink::Red, format!("{caller}'s phone could not be reached to call {callee}"))
        }
        Outcome::FailedAgain => (Ink::Red, format!("{caller} called {callee}, and that was in vain too")),
        Outcome::Expired => {
            (Ink::Dim, format!("{caller}'s wish to reach {callee} is over: its time ran out"))
        }
        Outcome::Cancelled => (Ink::Dim, format!("{caller} took back the wish to reach {callee}")),
        Outcome::Evicted => {
            (Ink::Red, format!("{caller}'s wish to reach {callee} is given up: there are too many"))
        }
    }
}

/// What was counted, in one sentence.
pub(super) fn counts_in_words(counts: &RedialCounts) -> String {
    let counters = &counts.counters;
    let mut words = format!(
        "Redial{}: {}, phones {} {}, {} still open",
        if counts.dry_run { " (dry run: no phone was asked)" } else { "" },
        counted(counters.wished, "wish"),
        if counts.dry_run { "would have been asked" } else { "asked" },
        counted(counters.asked, "time"),
        counters.open
    );
    for (place, (outcome, count)) in counters.outcomes.iter().enumerate() {
        words.push_str(if place == 0 { "; " } else { ", " });
        words.push_str(&format!("{} {count}", outcome.replace('-', " ")));
    }
    if counters.table_full > 0 {
        let times = counted(counters.table_full, "time");
        words.push_str(&format!("; {times} a table was full, and something was left out or forgotten"));
    }
    let VoiceCounters { asker: AskerCounters { strangers, unreadable, turned_away }, untold } = counts.voice;
    for (count, what, follows) in [
        (strangers, "message", " came that belonged to no phone that was asked"),
        (unreadable, "message", " came that could not be read"),
        (turned_away, "order", " to ask a phone or to leave it found no room"),
        (untold, "word", " of what became of orders went by untold"),
    ] {
        if count > 0 {
            words.push_str(&format!("; {}{follows}", counted(count, what)));
        }
    }
    words.push('.');
    words
}

#[cfg(test)]
mod tests {
    use super::super::style::short_aor;
    use super::*;
    use crate::base::{FrameId, Timestamp};
    use crate::redial::RedialCounters;
    use crate::sip::Aor;
    use crate::track::{Evidence, Rule};

    fn said(step: Step, dry_run: bool) -> String {
        let aor = |user: &str| Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
        let told = RedialTold {
            at: Timestamp::from_secs(1),
            wish: 1,
            caller: aor("alice"),
            callee: aor("bob"),
            until: Timestamp::from_secs(3_601),
            step,
            dry_run,
            because: Evidence { rule: Rule::InviteFailed, frame: FrameId::new(0, 1), call_id: "c1".into() },
        };
        let name = |address: &str| short_aor(address).split('@').next().unwrap_or_default().to_owned();
        in_words(&told, &name).1
    }

    #[test]
    fn each_step_says_who_and_what() {
        let cases = [
            (
                Step::Wished(Why::Status(404)),
                "alice called bob in vain: bob is not registered (404 Not Found)",
            ),
            (Step::Renewed(Why::Busy(486)), "alice called bob in vain again: bob is busy (486 Busy Here)"),
            (Step::Back(BackBy::Idle), "bob, whom alice called, is free again: the call is over"),
            (Step::Waits(WaitsFor::Caller), "alice's phone is not asked yet to call bob: it is in use"),
            (Step::Asked(Manner::Refer), "alice's phone is asked to call bob (refer)"),
            (Step::Accepted(202), "alice's phone will call bob (202 Accepted)"),
            (Step::Progress(180), "alice's phone says of its call to bob: 180 Ringing"),
            (
                Step::Closed(Outcome::Refused { status: 603 }),
                "alice's phone refused to call bob (603 Decline)",
            ),
        ];
        for (step, words) in cases {
            assert_eq!(said(step, false), words);
        }
        assert_eq!(
            said(Step::Asked(Manner::Refer), true),
            "alice's phone would be asked to call bob (refer)"
        );
    }

    #[test]
    fn what_was_counted_is_one_sentence() {
        let outcomes = vec![("not-picked-up", 1), ("talked", 1)];
        let mut counts = RedialCounts {
            counters: RedialCounters { wished: 2, asked: 1, open: 0, outcomes, table_full: 0 },
            ..RedialCounts::default()
        };
        assert_eq!(
            counts_in_words(&counts),
            "Redial: 2 wishes, phones asked 1 time, 0 still open; not picked up 1, talked 1."
        );
        counts.dry_run = true;
        assert!(counts_in_words(&counts).starts_with("Redial (dry run: no phone was asked): 2 wishes"));
        counts.counters.table_full = 3;
        let end = "talked 1; 3 times a table was full, and something was left out or forgotten.";
        assert!(counts_in_words(&counts).ends_with(end));
        let asker = AskerCounters { strangers: 1, unreadable: 2, turned_away: 3 };
        counts.voice = VoiceCounters { asker, untold: 4 };
        let end = "or forgotten; 1 message came that belonged to no phone that was asked; 2 messages came that could not be \
                   read; 3 orders to ask a phone or to leave it found no room; 4 words of what became of orders went by untold.";
        assert!(counts_in_words(&counts).ends_with(end), "{}", counts_in_words(&counts));
    }
}
