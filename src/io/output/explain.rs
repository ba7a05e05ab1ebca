//! Why somebody has the status that they have: each fact about one AOR, and what followed from it.
//! In: `TapOutput` with observations. Out: a story in lines. Knows nothing of captures and sockets.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::redial_words::in_words as redial_in_words;
use super::style::{Ink, Style, clean, short_aor, shorten};
use super::words::{Ground, blindness, happened, in_words};
use super::{Sources, Summary};
use crate::base::{CaptureChange, CaptureEvent, FrameId};
use crate::identity::leaves_out;
use crate::presence::{ChangeKind, PresentityChange, Session};
use crate::redial::RedialTold;
use crate::sip::Aor;
use crate::tap::TapOutput;
use crate::track::{
    BindingEvent, BindingFact, Confidence, DialogFact, DialogState, EndIdentity, Engagement, Fact,
    Observation, Side, SubscriptionFact,
};

/// AORs that are remembered, to suggest one when the wanted one never came up.
const MAX_KNOWN: usize = 100_000;
/// AORs that are suggested.
const MAX_SUGGESTED: usize = 8;
/// A Call-ID longer than this is cut in the middle of a story; JSON lines have it whole.
const CALL_ID_WIDTH: usize = 36;

/// Tells the story of one AOR.
pub struct Story<W: Write> {
    out: W,
    style: Style,
    sources: Sources,
    wanted: Aor,
    /// Why it is no presentity, if so.
    left_out: Option<String>,
    known: BTreeSet<Aor>,
    last: Option<PresentityChange>,
    /// What the terminal rests on, and the session.
    terminal: Option<Ground>,
    session: Option<Ground>,
    begun: bool,
}

impl<W: Write> Story<W> {
    /// A story about `wanted` into `out`, which should be buffered. `domains`: those that are managed; none: all.
    pub fn new(out: W, style: Style, sources: Sources, wanted: Aor, domains: &[String]) -> Self {
        let (terminal, session) = (None, None);
        let left_out = leaves_out(domains, &wanted).then(|| {
            let domains: Vec<_> = domains.iter().map(|domain| clean(domain)).collect();
            format!(
                "{} is not watched: the managed domains are {}, so that all others are but who these talk with",
                clean(wanted.as_str()),
                domains.join(", ")
            )
        });
        Self {
            out,
            style,
            sources,
            wanted,
            left_out,
            known: BTreeSet::new(),
            last: None,
            terminal,
            session,
            begun: false,
        }
    }

