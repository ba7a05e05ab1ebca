//! Parameters: `;name=value;flag`.
//! In: the text behind a URI or a value. Out: names and values. Knows nothing of what they mean.

use super::lex::{closing_quote, find, find_outside_quotes, is_name, split_around, trim, unquote};

/// The parameters of a URI or of a header field value, borrowed and read when asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    text: &'a [u8],
}

impl<'a> Params<'a> {
    /// From a text that begins at the first parameter's `;` (or is empty). What stands before the
    /// first `;` is no parameter.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// The text as written.
    pub const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The first parameter of this name (compared without case): `None` when there is none,
    /// `Some(None)` when it has no value. Quotes around the value are taken off, escapes inside left.
    pub fn get(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(found, _)| is_name(found, name)).map(|(_, value)| value)
    }

    /// The value of the first parameter of this name, if it has one that is not empty.
    #[inline(always)]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        match self.front(name) {
            Some(value) => Some(value).filter(|value| !value.is_empty()),
            None => self.get(name).flatten().filter(|value| !value.is_empty()),
        }
    }

    /// The value of the first of all parameters, if it has this name and both are written as most write them.
    #[inline(always)]
    fn front(&self, name: &[u8]) -> Option<&'a [u8]> {
        let value = self.text.strip_prefix(b";")?.strip_prefix(name)?.strip_prefix(b"=")?;
        let end = find([b';', b'"'], value).unwrap_or(value.len());
        (value.get(end) != Some(&b'"')).then(|| trim(value.get(..end).unwrap_or(b"")))
    }

    /// As [`Self::value`] for several names, in one pass.
    pub fn values<const N: usize>(&self, names: [&[u8]; N]) -> [Option<&'a [u8]>; N] {
        let mut values = [None; N];
        for (found, value) in self.iter() {
            for (name, known) in names.iter().zip(&mut values) {
                if known.is_none() && is_name(found, name) {
                    *known = Some(value);
                }
            }
        }
        values.map(|value| value.flatten().filter(|value| !value.is_empty()))
    }

    /// Name and value of each, in their order. Empty ones (`;;`) are left out.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone + use<'a> {
        ParamIterator { rest: self.rest() }
    }

    /// The text behind the first `;`.
    #[inline(always)]
    fn rest(&self) -> &'a [u8] {
        match self.text {
            [b';', rest @ ..] => rest,
            text => match find_outside_quotes(text, b';', false) {
                Some(at) => split_around(text, at).1,
                None => b"",
            },
        }
    }

    /// The parameters as written, all of this name left out.
    pub(super) fn without(&self, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        let mut rest = self.rest();
        while !rest.is_empty() {
            let (parameter, equals, next) = cut(rest);
            rest = next;
            let found = equals.map_or(parameter, |at| split_around(parameter, at).0);
            if !is_name(trim(found), name) {
                out.push(b';');
                out.extend_from_slice(parameter);
            }
        }
        out
    }
}

#[derive(Clone)]
struct ParamIterator<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ParamIterator<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (parameter, equals, rest) = cut(self.rest);
            self.rest = rest;
            let (name, value) = match equals {
                Some(at) => {
                    let (name, value) = split_around(parameter, at);
                    (trim(name), Some(unquote(trim(value))))
                }
                None => (trim(parameter), None),
            };
            if !name.is_empty() {
                return Some((name, value));
            }
        }
        None
    }
}

/// The first parameter, where its `=` is, and what follows its `;`.
#[inline]
fn cut(text: &[u8]) -> (&[u8], Option<usize>, &[u8]) {
    let mut at = find([b';', b'=', b'"'], text);
    let equals = at.filter(|&at| text.get(at) == Some(&b'='));
    if let Some(equals) = equals {
        at = find_from(equals + 1, text);
    }
    while let Some(quote) = at.filter(|&at| text.get(at) == Some(&b'"')) {
        // An unterminated quoted string takes all that follows.
        at = closing_quote(text, quote).and_then(|close| find_from(close + 1, text));
    }
    match at {
        Some(at) => {
            let (parameter, rest) = split_around(text, at);
            (parameter, equals, rest)
        }
        None => (text, equals, b""),
    }
}

/// Where the next `;` or `"` stands.
#[inline]
fn find_from(begin: usize, text: &[u8]) -> Option<usize> {
    find([b';', b'"'], text.get(begin..)?).map(|found| begin + found)
}

#[cfg(test)]
mod tests {
    use super::super::lex::jumbled;
    use super::*;

    #[test]
    fn names_without_case_values_without_quotes() {
        let params = Params::new(b" ; Tag = a1;lr;; x=\"a;b=\\\"c\" ;empty=;b=2;B=3");
        assert_eq!(params.get(b"tag"), Some(Some(&b"a1"[..])));
        assert_eq!(params.get(b"LR"), Some(None));
        assert_eq!(params.get(b"x"), Some(Some(&b"a;b=\\\"c"[..])));
        assert_eq!(params.get(b"empty"), Some(Some(&b""[..])));
        assert_eq!(params.value(b"empty"), None);
        assert_eq!(params.get(b"b"), Some(Some(&b"2"[..])));
        assert_eq!(params.get(b"c"), None);
        assert_eq!(params.iter().count(), 6);
    }

    #[test]
    fn an_unterminated_quote_takes_the_rest() {
        let params = Params::new(b";a=\"b;c=d");
        assert_eq!(params.get(b"a"), Some(Some(&b"\"b;c=d"[..])));
        assert_eq!(params.get(b"c"), None);
    }

    #[test]
    fn the_first_value_is_the_same_read_alone_and_with_all() {
        let pieces = [
            ";",
            "tag",
            "=",
            "a1",
            ";",
            "b",
            " ",
            "\r\n ",
            "\"",
            "\\",
            "Tag",
            "x=y",
            "\"a;tag=c\"",
            "tag=",
            "",
        ];
        let mut seen = 0;
        for text in jumbled(&pieces) {
            let params = Params::new(&text);
            if let Some(value) = params.front(b"tag") {
                assert_eq!(params.get(b"tag"), Some(Some(value)), "{}", text.escape_ascii());
                seen += 1;
            }
        }
        assert!(seen > 1_000, "{seen}");
    }
}
