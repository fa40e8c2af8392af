//! Text from outside is hostile until it was cleaned.

/// `text` with control characters (terminal escapes, line ends, bidirectional overrides) replaced by `?`
/// and cut to `longest` characters, for logs, tables and error messages.
pub fn clean(text: &str, longest: usize) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut out: String = text.chars().take(longest).map(|c| if hostile(c) { '?' } else { c }).collect();
    if text.chars().nth(longest).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn escapes_and_overrides_are_gone_and_length_is_bounded() {
        assert_eq!(clean("a\u{1b}[2Jb\n\u{202e}c", 80), "a?[2Jb??c");
        assert_eq!(clean("abcdef", 3), "abc…");
        assert_eq!(clean("abc", 3), "abc");
    }
}
