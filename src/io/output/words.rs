//! A status and its evidence as a sentence that somebody understands who knows telephones, not SIP.
//! In: a state, and the rules that its two facets rest on. Out: text. Knows nothing of captures.

use super::style::{clean, short_aor};
use crate::base::Blindness;
use crate::presence::{PresentityState, Session, Terminal};
use crate::track::{Confidence, Rule};

/// What a rule says happened.
pub(super) const fn happened(rule: Rule) -> &'static str {
    match rule {
        Rule::Register200 => "the PBX accepted the phone's registration",
        Rule::RegisterProved => {
            "the phone is called where it had asked to be reached, or goes on speaking; the PBX's answer was not seen"
        }
        Rule::RegisterPresumed => "the phone registered and did not ask again; the PBX's answer was not seen",
        Rule::RegisterDisproved => {
            "the phone was taken to be registered, and then its PBX refused it or it asked again"
        }
        Rule::Unregister200 => "the phone took its registration back",
        Rule::RegisterMissing => "the PBX no longer lists the phone",
        Rule::RegisterExpired => "the registration ran out and the phone did not renew it",
        Rule::GraceOver => "the phone did not come back within the time of grace",
        Rule::Invite => "the phone dialled",
        Rule::Invite180 => "the called phone said that it rings",
        Rule::Invite200 => "the call was answered",
        Rule::Ack => "the answered call was confirmed",
        Rule::AckPresumed => "the call was answered, and nobody asked for a confirmation that was not seen",
        Rule::AckWithout200 => "the caller confirmed an answer that was not seen itself",
        Rule::AckWithoutFinal => "the caller confirmed a refusal that was not seen itself",
        Rule::InviteFailed => "the call was refused or could not be connected",
        Rule::OtherLeg => "the other half of the call, behind the PBX, shows it; this half was not seen",
        Rule::NotRetried => {
            "the call was sent back, for a password or to another number, and not tried again"
        }
        Rule::Cancel => "the call was given up, or taken away from this phone, before it was answered",
        Rule::Bye => "one side hung up",
        Rule::Bye200 => "one side hung up and the other confirmed it",
        Rule::ByeTimeout => "one side hung up and nobody confirmed it",
        Rule::Hold => "one side put the call on hold and the other agreed",
        Rule::Resume => "the call was taken back from hold",
        Rule::InDialog200 => {
            "both sides still exchange messages in a call, whose beginning was not seen or which changed"
        }
        Rule::ForkLost => "another phone answered the call",
        Rule::NoResponse => "nobody answered the call within the time in which somebody must",
        Rule::NoAck => "the call was answered, and the caller never confirmed it",
        Rule::DialogGone => "one side no longer knows the call",
        Rule::SessionExpired => "neither side renewed the call within the time that they had agreed on",
        Rule::MediaSilent => "the call's media, which had passed here, ceased",
        Rule::MediaHeard => {
            "the call's media pass again, after they had ceased for so long that it was held to be over"
        }
        Rule::CopyEnded => "the same call ended on the other side of a server",
        Rule::DialogCap => "the call went on for longer than one is believed without a sign of life",
        Rule::Evicted => "there was no room to follow it any longer",
        Rule::Subscribe200 => "it subscribed to somebody's presence",
        Rule::Unsubscribed => "it ended its subscription",
        Rule::SubscriptionExpired => "its subscription ran out",
        Rule::Attributed => "a registration showed whose phone it is",
    }
}

/// What is wrong with an interface.
pub(super) const fn blindness(why: Blindness) -> &'static str {
    match why {
        Blindness::Down => "is down",
        Blindness::Removed => "is gone",
        Blindness::NoLink => "has no link",
        Blindness::Drops => "loses frames",
        Blindness::ClockJump => "slept, or its clock was set",
    }
}

/// Whether the rule is a conclusion from silence or from the other half, not from what somebody said.
const fn is_guess(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::RegisterPresumed
            | Rule::RegisterProved
            | Rule::RegisterDisproved
            | Rule::AckPresumed
            | Rule::OtherLeg
            | Rule::AckWithout200
            | Rule::AckWithoutFinal
            | Rule::ByeTimeout
            | Rule::NotRetried
            | Rule::ForkLost
            | Rule::NoResponse
            | Rule::NoAck
            | Rule::DialogGone
            | Rule::SessionExpired
            | Rule::MediaSilent
            | Rule::CopyEnded
            | Rule::DialogCap
            | Rule::Evicted
    )
}

/// What a facet rests on: a rule, and the frame as it is to be named.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    pub rule: Rule,
    pub frame: String,
}

impl Ground {
    fn in_words(&self) -> String {
        format!("{} ({})", happened(self.rule), self.frame)
    }

    /// A registration or its end, not a call.
    pub(super) fn is_of_registration(&self) -> bool {
        matches!(
            self.rule,
            Rule::Register200
                | Rule::RegisterPresumed
                | Rule::RegisterProved
                | Rule::RegisterDisproved
                | Rule::Unregister200
                | Rule::RegisterMissing
                | Rule::RegisterExpired
                | Rule::GraceOver
                | Rule::Evicted
        )
    }
}

