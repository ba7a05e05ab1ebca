//! What each user really is, at each instant: told by the phones themselves, not read from the wire.
//! In: what phones and PBXs do. Out: a timeline for each user. Knows nothing of messages, mirrors, taps.
//! The meaning of each moment is SPEC section 2 and 5 (when somebody calls, rings, talks, is held, is over), of
//! terminal and session together section 9; written again here, so that the tap is not measured by itself.

use std::collections::BTreeMap;

use offhook::presence::{Session, Terminal};

/// A phone, by its place in the world.
pub type Device = usize;

/// Something that changes what somebody is.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The first INVITE of a call leaves its caller.
    /// Where the caller's Contact is no binding, that counts only from the first 101 on (section 6).
    Invited { call_id: String, caller: Option<Device>, peer: String, contact: String },
    /// A 101–199 leaves who was called.
    Progressed { call_id: String },
    /// The caller is told that it failed.
    Failed { call_id: String },
    /// A phone alerts. It is its user's as soon as its Contact is a binding (section 6, rule 1).
    Rings { call_id: String, device: Device, peer: String, contact: String },
    /// And is told to stop, or stops by itself.
    StopsRinging { call_id: String, device: Device },
    /// A 2xx leaves who was called. `delayed`: it carries the first offer, and talking begins at the ACK.
    Answered {
        call_id: String,
        tag: String,
        called: Option<Device>,
        peer: String,
        contact: String,
        delayed: bool,
    },
    /// The ACK to such a 2xx leaves the caller.
    Acknowledged { call_id: String, tag: String },
    /// A 2xx accepts another direction of sound.
    Directed { call_id: String, tag: String, held: bool },
    /// A BYE leaves one of the two, or a rule says that it is over.
    Ended { call_id: String, tag: String },
    /// The contacts that the registrar now holds of this user.
    Bound { user: usize, contacts: Vec<String> },
}

/// A user as it is from one moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at_us: u64,
    pub terminal: Terminal,
    pub session: Session,
    /// All that its phones do, and with whom, sorted: also what is less than the session, and what cannot be told to
    /// be its own yet.
    pub doing: Vec<(Session, String)>,
}

/// Somebody at one end.
#[derive(Clone, Debug)]
struct End {
    device: Device,
    peer: String,
    contact: String,
    /// It can be told whose it is.
    shown: bool,
}

#[derive(Clone, Debug)]
struct Attempt {
    caller: Option<End>,
    live: bool,
}

#[derive(Clone, Debug)]
struct Dialog {
    caller: Option<End>,
    called: Option<End>,
    talking: bool,
    held: bool,
}

#[derive(Clone, Debug, Default)]
struct User {
    contacts: Vec<String>,
    terminal: Terminal,
    before_inferred: Option<Terminal>,
    session: Session,
}

/// Everybody's truth.
pub struct Truth {
    user_of: Vec<usize>,
    users: Vec<User>,
    attempts: BTreeMap<String, Attempt>,
    ringing: BTreeMap<(String, Device), End>,
    dialogs: BTreeMap<(String, String), Dialog>,
    pub timelines: Vec<Vec<Moment>>,
}

const fn speaks(session: Session) -> bool {
    matches!(session, Session::Talking | Session::Held)
}

impl Truth {
    /// `user_of` says whose each device is.
    pub fn new(user_of: Vec<usize>, users: usize) -> Self {
        let nothing =
            Moment { at_us: 0, terminal: Terminal::Unknown, session: Session::Idle, doing: Vec::new() };
        Self {
            user_of,
            users: vec![User::default(); users],
            attempts: BTreeMap::new(),
            ringing: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            timelines: vec![vec![nothing]; users],
        }
    }