    /// Takes one thing that the tap put out.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn output(&mut self, output: &TapOutput) -> io::Result<()> {
        match output {
            TapOutput::Change(change) => {
                self.learn(&change.aor);
                if change.aor == self.wanted {
                    self.change(change)?;
                }
            }
            TapOutput::Observed(attributed) => {
                self.observed(Some(&attributed.aor), &attributed.observation)?
            }
            TapOutput::Nobodys(observation) => self.observed(None, observation)?,
            TapOutput::Capture(event) => self.capture(event)?,
            TapOutput::Message(_) | TapOutput::Oddity { .. } => {}
        }
        Ok(())
    }

    /// Takes a step of a wish to call again: it belongs to the story of both.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
        self.learn(&told.caller);
        self.learn(&told.callee);
        if ![&told.caller, &told.callee].contains(&&self.wanted) {
            return Ok(());
        }
        self.begin()?;
        let (ink, words) = redial_in_words(told, &|address| short_aor(address).into_owned());
        let because = &told.because;
        let proof = format!(
            "wish {} until {}: {} ({}, {}, Call-ID {})",
            told.wish,
            told.until,
            happened(because.rule),
            because.rule.name(),
            self.frame(because.frame),
            shorten(&clean(&because.call_id), CALL_ID_WIDTH)
        );
        writeln!(
            self.out,
            "{}  {}\n{:28} {}",
            self.style.paint(Ink::Dim, told.at),
            self.style.paint(ink, format_args!("↻ {words}")),
            "",
            self.style.paint(Ink::Dim, proof),
        )
    }

    fn observed(&mut self, aor: Option<&Aor>, observation: &Observation) -> io::Result<()> {
        for aor in aor.into_iter().chain(aor_of(&observation.fact)) {
            self.learn(aor);
        }
        if aor == Some(&self.wanted) || aor_of(&observation.fact) == Some(&self.wanted) {
            self.fact(observation, None)?;
        } else if concerns(&observation.fact, &self.wanted) {
            let whose = aor.map_or("nobody's", Aor::as_str).to_owned();
            self.fact(observation, Some(&whose))?;
        }
        Ok(())
    }

    fn learn(&mut self, aor: &Aor) {
        if self.known.len() < MAX_KNOWN && !self.known.contains(aor) {
            self.known.insert(aor.clone());
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            let title = self.style.paint(Ink::Bold, clean(self.wanted.as_str()));
            writeln!(self.out, "{title}\n")?;
        }
        Ok(())
    }

    fn frame(&self, frame: FrameId) -> String {
        match self.sources.name(frame) {
            Some(source) => format!("frame {} of {}", frame.number(), clean(source)),
            None => format!("frame {}", frame.number()),
        }
    }

    fn fact(&mut self, observation: &Observation, whose: Option<&str>) -> io::Result<()> {
        let words = match &observation.fact {
            Fact::Binding(binding) => binding_in_words(binding),
            Fact::Dialog(dialog) => dialog_in_words(dialog),
            Fact::Subscription(subscription) => subscription_in_words(subscription),
            // What an address is or claims says nothing about this AOR by itself.
            _ => return Ok(()),
        };
        self.begin()?;
        let evidence = &observation.evidence;
        let frame = self.frame(evidence.frame);
        let aside = match whose {
            // Whose it would be was not asked.
            Some("nobody's") if self.left_out.is_some() => String::new(),
            Some(whose) => format!(" — but that end is {}", short_aor(whose)),
            None => String::new(),
        };
        let weak = match confidence_of(&observation.fact) {
            Confidence::Full => "",
            Confidence::Weak | Confidence::Degraded => ", weak",
        };
        let proof = format!(
            "{} ({}, {frame}, Call-ID {}{weak})",
            happened(evidence.rule),
            evidence.rule.name(),
            shorten(&clean(&evidence.call_id), CALL_ID_WIDTH)
        );
        let ink = if whose.is_some() { Ink::Dim } else { Ink::Plain };
        writeln!(
            self.out,
            "{}  {}\n{:28} {}",
            self.style.paint(Ink::Dim, observation.at),
            self.style.paint(ink, format_args!("{words}{aside}")),
            "",
            self.style.paint(Ink::Dim, proof),
        )
    }

    /// What matters for how sure a story is that has begun.
    fn capture(&mut self, event: &CaptureEvent) -> io::Result<()> {
        let interface = clean(&event.interface);
        let words = match event.what {
            _ if !self.begun => return Ok(()),
            CaptureChange::Blind { why, since } => {
                format!("! the capture is blind since {since}: {interface} {}", blindness(why))
            }
            CaptureChange::Seeing => format!("! {interface} shows everything again"),
            CaptureChange::Began
            | CaptureChange::Continues
            | CaptureChange::Reached
            | CaptureChange::Counted => return Ok(()),
        };
        let time = self.style.paint(Ink::Dim, event.at);
        writeln!(self.out, "{time}  {}", self.style.paint(Ink::Yellow, words))
    }

    fn change(&mut self, change: &PresentityChange) -> io::Result<()> {
        self.begin()?;
        let state = &change.state;
        if change.kind == ChangeKind::Status {
            let before = format!("{}/{}", change.previous.0.name(), change.previous.1.name());
            let after = format!("{}/{}", state.terminal.name(), state.session.name());
            let step = if before == after {
                format!(
                    "{after}, {}",
                    if state.watching { "now watches others" } else { "watches others no more" }
                )
            } else {
                format!("{before} → {after}")
            };
            let ground = Ground { rule: change.because.rule, frame: self.frame(change.because.frame) };
            // The end of a call makes nobody offline: the registration that ended in it did.
            if change.previous.0 != state.terminal && ground.is_of_registration() {
                self.terminal = Some(ground.clone());
            }
            if change.previous.1 != state.session {
                self.session = Some(ground);
            }
            let reason = format!("{}, {}", change.because.rule.name(), self.frame(change.because.frame));
            writeln!(
                self.out,
                "{}  {}  ({reason}{})",
                self.style.paint(Ink::Dim, change.at),
                self.style.paint(Ink::Bold, format_args!("● {step}")),
                confidence_in_words(state.confidence)
            )?;
            self.last = Some(change.clone());
        } else if let Some(last) = &mut self.last {
            last.state = change.state.clone();
        }
        Ok(())
    }

    /// Ends the story with what is true now. `false`: the AOR never came up, and nothing was written.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn end(&mut self, summary: &Summary) -> io::Result<bool> {
        if !self.begun {
            return Ok(false);
        }
        let name = clean(self.wanted.as_str()).into_owned();
        let Some(last) = &self.last else {
            let why = match &self.left_out {
                Some(left_out) => left_out.clone(),
                None => {
                    format!("nothing is known of {name}: none of these facts is about a phone of theirs")
                }
            };
            writeln!(self.out, "\nnow: {why}.")?;
            self.out.flush()?;
            return Ok(true);
        };
        let state = &last.state;
        let mut now = format!("{}/{}", state.terminal.name(), state.session.name());
        if let (Some(peer), true) = (&state.peer, state.session != Session::Idle) {
            now.push_str(&format!(" with {}", short_aor(peer)));
        }
        let until = summary.last.map_or(String::new(), |at| format!(" (the capture ends {at})"));
        writeln!(
            self.out,
            "\nnow: {} since {}, because of {} in {}, Call-ID {}{}{until}",
            self.style.paint(Ink::Bold, now),
            last.at,
            last.because.rule.name(),
            self.frame(last.because.frame),
            clean(&last.because.call_id),
            confidence_in_words(state.confidence),
        )?;
        let words = in_words(self.wanted.as_str(), state, self.terminal.as_ref(), self.session.as_ref());
        writeln!(self.out, "in words: {words}")?;
        self.out.flush()?;
        Ok(true)
    }

    /// Makes what was told so far visible.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// One sentence that says that the AOR never came up, and which similar ones did.
    pub fn unknown(&self) -> String {
        let wanted = clean(self.wanted.as_str());
        if let Some(left_out) = &self.left_out {
            return format!("{left_out}; it never comes up either");
        }
        if self.known.is_empty() {
            return format!(
                "{wanted} never comes up: there is no registration and no call of anybody in this input"
            );
        }
        let mut similar: Vec<(usize, &Aor)> =
            self.known.iter().map(|aor| (difference(self.wanted.as_str(), aor.as_str()), aor)).collect();
        similar.sort();
        let names: Vec<_> =
            similar.iter().take(MAX_SUGGESTED).map(|(_, aor)| clean(aor.as_str()).into_owned()).collect();
        let more = self.known.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{wanted} never comes up in this input; these do: {}{more}", names.join(", "))
    }
}

