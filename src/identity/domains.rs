//! Which domains are ours.
//! In: the operator's list, and the domains of registrations. Out: yes or no. Knows nothing of ends.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::sip::Aor;

/// Managed domains (SPEC section 6).
pub(super) struct Domains {
    any: bool,
    given: HashSet<String>,
    learned: HashSet<String>,
    with_registrar: HashSet<Arc<str>>,
    /// Learned ones that are remembered.
    most: usize,
}

impl Domains {
    pub(super) fn new(given: &[String], most: usize) -> Self {
        Self {
            any: given.iter().any(|domain| domain.eq_ignore_ascii_case("any")),
            given: given.iter().map(|domain| canonical(domain)).collect(),
            learned: HashSet::new(),
            with_registrar: HashSet::new(),
            most,
        }
    }

    /// The operator named its domain.
    pub(super) fn is_given(&self, aor: &Aor) -> bool {
        self.any || aor.domain().is_some_and(|domain| self.given.contains(domain))
    }

    /// It may be a presentity: somebody (not a mere host, not nobody) of a managed domain. Without a given list
    /// all are.
    pub(super) fn may_show(&self, aor: &Aor) -> bool {
        // RFC 3323 section 4.1.1.3: who withholds the name is anonymous@anonymous.invalid.
        let nobody = aor.user().is_empty() || aor.domain().is_some_and(|domain| domain.ends_with(".invalid"));
        !nobody && (self.given.is_empty() || self.is_given(aor))
    }

    /// A registration in this domain succeeded.
    pub(super) fn learn(&mut self, domain: &str) {
        if self.learned.len() < self.most && !self.learned.contains(domain) {
            self.learned.insert(domain.to_owned());
        }
    }

    /// A REGISTER for this domain passed.
    pub(super) fn registrar_seen(&mut self, domain: &Arc<str>) {
        self.with_registrar.insert(Arc::clone(domain));
    }

    /// Some REGISTER of its domain has passed: bindings tell who answers, and their absence tells too.
    pub(super) fn has_registrar(&self, aor: &Aor) -> bool {
        aor.domain()
            .is_none_or(|domain| self.with_registrar.contains(domain) || self.learned.contains(domain))
    }
}

/// A domain as AORs have it: lower case, no final dot, IPv6 in brackets.
fn canonical(domain: &str) -> String {
    let plain = domain.trim().trim_end_matches('.').to_ascii_lowercase();
    match plain.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aor(uri: &str) -> Aor {
        Aor::from_uri(uri.as_bytes()).expect("an AOR")
    }

    #[test]
    fn a_given_list_leaves_all_others_out() {
        let domains = Domains::new(&["Example.COM.".to_owned(), "2001:db8::0:1".to_owned()], 8);
        assert!(domains.may_show(&aor("sip:alice@example.com")));
        assert!(domains.may_show(&aor("sip:alice@[2001:db8::1]")));
        assert!(!domains.may_show(&aor("sip:alice@example.net")));
    }

    #[test]
    fn without_a_list_everybody_is_shown_and_nobody_given() {
        let domains = Domains::new(&[], 8);
        assert!(domains.may_show(&aor("sip:alice@example.com")));
        assert!(!domains.is_given(&aor("sip:alice@example.com")));
        assert!(!domains.may_show(&aor("sip:anonymous@anonymous.invalid")));
        assert!(!domains.may_show(&aor("sip:example.com")));
        assert!(Domains::new(&["any".to_owned()], 8).is_given(&aor("sip:bob@192.0.2.1")));
    }
}
