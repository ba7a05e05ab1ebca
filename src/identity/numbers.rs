//! Telephone numbers in their several spellings, and whose they are by the operator's rules.
//! In: an AOR that is a number. Out: the AOR that a rule makes of it. Knows nothing of ends.
//! RFC 3966: `tel:` numbers; RFC 3261 section 19.1.6: the same as the user of a SIP URI.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::sip::Aor;
use crate::track::{BindingFact, Fact};

/// Numbers whose AOR is remembered; more are worked out again each time.
const REMEMBERED: usize = 10_000;

/// The operator's rules in their order; the first that fits counts.
pub(super) struct Numbers {
    rules: Vec<Rule>,
    known: HashMap<Aor, Option<Aor>>,
}

struct Rule {
    /// What the number begins with; all of it where nothing may follow.
    prefix: String,
    /// The AOR, where `*` is the rest of the number.
    aor: String,
    follows: Follows,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    /// The pattern is a whole number.
    Nothing,
    /// Something: the pattern ends in `*`.
    Rest,
}

impl Numbers {
    pub(super) fn new(rules: &[(String, String)]) -> Self {
        let read = |(pattern, aor): &(String, String)| {
            let (prefix, follows) = match pattern.strip_suffix('*') {
                Some(prefix) => (prefix, Follows::Rest),
                None => (pattern.as_str(), Follows::Nothing),
            };
            Rule { prefix: without_separators(prefix), aor: aor.clone(), follows }
        };
        Self { rules: rules.iter().map(read).collect(), known: HashMap::new() }
    }

    /// Writes the AORs that are meant in place of the numbers of whoever registers, calls or is called.
    pub(super) fn put_names(&mut self, fact: &mut Fact) {
        if self.rules.is_empty() {
            return;
        }
        match fact {
            Fact::Binding(BindingFact { binding, .. }) => {
                if let Some(aor) = self.meant(&binding.aor) {
                    Arc::make_mut(binding).aor = aor;
                }
            }
            Fact::Dialog(dialog) => {
                let peer = dialog.peer.as_ref().and_then(|peer| Aor::from_uri(peer.as_bytes()));
                if let Some(peer) = peer.and_then(|peer| self.meant(&peer)) {
                    dialog.peer = Some(peer.to_text());
                }
                let said = dialog.identity.claimed.iter().chain(&dialog.identity.called);
                if said.into_iter().any(is_number) {
                    let identity = &mut dialog.identity;
                    for aor in identity.claimed.iter_mut().chain(&mut identity.called) {
                        if let Some(meant) = self.meant(aor) {
                            *aor = meant;
                        }
                    }
                }
            }
            Fact::Subscription(subscription) => {
                for at in 0..subscription.identity.claimed.len() {
                    let meant = subscription.identity.claimed.get(at).and_then(|aor| self.meant(aor));
                    let place = meant.and_then(|meant| {
                        Some((Arc::make_mut(subscription).identity.claimed.get_mut(at)?, meant))
                    });
                    if let Some((place, meant)) = place {
                        *place = meant;
                    }
                }
            }
            Fact::Server(_) | Fact::Domain(_) => {}
        }
    }

    /// The AOR that this number stands for, if it is one and a rule says so.
    fn meant(&mut self, aor: &Aor) -> Option<Aor> {
        if let Some(known) = self.known.get(aor) {
            return known.clone();
        }
        if !is_number(aor) {
            return None;
        }
        let meant = self.apply(&without_separators(aor.user())).filter(|meant| meant != aor);
        if self.known.len() < REMEMBERED {
            self.known.insert(aor.clone(), meant.clone());
        }
        meant
    }

    fn apply(&self, number: &str) -> Option<Aor> {
        self.rules.iter().find_map(|rule| {
            let rest = number.strip_prefix(rule.prefix.as_str())?;
            if rest.is_empty() != (rule.follows == Follows::Nothing) {
                return None;
            }
            Aor::from_uri(rule.aor.replace('*', rest).as_bytes())
        })
    }
}

/// A `tel:` number, or a user that is written as one.
fn is_number(aor: &Aor) -> bool {
    let mut user = aor.user().bytes();
    let begins = user.next().is_some_and(|first| first == b'+' || first == b'(' || first.is_ascii_digit());
    begins && user.all(|byte| byte.is_ascii_digit() || is_separator(byte))
}

/// RFC 3966 section 5.1.1.
const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

fn without_separators(number: &str) -> String {
    number.chars().filter(|&c| !u8::try_from(c).is_ok_and(is_separator)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_a_number_in_any_spelling_names_whose_it_is() {
        let rules = [
            ("+49-30-1234-0", "sip:switchboard@example.com"),
            ("+49301234*", "sip:*@example.com"),
            ("0049301234*", "sip:*@example.com"),
            ("*", "sip:outside@example.net"),
        ];
        let rules = rules.map(|(pattern, aor)| (pattern.to_owned(), aor.to_owned()));
        let mut numbers = Numbers::new(&rules[..3]);
        let mut meant = |uri: &str| {
            let aor = Aor::from_uri(uri.as_bytes()).expect("an AOR");
            numbers.meant(&aor).map(|aor| aor.to_string())
        };
        let of_100 = Some("sip:100@example.com".to_owned());
        for uri in [
            "tel:+49-30-1234-100",
            "tel:+49(30)1234.100",
            "sip:+49301234100@192.0.2.1;user=phone",
            "sip:+49-30-1234-100@provider.example",
            "sip:0049301234100@example.com",
        ] {
            assert_eq!(meant(uri), of_100, "{uri}");
            assert_eq!(meant(uri), of_100, "{uri}, remembered");
        }
        assert_eq!(meant("tel:+493012340").as_deref(), Some("sip:switchboard@example.com"));
        for uri in ["sip:100@example.com", "tel:+49301234", "sip:alice@example.com", "sip:example.com"] {
            assert_eq!(meant(uri), None, "{uri}");
        }
        assert_eq!(
            Numbers::new(&rules).apply("7").map(|aor| aor.to_string()).as_deref(),
            Some("sip:outside@example.net")
        );
    }
}
