//! What is known of one presentity, and the status that follows from it.
//! In: attributed observations. Out: `PresentityState`. Knows nothing of other presentities.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::rules::{Stored, Update, apply};
use super::sight::Sight;
use super::{BindingView, ChangesWanted, DialogView, PresentityState, Session, Terminal};
use crate::base::Timestamp;
use crate::identity::Attributed;
use crate::sip::Aor;
use crate::track::{
    Binding, BindingEvent, BindingFact, Confidence, DialogFact, DialogState, EndId, Engagement, Evidence,
    Fact, SubscriptionFact,
};

/// That a REGISTER was not repeated for so long shows that it was answered.
const PRESUMED: Duration = Duration::from_secs(4);
/// Ends and bindings of one presentity; more are not looked at.
const MOST_OF_ONE: usize = 64;

struct Registered {
    binding: Arc<Binding>,
    /// When it was seen last.
    at: Timestamp,
    expires_at: Timestamp,
    confidence: Confidence,
}

struct End {
    fact: DialogFact,
    /// When something was seen of it last.
    at: Timestamp,
    contact: Option<Arc<str>>,
    /// The User-Agent of the phone, kept where its registration ends before the dialog does.
    user_agent: Option<Arc<str>>,
    weak: bool,
}

/// What few presentities have at a time.
#[derive(Default)]
pub(super) struct Rare {
    watches: Vec<EndId>,
    /// Ends that are over, listed once more as terminated.
    over: Vec<DialogView>,
    /// When `registration.grace_s` is over, and why it began.
    pub grace: Option<(Timestamp, Evidence)>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.watches.is_empty() && self.over.is_empty() && self.grace.is_none()
    }
}

/// One presentity.
pub(super) struct Presentity {
    pub aor: Aor,
    stored: Stored,
    bindings: SmallVec<[Registered; 1]>,
    /// Empty for most: it takes no room beside a vector's own.
    ends: Vec<End>,
    rare: Option<Box<Rare>>,
    /// An accepted registration showed that the AOR exists.
    supported: bool,
    given: bool,
    /// When an INVITE's set-up or end was seen last: before the first, idle is only assumed.
    set_up_seen_at: Option<Timestamp>,
    /// How sure it is that nothing is registered, and when that was seen.
    offline_confidence: Confidence,
    offline_at: Timestamp,
    /// How sure it is that it is idle.
    idle_confidence: Confidence,
    /// Where what this frame or moment did to it is noted, plus one.
    pub touched: Option<NonZeroU32>,
    pub announced: (Terminal, Session, bool),
    announced_contact: Option<Arc<str>>,
}

impl Presentity {
    pub(super) fn new(aor: Aor) -> Self {
        Self {
            aor,
            stored: Stored::default(),
            bindings: SmallVec::new(),
            ends: Vec::new(),
            rare: None,
            supported: false,
            given: false,
            set_up_seen_at: None,
            offline_confidence: Confidence::Full,
            offline_at: Timestamp::EPOCH,
            idle_confidence: Confidence::Full,
            touched: None,
            announced: (Terminal::Unknown, Session::Idle, false),
            announced_contact: None,
        }
    }

    /// Nothing is known of it that a newcomer would not have: only its first words and its own claim brought it.
    pub(super) fn is_forgettable(&self) -> bool {
        !self.supported
            && self.touched.is_none()
            && self.ends.is_empty()
            && self.rare.as_ref().is_none_or(|rare| rare.is_empty())
            && self.announced == (Terminal::Unknown, Session::Idle, false)
    }

    /// What few have, to be changed.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// When `registration.grace_s` is over.
    pub(super) fn grace(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.grace.as_ref().map(|(at, _)| *at)
    }

    /// There is no grace any more; says why it began, if there was one.
    pub(super) fn end_grace(&mut self) -> Option<Evidence> {
        self.rare.as_mut()?.grace.take().map(|(_, because)| because)
    }

    /// The frame or moment is over: what was kept for it only goes.
    pub(super) fn settle(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.over.clear();
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
        if self.ends.is_empty() {
            self.ends = Vec::new();
        }
    }

    /// (terminal, session, watching): what status lines are about.
    pub(super) fn status(&self) -> (Terminal, Session, bool) {
        let watching = self.rare.as_ref().is_some_and(|rare| !rare.watches.is_empty());
        (self.stored.terminal, self.stored.session, watching)
    }

