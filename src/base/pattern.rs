//! Patterns as an operator writes them.
//! In: a pattern, a text. Out: whether they match. Knows nothing of what is matched.

/// Whether the text is one of those that the pattern means: `*` stands for any run of bytes, `\` takes the next byte as it
/// is. Walks back at most to the last `*`.
pub fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let wanted = match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern + 1, at_text));
                at_pattern += 1;
                continue;
            }
            Some(b'\\') => pattern.get(at_pattern + 1).map(|byte| (byte, 2)),
            Some(byte) => Some((byte, 1)),
            None => None,
        };
        match (wanted, text.get(at_text)) {
            (None, None) => return true,
            (Some((wanted, taken)), Some(byte)) if wanted == byte => {
                at_pattern += taken;
                at_text += 1;
            }
            _ => {
                let Some((after_star, from)) = star else {
                    return false;
                };
                if from >= text.len() {
                    return false;
                }
                star = Some((after_star, from + 1));
                (at_pattern, at_text) = (after_star, from + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_escaped_stars() {
        let cases = [
            ("sip:*97@*", "sip:*97@example.com", true),
            ("sip:*97@*", "sip:1197@example.com", true),
            (r"sip:\*97@*", "sip:1197@example.com", false),
            (r"sip:\*97@*", "sip:*97@example.com", true),
            ("*", "", true),
            ("", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "ab_", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches_pattern(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