/// The AOR that a fact is about by itself, whoever its end belongs to.
fn aor_of(fact: &Fact) -> Option<&Aor> {
    match fact {
        Fact::Binding(fact) => Some(&fact.binding.aor),
        _ => None,
    }
}

/// The fact is about an end that called itself by this AOR, or was called by it.
fn concerns(fact: &Fact, wanted: &Aor) -> bool {
    let names = |identity: &EndIdentity| {
        identity.called.as_ref() == Some(wanted) || identity.claimed.contains(wanted)
    };
    match fact {
        Fact::Dialog(dialog) => names(&dialog.identity),
        Fact::Subscription(subscription) => names(&subscription.identity),
        _ => false,
    }
}

/// How strong the evidence of one fact is.
const fn confidence_of(fact: &Fact) -> Confidence {
    match fact {
        Fact::Binding(binding) => binding.confidence,
        Fact::Dialog(dialog) => dialog.confidence,
        Fact::Subscription(_) | Fact::Server(_) | Fact::Domain(_) => Confidence::Full,
    }
}

const fn confidence_in_words(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Full => "",
        Confidence::Weak => ", weak: on partial evidence",
        Confidence::Degraded => ", degraded: the capture did not show it all",
    }
}

fn binding_in_words(fact: &BindingFact) -> String {
    let binding = &fact.binding;
    let contact = clean(&binding.contact);
    let registrar = binding.registrar;
    match fact.event {
        BindingEvent::Registered { expires_at } => {
            let agent =
                binding.user_agent.as_deref().map_or(String::new(), |agent| format!(" ({})", clean(agent)));
            format!("registered at {registrar}: {contact}{agent} until {expires_at}")
        }
        BindingEvent::Removed => format!("registered no longer: {contact}"),
    }
}

fn dialog_in_words(dialog: &DialogFact) -> String {
    let does = match (dialog.state, dialog.engagement, dialog.side) {
        (DialogState::Terminated, _, _) => {
            let how = dialog.ended.map_or("over", |reason| reason.name()).replace('_', " ");
            return format!("call {} is over: {how}", peer_in_words(dialog));
        }
        (_, Engagement::Calling, _) => "places a call",
        (_, Engagement::Ringing, _) => "rings: call",
        (_, Engagement::Held, _) => "is on hold: call",
        (_, Engagement::Talking, _) => "talks: call",
        (_, Engagement::None, Side::Caller) => "sent an INVITE: call",
        (_, Engagement::None, Side::Called) => "was sent an INVITE: call",
    };
    let from = dialog.identity.flow.map_or(String::new(), |flow| format!(", phone at {}", flow.address));
    format!("{does} {}{from}", peer_in_words(dialog))
}

fn peer_in_words(dialog: &DialogFact) -> String {
    let peer = dialog.peer.as_deref().map_or("somebody".into(), short_aor);
    match dialog.side {
        Side::Caller => format!("to {peer}"),
        Side::Called => format!("from {peer}"),
    }
}