    /// Takes in one observation; `because` is what this frame or moment did to it so far. What only documents list is
    /// kept where those are wanted. Says whether the last binding went, so that grace may begin.
    pub(super) fn take(
        &mut self,
        attributed: Attributed,
        wanted: ChangesWanted,
        because: &mut Option<Evidence>,
    ) -> bool {
        let before = (self.status(), self.newest_contact().cloned());
        let evidence = attributed.observation.evidence.clone();
        self.given |= attributed.given;
        let (at, silent) = (attributed.seen_at, evidence.rule.rests_on_silence());
        let mut last_binding_went = false;
        match attributed.observation.fact {
            Fact::Binding(binding) => last_binding_went = self.binding(binding, at, silent),
            Fact::Dialog(fact) => {
                let (weak, withdrawn) = (attributed.weak, attributed.withdrawn);
                if let Some(gone) = self.dialog(fact, attributed.contact, weak, withdrawn, at, silent)
                    && wanted == ChangesWanted::All
                    && let Some(view) = listing(&gone.fact)
                {
                    let view = DialogView { state: DialogState::Terminated, held: false, ..view };
                    self.rare().over.push(view);
                }
            }
            Fact::Subscription(fact) => self.subscription(&fact, attributed.withdrawn),
            Fact::Server(_) | Fact::Domain(_) => {}
        }
        let changed = self.status() != before.0 || self.newest_contact() != before.1.as_ref();
        if changed || because.is_none() || last_binding_went {
            *because = Some(evidence);
        }
        last_binding_went
    }

    /// `silent`: it is concluded from what did not come, and as sure as that all was seen since what came last.
    fn binding(&mut self, fact: BindingFact, at: Timestamp, silent: bool) -> bool {
        let BindingFact { binding, confidence, event } = fact;
        let known = self.bindings.iter().position(|known| known.binding.id == binding.id);
        match event {
            BindingEvent::Registered { expires_at } => {
                self.supported = true;
                self.end_grace();
                let at = if silent { at.before(PRESUMED) } else { at };
                let registered = Registered { binding, at, expires_at, confidence };
                let room = self.bindings.len() < MOST_OF_ONE;
                match known.and_then(|at| self.bindings.get_mut(at)) {
                    Some(known) => *known = registered,
                    None if room => self.bindings.push(registered),
                    None => {}
                }
                if self.stored.terminal != Terminal::Online || self.stored.inferred.is_some() {
                    self.stored = apply(self.stored, Update::Online);
                }
                false
            }
            BindingEvent::Removed => {
                let gone = known.map(|at| self.bindings.remove(at));
                self.offline_confidence = confidence;
                self.offline_at = gone.filter(|_| silent).map_or(at, |gone| gone.at);
                // That it is not registered is told once, also to who talks meanwhile and counts as online for it.
                self.bindings.is_empty() && self.stored.registered() != Terminal::Offline
            }
        }
    }

    /// Nothing is registered any more.
    pub(super) fn offline(&mut self, evidence: Evidence, because: &mut Option<Evidence>) {
        self.end_grace();
        if self.bindings.is_empty() {
            self.stored = apply(self.stored, Update::Offline);
            *because = Some(evidence);
        }
    }

    /// Gives the end that is over now, as it was.
    fn dialog(
        &mut self,
        fact: DialogFact,
        contact: Option<Arc<str>>,
        weak: bool,
        withdrawn: bool,
        at: Timestamp,
        silent: bool,
    ) -> Option<End> {
        let over = fact.state == DialogState::Terminated;
        let known = self.ends.iter().position(|known| known.fact.end == fact.end);
        let seen_at = known.and_then(|at| self.ends.get(at)).filter(|_| silent).map_or(at, |known| known.at);
        if !withdrawn && (fact.whole || over) {
            self.set_up_seen_at = self.set_up_seen_at.max(Some(seen_at));
        }
        let mut gone = None;
        if over || withdrawn {
            gone = known.map(|at| self.ends.remove(at));
            self.idle_confidence = if weak { fact.confidence.max(Confidence::Weak) } else { fact.confidence };
        } else {
            let user_agent = self
                .user_agent_of(contact.as_ref())
                .or_else(|| known.and_then(|at| self.ends.get(at)?.user_agent.clone()));
            let end = End { fact, at: seen_at, contact, user_agent, weak };
            let room = self.ends.len() < MOST_OF_ONE;
            match known.and_then(|at| self.ends.get_mut(at)) {
                Some(known) => *known = end,
                None if room => {
                    self.ends.reserve_exact(1);
                    self.ends.push(end);
                }
                None => {}
            }
        }
        let session = self.engaged().map_or(Session::Idle, |end| session_of(end.fact.engagement));
        if session != self.stored.session {
            self.stored = apply(self.stored, Update::Session(session));
        }
        gone
    }

    fn subscription(&mut self, fact: &SubscriptionFact, withdrawn: bool) {
        let watches = &mut self.rare().watches;
        let known = watches.iter().position(|&watch| watch == fact.end);
        match (fact.expires_at.is_some() && !withdrawn, known) {
            (true, None) if watches.len() < MOST_OF_ONE => watches.push(fact.end),
            (false, Some(at)) => {
                watches.remove(at);
            }
            _ => {}
        }
    }

    /// The most engaged end; among equals the earliest confirmed, then the earliest heard of.
    fn engaged(&self) -> Option<&End> {
        self.ends.iter().filter(|end| end.fact.engagement != Engagement::None).min_by_key(|end| {
            let confirmed = end.fact.confirmed_at.unwrap_or(Timestamp::MAX);
            (std::cmp::Reverse(end.fact.engagement), confirmed, end.fact.end)
        })
    }

