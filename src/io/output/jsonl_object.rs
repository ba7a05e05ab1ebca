//! A JSON object, written member by member into a text that is used again.
//! In: names and values. Out: JSON. Knows nothing of lines.

use crate::base::Timestamp;

/// An object under way. Names are plain words: they are written as they are.
pub(super) struct Object<'t> {
    json: &'t mut String,
    is_empty: bool,
}

impl<'t> Object<'t> {
    pub(super) fn begin(json: &'t mut String) -> Self {
        json.push('{');
        Self { json, is_empty: true }
    }

    pub(super) fn end(self) {
        self.json.push('}');
    }

    fn name(&mut self, name: &str) -> &mut String {
        self.json.push_str(if self.is_empty { "\"" } else { ",\"" });
        self.is_empty = false;
        self.json.push_str(name);
        self.json.push_str("\":");
        self.json
    }

    /// A text that needs no escapes: one of our own words.
    pub(super) fn word(&mut self, name: &str, word: &str) {
        let json = self.name(name);
        json.push('"');
        json.push_str(word);
        json.push('"');
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        // What must be escaped (RFC 8259 section 7) is rare.
        let must_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
        // Without a way out of the loop it takes many bytes at a time.
        if text.bytes().fold(false, |any, byte| any | must_escape(byte)) {
            let escaped = serde_json::to_string(text).unwrap_or_default();
            self.name(name).push_str(&escaped);
        } else {
            self.word(name, text);
        }
    }

    pub(super) fn text_if_known(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn time(&mut self, name: &str, time: Timestamp) {
        time.with_text(|text| self.word(name, text));
    }

    pub(super) fn number(&mut self, name: &str, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut from = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            from -= 1;
            if number == 0 {
                break;
            }
        }
        let digits = digits.get(from..).and_then(|digits| std::str::from_utf8(digits).ok());
        self.name(name).push_str(digits.unwrap_or_default());
    }

    pub(super) fn number_if_known(&mut self, name: &str, number: Option<u32>) {
        if let Some(number) = number {
            self.number(name, number.into());
        }
    }

    pub(super) fn bool(&mut self, name: &str, value: bool) {
        self.name(name).push_str(if value { "true" } else { "false" });
    }

    pub(super) fn object(&mut self, name: &str, members: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.name(name));
        members(&mut object);
        object.end();
    }

    /// An array of objects, absent where there are none.
    pub(super) fn objects<T>(&mut self, name: &str, of: &[T], members: impl Fn(&mut Object<'_>, &T)) {
        let mut separator = '[';
        for thing in of {
            let json = if separator == '[' { self.name(name) } else { &mut *self.json };
            json.push(separator);
            separator = ',';
            let mut object = Object::begin(json);
            members(&mut object, thing);
            object.end();
        }
        if separator == ',' {
            self.json.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_serde_writes() {
        let mut json = String::new();
        let mut object = Object::begin(&mut json);
        for text in ["", "plain", "\"quoted\" \\ \u{1}\n\u{7f}", "Zoë 😀"] {
            object.text("text", text);
        }
        for number in [0, 7, 10, 1_000_000, u64::MAX] {
            object.number("number", number);
        }
        object.objects("none", &[0; 0], |_, _| {});
        object.objects("two", &[1_u64, 2], |object, &number| object.number("n", number));
        object.object("empty", |_| {});
        object.bool("yes", true);
        object.end();
        let text = |text: &str| format!("\"text\":{}", serde_json::to_string(text).unwrap());
        assert_eq!(
            json,
            format!(
                "{{{},{},{},{},\"number\":0,\"number\":7,\"number\":10,\"number\":1000000,\
                 \"number\":18446744073709551615,\"two\":[{{\"n\":1}},{{\"n\":2}}],\"empty\":{{}},\"yes\":true}}",
                text(""),
                text("plain"),
                text("\"quoted\" \\ \u{1}\n\u{7f}"),
                text("Zoë 😀"),
            )
        );
    }
}
