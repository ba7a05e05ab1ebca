//! PUBLISH, and REGISTER with a body.
//! In: a request. Out: its answer, and what becomes of a publication. Knows nothing of composition, subscriptions.
//! RFC 3903 section 6. A REGISTER is a publication too (system A): it carries a document and no Contact, and is named by
//! its Call-ID and From, since it has no entity-tag.

use super::PresenceServer;
use super::notifier::RETRY_AFTER_S;
use super::presentities::{Document, PublicationName, Put};
use super::request::{Answer, accept, document_type, media_type, package, presentity, unencoded};
use crate::base::Timestamp;
use crate::presence::EventPackage;
use crate::sip::{Aor, HeaderName, SipMessage};

impl PresenceServer {
    /// Takes a PUBLISH.
    ///
    /// | SIP-If-Match | body | Expires | operation |
    /// |---|---|---|---|
    /// | no | yes | above 0 | initial |
    /// | yes | no | above 0 | refresh |
    /// | yes | yes | above 0 | modify |
    /// | yes | any | 0 | remove |
    pub(super) fn publish(&mut self, now: Timestamp, request: &SipMessage<'_>) -> Result<Answer, Answer> {
        let aor = presentity(request.request_uri().unwrap_or_default())?;
        let package = package(request)?;
        let known = match request.header(HeaderName::SipIfMatch) {
            Some(tag) => {
                let name = PublicationName::EntityTag(String::from_utf8_lossy(tag).into_owned());
                let known = self.presentities.find(&aor, package, &name);
                Some(known.ok_or_else(|| Answer::new(412))?.0)
            }
            None => None,
        };
        let expires_s = self.expiry.granted(request)?;
        let document = match request.body() {
            [] if known.is_none() => {
                return Err(Answer::new(400).because("There is neither a document nor SIP-If-Match."));
            }
            // What a removal says does not matter any more.
            _ if expires_s == 0 && known.is_some() => None,
            [] => None,
            _ => {
                document_type(request, package)?;
                Some(self.document(package, request)?)
            }
        };
        let tag = self.names.next("entity-tag");
        let name = PublicationName::EntityTag(tag.clone());
        self.put(
            now,
            Put {
                aor: &aor,
                package,
                known,
                name,
                cseq: 0,
                document,
                body_bytes: request.body().len(),
                expires_s,
            },
        )?;
        Ok(Answer::new(200).with("SIP-ETag", tag).with("Expires", expires_s.to_string()))
    }

    /// Takes a REGISTER. Its To is the presentity, its Content-Type names the package.
    pub(super) fn register(&mut self, now: Timestamp, request: &SipMessage<'_>) -> Result<Answer, Answer> {
        let no_registrar = || Answer::new(403).because("This is no registrar.");
        if request.header(HeaderName::Contact).is_some() {
            return Err(no_registrar());
        }
        let media_type = media_type(request).ok_or_else(no_registrar)?;
        let package = EventPackage::ALL.into_iter().find(|package| package.content_type() == media_type);
        let package = package.ok_or_else(|| Answer::new(415).with("Accept", accept()))?;
        unencoded(request)?;
        let aor = presentity(request.to().uri)?;
        let from = Aor::from_uri(request.from().uri);
        let name = PublicationName::Registration {
            call_id: String::from_utf8_lossy(request.call_id()).into_owned(),
            from: from.as_ref().unwrap_or(&aor).as_str().to_owned(),
        };
        let cseq = request.cseq().number;
        let known = match self.presentities.find(&aor, package, &name) {
            Some((_, latest)) if cseq <= latest => {
                return Err(Answer::new(500).because("The CSeq did not rise."));
            }
            known => known.map(|(number, _)| number),
        };
        let expires_s = self.expiry.granted(request)?;
        let document = match request.body() {
            [] if known.is_none() && expires_s > 0 => return Err(no_registrar()),
            [] => None,
            _ => Some(self.document(package, request)?),
        };
        self.put(
            now,
            Put {
                aor: &aor,
                package,
                known,
                name,
                cseq,
                document,
                body_bytes: request.body().len(),
                expires_s,
            },
        )?;
        Ok(Answer::new(200).with("Expires", expires_s.to_string()))
    }

    fn document(&self, package: EventPackage, request: &SipMessage<'_>) -> Result<Document, Answer> {
        let body = request.body();
        if body.len() > self.document_bytes {
            return Err(Answer::new(413));
        }
        Document::read(package, body)
            .map_err(|error| Answer::new(400).because(&format!("The document cannot be read: {error}.")))
    }

    fn put(&mut self, now: Timestamp, put: Put<'_>) -> Result<(), Answer> {
        let full = |_| Answer::new(503).with("Retry-After", RETRY_AFTER_S.to_string());
        self.presentities.put(now, put).map_err(full)
    }
}