fn subscription_in_words(subscription: &SubscriptionFact) -> String {
    match subscription.expires_at {
        Some(until) => format!("watches somebody's presence until {until}"),
        None => "watches that presence no longer".to_owned(),
    }
}

/// Levenshtein's distance, of the first 64 characters.
fn difference(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (line, there) in other.chars().take(64).enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (here, cell) in one.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(*here != there);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::PublicationCounts;
    use super::*;
    use crate::base::Timestamp;
    use crate::identity::Attributed;
    use crate::presence::{PresentityState, Terminal};
    use crate::tap::Counters;
    use crate::track::{Binding, Evidence, RegistrationId, Rule};

    fn aor(user: &str) -> Aor {
        Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap()
    }

    fn evidence() -> Evidence {
        Evidence { rule: Rule::Register200, frame: FrameId::new(0, 2), call_id: "r1".into() }
    }

    fn registered(user: &str) -> [TapOutput; 2] {
        let binding = Arc::new(Binding {
            id: 1,
            aor: aor(user),
            registration: RegistrationId(0),
            contact: "sip:alice@192.0.2.10".into(),
            flow: None,
            registrar: std::net::SocketAddr::from(([192, 0, 2, 1], 5060)).into(),
            aliases: Vec::new(),
            auth: None,
            user_agent: Some("Phone/1".into()),
        });
        let binding = BindingFact {
            binding,
            confidence: Confidence::Full,
            event: BindingEvent::Registered { expires_at: Timestamp::from_secs(3_600) },
        };
        [
            TapOutput::Observed(Box::new(Attributed {
                aor: aor(user),
                registration: None,
                observation: Observation {
                    sequence: 1,
                    at: Timestamp::EPOCH,
                    evidence: evidence(),
                    fact: Fact::Binding(binding),
                },
                seen_at: Timestamp::EPOCH,
                contact: None,
                weak: false,
                given: false,
                withdrawn: false,
            })),
            TapOutput::Change(PresentityChange {
                at: Timestamp::EPOCH,
                aor: aor(user),
                kind: ChangeKind::Status,
                previous: (Terminal::Unknown, Session::Idle),
                previous_contact: None,
                because: evidence(),
                state: Arc::new(PresentityState { terminal: Terminal::Online, ..PresentityState::default() }),
            }),
        ]
    }

    fn story(wanted: &str, outputs: &[TapOutput]) -> (bool, String, String) {
        let mut story =
            Story::new(Vec::new(), Style::plain(), Sources::new(&["a.pcap".into()]), aor(wanted), &[]);
        for output in outputs {
            story.output(output).unwrap();
        }
        let summary = Summary {
            last: None,
            counters: Counters::default(),
            capture: Vec::new(),
            publications: PublicationCounts::default(),
            redial: None,
        };
        let found = story.end(&summary).unwrap();
        (found, story.unknown(), String::from_utf8(story.out).unwrap())
    }

    #[test]
    fn a_story_ends_with_what_is_true_now_and_why() {
        let (found, _, text) = story("alice", &registered("alice"));
        assert!(found);
        assert_eq!(
            text,
            "sip:alice@example.com\n\n\
             1970-01-01T00:00:00.000000Z  registered at 192.0.2.1:5060: sip:alice@192.0.2.10 (Phone/1) until 1970-01-01T01:00:00.000000Z\n\
             \x20                            the PBX accepted the phone's registration (register-200, frame 2, Call-ID r1)\n\
             1970-01-01T00:00:00.000000Z  ● unknown/idle → online/idle  (register-200, frame 2)\n\
             \n\
             now: online/idle since 1970-01-01T00:00:00.000000Z, because of register-200 in frame 2, Call-ID r1\n\
             in words: alice@example.com is online: the PBX accepted the phone's registration (frame 2). No call was seen. \
             All that this rests on was seen.\n"
        );
    }

    #[test]
    fn who_never_came_up_is_told_the_most_similar_names_first() {
        let mut outputs: Vec<TapOutput> = registered("carol").into();
        outputs.extend(registered("alicia"));
        let (found, sentence, text) = story("alice", &outputs);
        assert!(!found);
        assert_eq!(text, "");
        assert_eq!(
            sentence,
            "sip:alice@example.com never comes up in this input; these do: sip:alicia@example.com, sip:carol@example.com"
        );
        let (_, sentence, _) = story("alice", &[]);
        assert!(sentence.contains("no registration and no call"), "{sentence}");
    }

    #[test]
    fn distances() {
        assert_eq!(difference("alice", "alice"), 0);
        assert_eq!(difference("alice", "alicia"), 2);
        assert_eq!(difference("", "bob"), 3);
    }
}
