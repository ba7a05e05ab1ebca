//! Who is published or watched.
//! In: publications that come, change and go. Out: what each presentity is, and which ones changed. Knows nothing of SIP
//! messages, dialogs of subscriptions.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::composition::{Composed, Composition, Memory};
use super::content::{Content, Order, Place};
use crate::base::{Deadlines, Limits, Timestamp};
use crate::presence::dialog_info::{self, DialogInfoOptions};
use crate::presence::dialog_info_read::{self, DialogDocument, DialogElement};
use crate::presence::pidf::{self, Facet};
use crate::presence::pidf_read::{self, PresenceDocument};
use crate::presence::xml_read::DocumentError;
use crate::presence::{EventPackage, PresentityState};
use crate::sip::Aor;
use crate::track::DialogState;

/// What a publication says, as it came.
pub(super) enum Document {
    Presence(PresenceDocument),
    Dialog(DialogDocument),
}

impl Document {
    pub(super) fn read(package: EventPackage, bytes: &[u8]) -> Result<Self, DocumentError> {
        match package {
            EventPackage::Presence => pidf_read::read(bytes).map(Self::Presence),
            EventPackage::Dialog => dialog_info_read::read(bytes).map(Self::Dialog),
        }
    }
}

/// By what the next request about a publication names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicationName {
    /// RFC 3903 section 6: a new one with every answer.
    EntityTag(String),
    /// A REGISTER with a body.
    Registration { call_id: String, from: String },
}

impl PublicationName {
    const fn len(&self) -> usize {
        match self {
            Self::EntityTag(tag) => tag.len(),
            Self::Registration { call_id, from } => call_id.len() + from.len(),
        }
    }
}

/// There is no room.
#[derive(Debug)]
pub(super) struct Full;

struct Publication {
    number: u64,
    package: EventPackage,
    name: PublicationName,
    /// The CSeq of the latest request about it.
    cseq: u32,
    content: Content,
    /// What it takes up, roughly.
    bytes: usize,
    expires_at: Timestamp,
}

/// One who is published or watched.
pub(super) struct Presentity {
    pub(super) aor: Aor,
    composition: Composition,
    publications: Vec<Publication>,
    composed: Composed,
    /// The documents without what changes although nothing is said anew.
    presence: Arc<[u8]>,
    dialog: Arc<[u8]>,
    /// The presence document as watchers get it, once one wants it: the same for all.
    presence_body: OnceCell<Arc<[u8]>>,
    changed_at: Timestamp,
    watchers: BTreeSet<u64>,
    deadline: Option<Timestamp>,
}

impl Presentity {
    pub(super) fn essence(&self, package: EventPackage) -> &Arc<[u8]> {
        match package {
            EventPackage::Presence => &self.presence,
            EventPackage::Dialog => &self.dialog,
        }
    }

    /// The live dialogs that a document of the package names so that a watcher may believe in them: the youngest.
    pub(super) fn dialogs(&self, package: EventPackage, most: usize) -> &[DialogElement] {
        let dialogs = &self.composed.dialogs;
        match package {
            EventPackage::Presence => &[],
            EventPackage::Dialog => dialogs.get(dialogs.len().saturating_sub(most)..).unwrap_or(dialogs),
        }
    }

    /// The document of a package. `listed` are dialogs that the watcher may still believe in: those that are no longer
    /// live are listed as terminated, before the live ones.
    pub(super) fn body(
        &self,
        package: EventPackage,
        listed: &[DialogElement],
        version: u32,
        options: DialogInfoOptions,
    ) -> Arc<[u8]> {
        let Composed { state, foreign, dialogs, marks } = &self.composed;
        match package {
            EventPackage::Presence => {
                let at = Some(self.changed_at);
                let most = options.dialogs_per_document;
                let write =
                    || pidf::document_of(&self.aor, state, marks, foreign, Facet::Combined, at, most).into();
                Arc::clone(self.presence_body.get_or_init(write))
            }
            EventPackage::Dialog => {
                let gone = listed.iter().filter(|listed| dialogs.iter().all(|live| live.id != listed.id));
                let gone = gone.map(|gone| DialogElement {
                    state: DialogState::Terminated,
                    held: false,
                    ..gone.clone()
                });
                let all: Vec<DialogElement> = gone.chain(dialogs.iter().cloned()).collect();
                dialog_info::document_of(&self.aor, &all, version, options).into()
            }
        }
    }

    pub(super) fn watchers(&self) -> impl Iterator<Item = u64> + '_ {
        self.watchers.iter().copied()
    }
}

