//! Personal data in logs.
//! In: an address of record. Out: as much of it as a log may show. Knows nothing of logs.

use std::fmt;

/// Shows `sip:alice@example.com` as `sip:a…@example.com`: enough to recognise, too little to collect.
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once(':').unwrap_or(("", self.0));
        let (user, host) = rest.split_once('@').map_or((rest, None), |(user, host)| (user, Some(host)));
        write!(f, "{scheme}:{}…", user.chars().next().map(String::from).unwrap_or_default())?;
        host.map_or(Ok(()), |host| write!(f, "@{host}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_one_letter_of_the_user_and_the_domain() {
        assert_eq!(Redacted("sip:alice@example.com").to_string(), "sip:a…@example.com");
        assert_eq!(Redacted("tel:+15550100").to_string(), "tel:+…");
        assert_eq!(Redacted("").to_string(), ":…");
    }
}