    pub fn happen(&mut self, at_us: u64, happening: Happening) {
        match happening {
            Happening::Invited { call_id, caller, peer, contact } => {
                let caller = caller.map(|device| self.end(device, peer, contact));
                self.attempts.entry(call_id).or_insert(Attempt { caller, live: true });
            }
            Happening::Progressed { call_id } => self.let_through(&call_id),
            Happening::Failed { call_id } => {
                if let Some(attempt) = self.attempts.get_mut(&call_id) {
                    attempt.live = false;
                }
            }
            Happening::Rings { call_id, device, peer, contact } => {
                let end = self.end(device, peer, contact);
                self.ringing.insert((call_id, device), end);
            }
            Happening::StopsRinging { call_id, device } => {
                self.ringing.remove(&(call_id, device));
            }
            Happening::Answered { call_id, tag, called, peer, contact, delayed } => {
                self.let_through(&call_id);
                let rang = called.and_then(|device| self.ringing.get(&(call_id.clone(), device)).cloned());
                let called = rang.or_else(|| called.map(|device| self.end(device, peer, contact)));
                let attempt = self.attempts.get_mut(&call_id);
                let caller = attempt.as_ref().and_then(|attempt| attempt.caller.clone());
                if !delayed {
                    if let Some(attempt) = attempt {
                        attempt.live = false;
                    }
                    if let Some(called) = &called {
                        self.ringing.remove(&(call_id.clone(), called.device));
                    }
                }
                let dialog = Dialog { caller, called, talking: !delayed, held: false };
                self.dialogs.entry((call_id, tag)).or_insert(dialog);
            }
            Happening::Acknowledged { call_id, tag } => {
                if let Some(attempt) = self.attempts.get_mut(&call_id) {
                    attempt.live = false;
                }
                if let Some(dialog) = self.dialogs.get_mut(&(call_id.clone(), tag)) {
                    dialog.talking = true;
                    if let Some(called) = &dialog.called {
                        self.ringing.remove(&(call_id, called.device));
                    }
                }
            }
            Happening::Directed { call_id, tag, held } => {
                if let Some(dialog) = self.dialogs.get_mut(&(call_id, tag)) {
                    dialog.held = held;
                }
            }
            Happening::Ended { call_id, tag } => {
                self.dialogs.remove(&(call_id, tag));
            }
            Happening::Bound { user, contacts } => {
                self.bound(user, !contacts.is_empty());
                let attempts = self.attempts.values_mut().filter_map(|it| it.caller.as_mut());
                let dialogs =
                    self.dialogs.values_mut().flat_map(|it| it.caller.iter_mut().chain(&mut it.called));
                for end in attempts.chain(self.ringing.values_mut()).chain(dialogs) {
                    end.shown |= contacts.contains(&end.contact);
                }
                self.users[user].contacts = contacts;
            }
        }
        self.look(at_us);
    }

    fn end(&self, device: Device, peer: String, contact: String) -> End {
        let shown = self.users.iter().any(|user| user.contacts.contains(&contact));
        End { device, peer, contact, shown }
    }

    /// A caller that had to say who it is was let through.
    fn let_through(&mut self, call_id: &str) {
        if let Some(caller) = self.attempts.get_mut(call_id).and_then(|attempt| attempt.caller.as_mut()) {
            caller.shown = true;
        }
    }

    fn bound(&mut self, user: usize, bound: bool) {
        let user = &mut self.users[user];
        // Who was offline before, and talks, is so still: that is no update.
        if !bound && user.before_inferred == Some(Terminal::Offline) {
            return;
        }
        user.before_inferred = None;
        user.terminal = match (bound, speaks(user.session)) {
            (true, _) => Terminal::Online,
            (false, true) => Terminal::OfflineWaiting,
            (false, false) => Terminal::Offline,
        };
    }

    /// What each user is now; what is different goes into the timelines.
    fn look(&mut self, at_us: u64) {
        let mut engaged: Vec<(Session, Vec<(Session, String)>)> =
            vec![(Session::Idle, Vec::new()); self.users.len()];
        let mut note = |end: &End, session: Session| {
            let known = &mut engaged[self.user_of[end.device]];
            if end.shown {
                known.0 = known.0.max(session);
            }
            known.1.push((session, end.peer.clone()));
        };
        for attempt in self.attempts.values().filter(|attempt| attempt.live) {
            if let Some(caller) = &attempt.caller {
                note(caller, Session::Calling);
            }
        }
        for end in self.ringing.values() {
            note(end, Session::Ringing);
        }
        for dialog in self.dialogs.values().filter(|dialog| dialog.talking) {
            let session = if dialog.held { Session::Held } else { Session::Talking };
            for end in dialog.caller.iter().chain(&dialog.called) {
                note(end, session);
            }
        }
        for (user, (session, mut doing)) in engaged.into_iter().enumerate() {
            let known = &mut self.users[user];
            if known.session != session {
                known.session = session;
                if speaks(session) {
                    if matches!(known.terminal, Terminal::Unknown | Terminal::Offline) {
                        known.before_inferred = Some(known.terminal);
                        known.terminal = Terminal::Online;
                    }
                } else if known.terminal == Terminal::OfflineWaiting {
                    known.terminal = Terminal::Offline;
                } else if session == Session::Idle
                    && let Some(before) = known.before_inferred.take()
                {
                    known.terminal = before;
                }
            }
            doing.sort();
            doing.dedup();
            let moment = Moment { at_us, terminal: known.terminal, session, doing };
            let timeline = &mut self.timelines[user];
            let same = timeline.last().is_some_and(|last| {
                (last.terminal, last.session, &last.doing) == (moment.terminal, moment.session, &moment.doing)
            });
            if !same {
                timeline.push(moment);
            }
        }
    }
}