/// All of them.
pub(super) struct Presentities {
    table: BTreeMap<u64, Presentity>,
    index: BTreeMap<Aor, u64>,
    deadlines: Deadlines<u64>,
    numbers: u64,
    order: Order,
    changed: BTreeSet<u64>,
    publications: usize,
    /// Of all publications.
    bytes: usize,
    memory: Memory,
    most: usize,
    most_bytes: usize,
    most_publications: usize,
    most_watchers: usize,
    options: DialogInfoOptions,
}

/// What is to become of a publication.
pub(super) struct Put<'a> {
    pub(super) aor: &'a Aor,
    pub(super) package: EventPackage,
    /// The one that is there already.
    pub(super) known: Option<u64>,
    /// Its name from now on.
    pub(super) name: PublicationName,
    pub(super) cseq: u32,
    /// What it says; `None`: the same as before.
    pub(super) document: Option<Document>,
    /// The bytes of the request's body.
    pub(super) body_bytes: usize,
    /// For how long; 0 removes it.
    pub(super) expires_s: u32,
}

impl Presentities {
    pub(super) fn new(limits: &Limits, options: DialogInfoOptions, max_expires_s: u32) -> Self {
        Self {
            table: BTreeMap::new(),
            index: BTreeMap::new(),
            deadlines: Deadlines::new(),
            numbers: 0,
            order: Order::default(),
            changed: BTreeSet::new(),
            publications: 0,
            bytes: 0,
            memory: Memory { most_ended: limits.ended_dialogs_per_presentity, ended_s: max_expires_s },
            most: limits.presentities,
            most_bytes: limits.published_bytes,
            most_publications: limits.publications_per_presentity,
            most_watchers: limits.subscriptions_per_presentity,
            options,
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Presentity> {
        self.table.get(&number)
    }

    fn of(&self, aor: &Aor) -> Option<&Presentity> {
        self.table.get(self.index.get(aor)?)
    }

    pub(super) fn state(&self, aor: &Aor) -> Option<&PresentityState> {
        self.of(aor).map(|presentity| &presentity.composed.state)
    }

    #[cfg(test)]
    pub(super) fn stored(&self, aor: &Aor) -> Option<crate::presence::rules::Stored> {
        self.of(aor).map(|presentity| presentity.composition.stored())
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn publications(&self) -> usize {
        self.publications
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of a publication and the CSeq of the latest request about it.
    pub(super) fn find(
        &self,
        aor: &Aor,
        package: EventPackage,
        name: &PublicationName,
    ) -> Option<(u64, u32)> {
        let publications = &self.of(aor)?.publications;
        let found = publications.iter().find(|known| known.package == package && known.name == *name)?;
        Some((found.number, found.cseq))
    }

    /// Makes, changes, refreshes or removes a publication.
    pub(super) fn put(&mut self, now: Timestamp, put: Put<'_>) -> Result<(), Full> {
        if put.known.is_none() && put.expires_s == 0 {
            return Ok(());
        }
        let key = self.entry(now, put.aor)?;
        self.order.0 += 1;
        let order = self.order;
        self.numbers += 1;
        let number = put.known.unwrap_or(self.numbers);
        let Some(presentity) = self.table.get_mut(&key) else { return Err(Full) };
        let at = presentity.publications.iter().position(|known| known.number == number);
        let before = at.and_then(|at| presentity.publications.get(at)).map_or(0, |known| known.bytes);
        let bytes = match put.document {
            Some(_) => put.body_bytes + put.aor.as_str().len() + put.name.len(),
            None => before,
        };
        if bytes > before && self.bytes - before + bytes > self.most_bytes {
            self.settle(now, key);
            return Err(Full);
        }
        let mut said_anew = true;
        match at.and_then(|at| presentity.publications.get_mut(at)) {
            Some(_) if put.expires_s == 0 => {
                presentity.publications.retain(|known| known.number != number);
                self.publications -= 1;
                self.bytes -= before;
            }
            Some(known) => {
                (known.name, known.cseq) = (put.name, put.cseq);
                known.expires_at = now.after_s(put.expires_s);
                match put.document {
                    Some(document) => {
                        known.bytes = bytes;
                        self.bytes = self.bytes - before + bytes;
                        known.content = content_of(document, &known.content, number, order);
                        said_anew = known.content.changed == order;
                    }
                    None => said_anew = false,
                }
            }
            None => {
                if presentity.publications.len() >= self.most_publications {
                    self.settle(now, key);
                    return Err(Full);
                }
                let nothing = Content::default();
                presentity.publications.push(Publication {
                    number,
                    package: put.package,
                    name: put.name,
                    cseq: put.cseq,
                    content: put.document.map_or_else(Content::default, |document| {
                        content_of(document, &nothing, number, order)
                    }),
                    bytes,
                    expires_at: now.after_s(put.expires_s),
                });
                self.publications += 1;
                self.bytes += bytes;
            }
        }
        if said_anew {
            self.compose(now, key);
        }
        self.settle(now, key);
        Ok(())
    }

    /// Somebody watches from now on.
    pub(super) fn watch(&mut self, now: Timestamp, aor: &Aor, watcher: u64) -> Result<u64, Full> {
        let key = self.entry(now, aor)?;
        let Some(presentity) = self.table.get_mut(&key) else { return Err(Full) };
        if presentity.watchers.len() >= self.most_watchers {
            return Err(Full);
        }
        presentity.watchers.insert(watcher);
        self.settle(now, key);
        Ok(key)
    }

    /// Somebody watches no longer.
    pub(super) fn unwatch(&mut self, now: Timestamp, key: u64, watcher: u64) {
        if let Some(presentity) = self.table.get_mut(&key) {
            presentity.watchers.remove(&watcher);
        }
        self.settle(now, key);
    }

    /// Fires what is due: publications expire.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.deadlines.pop_due(now) {
            let Some(presentity) = self.table.get_mut(&key) else { continue };
            presentity.deadline = None;
            let expired = presentity.publications.extract_if(.., |known| known.expires_at <= at);
            let (expired, bytes) =
                expired.fold((0, 0), |(count, bytes), gone| (count + 1, bytes + gone.bytes));
            self.publications -= expired;
            self.bytes -= bytes;
            if expired > 0 {
                self.order.0 += 1;
                self.compose(at, key);
            }
            self.settle(at, key);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Those whose documents say something else than when this was last asked.
    pub(super) fn take_changed(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changed)
    }

    fn entry(&mut self, now: Timestamp, aor: &Aor) -> Result<u64, Full> {
        if let Some(&key) = self.index.get(aor) {
            return Ok(key);
        }
        if self.table.len() >= self.most {
            return Err(Full);
        }
        self.numbers += 1;
        let key = self.numbers;
        self.index.insert(aor.clone(), key);
        let presentity = Presentity {
            aor: aor.clone(),
            composition: Composition::default(),
            publications: Vec::new(),
            composed: Composed::default(),
            presence: Arc::new([]),
            dialog: Arc::new([]),
            presence_body: OnceCell::new(),
            changed_at: now,
            watchers: BTreeSet::new(),
            deadline: None,
        };
        self.table.insert(key, presentity);
        self.compose(now, key);
        Ok(key)
    }

    fn compose(&mut self, now: Timestamp, key: u64) {
        let Some(presentity) = self.table.get_mut(&key) else { return };
        let Presentity { aor, composition, publications, .. } = presentity;
        let contents: Vec<&Content> = publications.iter().map(|publication| &publication.content).collect();
        let composed = composition.update(aor, now, self.order, &contents, self.memory);
        let presence = pidf::document_of(
            aor,
            &composed.state,
            &composed.marks,
            &composed.foreign,
            Facet::Combined,
            None,
            self.options.dialogs_per_document,
        );
        let dialog = dialog_info::document_of(aor, &composed.dialogs, 0, self.options);
        presentity.composed = composed;
        if *presentity.presence != *presence {
            presentity.presence = presence.into();
            presentity.presence_body = OnceCell::new();
            presentity.changed_at = now;
            self.changed.insert(key);
        }
        if *presentity.dialog != *dialog {
            presentity.dialog = dialog.into();
            self.changed.insert(key);
        }
    }

    /// After anything that changed one: its next deadline, or its end when nobody publishes or watches it and nothing
    /// has to be remembered of it.
    fn settle(&mut self, now: Timestamp, key: u64) {
        let Some(presentity) = self.table.get_mut(&key) else { return };
        let mut at = presentity.publications.iter().map(|publication| publication.expires_at).min();
        if presentity.publications.is_empty() && presentity.watchers.is_empty() {
            at = presentity.composition.forgettable_at().filter(|at| *at > now);
            if at.is_none() {
                self.deadlines.set(&mut presentity.deadline, key, None);
                self.index.remove(&presentity.aor);
                self.table.remove(&key);
                return;
            }
        }
        self.deadlines.set(&mut presentity.deadline, key, at);
    }
}

fn content_of(document: Document, before: &Content, publication: u64, order: Order) -> Content {
    let place = Place { publication, order };
    match document {
        Document::Presence(document) => Content::of_presence(document, before, place),
        Document::Dialog(document) => Content::of_dialogs(document, before, place),
    }
}