/// The status, why, and how sure that is.
pub(super) fn in_words(
    name: &str,
    state: &PresentityState,
    terminal: Option<&Ground>,
    session: Option<&Ground>,
) -> String {
    let name = short_aor(name);
    let there_by = |ground: &&Ground| {
        matches!(ground.rule, Rule::Register200 | Rule::RegisterPresumed | Rule::RegisterProved)
    };
    let of_registration = terminal.filter(|ground| ground.is_of_registration());
    let of_registration =
        of_registration.filter(|ground| there_by(ground) == (state.terminal == Terminal::Online));
    let because =
        |ground: Option<&Ground>| ground.map_or(String::new(), |ground| format!(": {}", ground.in_words()));
    let there = match (state.terminal, of_registration) {
        (Terminal::Online, Some(_)) => format!("{name} is online{}", because(of_registration)),
        (Terminal::Online, None) => {
            format!("{name} is taken to be online as long as the call lasts, for no registration was seen")
        }
        (Terminal::OfflineWaiting, _) => {
            format!("{name} is no longer registered, but still in a call{}", because(of_registration))
        }
        (Terminal::Offline, _) => format!("{name} is offline{}", because(of_registration)),
        (Terminal::Unknown, _) => {
            format!("whether {name} is there is not known, for no registration was seen")
        }
    };
    let peer = state.peer.as_deref().map_or("somebody".into(), |peer| short_aor(peer));
    let does = match state.session {
        Session::Idle if session.is_none() => "No call was seen".to_owned(),
        Session::Idle => "It is in no call; the last one is over".to_owned(),
        Session::Calling => format!("It is calling {peer}"),
        Session::Ringing => format!("It rings: {peer} calls"),
        Session::Talking => format!("It is in a call with {peer}"),
        Session::Held => format!("It is in a call with {peer} that is on hold"),
    };
    let does = format!("{does}{}", because(session));
    clean(&format!("{there}. {does}. {}", how_sure(state, terminal, session))).into_owned()
}

fn how_sure(state: &PresentityState, terminal: Option<&Ground>, session: Option<&Ground>) -> String {
    let guess = [session, terminal].into_iter().flatten().find(|ground| is_guess(ground.rule));
    match state.confidence {
        Confidence::Full => "All that this rests on was seen.".to_owned(),
        Confidence::Degraded => {
            "Less sure: what was before the capture began, or while it was blind, is not known; a call from then may go on."
                .to_owned()
        }
        Confidence::Weak => match guess {
            Some(guess) => format!("Less sure: nobody said so, it is worked out ({}).", guess.rule.name()),
            None if !state.publishable => {
                "Less sure: no registration vouches for this address, and nobody named its domain (--domain)."
                    .to_owned()
            }
            None => {
                "Less sure: some of the messages that it rests on were not seen, or only in part.".to_owned()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(rule: Rule) -> Ground {
        Ground { rule, frame: "frame 7".to_owned() }
    }

    #[test]
    fn each_facet_says_what_it_rests_on_and_how_sure_that_is() {
        let state = PresentityState {
            terminal: Terminal::Online,
            session: Session::Talking,
            peer: Some("sip:bob@example.com".into()),
            publishable: true,
            ..PresentityState::default()
        };
        let say = |state: &PresentityState, terminal: Option<Rule>, session: Option<Rule>| {
            let (terminal, session) = (terminal.map(ground), session.map(ground));
            in_words("sip:alice@example.com", state, terminal.as_ref(), session.as_ref())
        };
        assert_eq!(
            say(&state, Some(Rule::Register200), Some(Rule::Invite200)),
            "alice@example.com is online: the PBX accepted the phone's registration (frame 7). It is in a call with \
             bob@example.com: the call was answered (frame 7). All that this rests on was seen."
        );
        let inferred = PresentityState { confidence: Confidence::Weak, ..state.clone() };
        assert_eq!(
            say(&inferred, Some(Rule::AckWithout200), Some(Rule::AckWithout200)),
            "alice@example.com is taken to be online as long as the call lasts, for no registration was seen. It is in a \
             call with bob@example.com: the caller confirmed an answer that was not seen itself (frame 7). Less sure: \
             nobody said so, it is worked out (ack-without-200)."
        );
        let idle = PresentityState { session: Session::Idle, peer: None, ..state.clone() };
        assert_eq!(
            say(&idle, Some(Rule::Register200), None),
            "alice@example.com is online: the PBX accepted the phone's registration (frame 7). No call was seen. All that \
             this rests on was seen."
        );
    }

    #[test]
    fn every_rule_tells_what_happened() {
        for &rule in Rule::ALL {
            let words = happened(rule);
            assert!(words.len() > 10 && !words.ends_with('.') && !words.contains("SIP"), "{words}");
        }
    }
}