    /// From now on the newest contact is the announced one; gives the one before, if there was another.
    pub(super) fn announce_contact(&mut self) -> Option<Arc<str>> {
        let newest = self.newest_contact().filter(|&newest| self.announced_contact.as_ref() != Some(newest));
        let newest = newest.cloned()?;
        self.announced_contact.replace(newest)
    }

    /// The contact that was registered last.
    pub(super) fn newest_contact(&self) -> Option<&Arc<str>> {
        self.bindings.last().map(|known| &known.binding.contact)
    }

    /// The User-Agent that registered this contact.
    fn user_agent_of(&self, contact: Option<&Arc<str>>) -> Option<Arc<str>> {
        let known = self.bindings.iter().find(|known| Some(&known.binding.contact) == contact)?;
        known.binding.user_agent.clone()
    }

    /// All that is now true of it; what only documents list stays away where nobody wants those. `sight` is what the
    /// capture shows.
    pub(super) fn state(
        &mut self,
        wanted: ChangesWanted,
        sight: Sight,
        now: Timestamp,
        session_type: impl FnOnce(&DialogFact) -> Arc<str>,
    ) -> PresentityState {
        let (terminal, session, watching) = self.status();
        let engaged = self.engaged();
        let contact = engaged.and_then(|end| end.contact.as_ref().or(end.fact.identity.contact.as_ref()));
        let contact = contact.or(self.newest_contact()).cloned();
        let user_agent =
            self.user_agent_of(contact.as_ref()).or_else(|| engaged.and_then(|end| end.user_agent.clone()));
        let confidence = self.confidence(engaged, sight, now);
        let state = PresentityState {
            terminal,
            registered: self.stored.registered(),
            session,
            watching,
            confidence,
            publishable: self.supported || self.given,
            contact,
            user_agent,
            peer: engaged.and_then(|end| end.fact.peer.clone()),
            session_type: engaged.map(|end| session_type(&end.fact)),
            media: engaged.map_or_else(Arc::default, |end| Arc::clone(&end.fact.media)),
            bindings: Vec::new(),
            dialogs: Vec::new(),
        };
        match wanted {
            ChangesWanted::Lines => state,
            ChangesWanted::All => {
                PresentityState { bindings: self.listed_bindings(), dialogs: self.listed_dialogs(), ..state }
            }
        }
    }

    fn listed_bindings(&self) -> Vec<BindingView> {
        let view = |known: &Registered| BindingView {
            contact: Arc::clone(&known.binding.contact),
            user_agent: known.binding.user_agent.clone(),
            expires_at: known.expires_at,
        };
        self.bindings.iter().map(view).collect()
    }

    fn listed_dialogs(&mut self) -> Vec<DialogView> {
        let mut dialogs: Vec<DialogView> = self.ends.iter().filter_map(|end| listing(&end.fact)).collect();
        if let Some(rare) = &mut self.rare {
            dialogs.append(&mut rare.over);
        }
        dialogs.sort_by_key(|dialog| dialog.end);
        dialogs
    }

    /// The worst of the evidence that holds the status.
    fn confidence(&self, engaged: Option<&End>, sight: Sight, now: Timestamp) -> Confidence {
        let or_degraded = |is_sure, confidence| if is_sure { confidence } else { Confidence::Degraded };
        let if_seen = |confidence, at| or_degraded(sight.shows_all_since(at), confidence);
        let registered = |known: &Registered| if_seen(known.confidence, known.at);
        let terminal = match self.bindings.iter().map(registered).min() {
            Some(confidence) => confidence,
            None if self.stored.registered() == Terminal::Unknown => self.offline_confidence,
            None => if_seen(self.offline_confidence, self.offline_at),
        };
        let session = match engaged {
            Some(end) if end.weak => if_seen(end.fact.confidence.max(Confidence::Weak), end.at),
            Some(end) => if_seen(end.fact.confidence, end.at),
            None => self.idle_confidence,
        };
        let start = or_degraded(sight.hides_no_session(self.set_up_seen_at, now), Confidence::Full);
        let domain = if self.supported || self.given { Confidence::Full } else { Confidence::Weak };
        terminal.max(session).max(start).max(domain)
    }
}

/// How a document lists this end; an end of which nobody would notice anything is not listed.
fn listing(fact: &DialogFact) -> Option<DialogView> {
    let state = match fact.engagement {
        Engagement::None => return None,
        Engagement::Calling => DialogState::Trying,
        Engagement::Ringing => DialogState::Early,
        Engagement::Talking | Engagement::Held => DialogState::Confirmed,
    };
    Some(DialogView {
        end: fact.end,
        call_id: Arc::clone(&fact.call_id),
        local_tag: fact.local_tag.clone(),
        remote_tag: fact.remote_tag.clone(),
        revoked_ends: fact.revoked_ends,
        side: fact.side,
        state,
        held: fact.engagement == Engagement::Held,
        remote: fact.peer.clone(),
    })
}

const fn session_of(engagement: Engagement) -> Session {
    match engagement {
        Engagement::None => Session::Idle,
        Engagement::Calling => Session::Calling,
        Engagement::Ringing => Session::Ringing,
        Engagement::Held => Session::Held,
        Engagement::Talking => Session::Talking,
    }
}
