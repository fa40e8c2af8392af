//! Container names with wildcards, as on a command line. Names hold no `/`, brackets or braces, so `*` and `?` are
//! all there is to a glob here and no crate is needed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ContainerName, HostName, clean};

/// Why a text is no pattern of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} matches no container name: use letters, digits, '.', '_', '-', '*' (any run) and '?' (one), for example web-*"
)]
pub struct PatternError(String);

/// A pattern that whole names match: `*` stands for any run of characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(String);

impl NamePattern {
    /// Whether it has no wildcards, and so matches one name only.
    pub fn is_plain(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether all of `name` matches. Takes time in the product of both lengths at most.
    pub fn matches(&self, name: &ContainerName) -> bool {
        matches(self.0.as_bytes(), name.as_str().as_bytes())
    }

    /// The same for a host's name, which is made of the same characters.
    pub fn matches_host(&self, name: &HostName) -> bool {
        matches(self.0.as_bytes(), name.as_str().as_bytes())
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-*?".contains(&b);
        if !text.is_empty() && text.len() <= 255 && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PatternError(clean(text, 80)))
        }
    }
}

impl TryFrom<String> for NamePattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> String {
        pattern.0
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Greedy, going back only to the last `*`: an earlier one never needs to take more.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (p, n) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks_match_whole_names() {
        let yes = [("*", "web"), ("web-*", "web-1"), ("web-?", "web-1"), ("*a*b", "xaxbab"), ("web", "web")];
        for (pattern, name) in yes {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert!(pattern.matches(&ContainerName::new(name).unwrap()), "{pattern} {name}");
        }
        for (pattern, name) in
            [("web", "web1"), ("?", "ab"), ("web-?", "web-"), ("*a", "ab"), ("Web*", "web")]
        {
            let pattern: NamePattern = pattern.parse().unwrap();
            assert!(!pattern.matches(&ContainerName::new(name).unwrap()), "{pattern} {name}");
        }
    }

    #[test]
    fn what_no_name_can_match_is_refused() {
        for bad in ["", "/web", "[ab]", "a b", "{a,b}", "é*"] {
            let error = bad.parse::<NamePattern>().unwrap_err().to_string();
            assert!(error.contains("for example"), "{error}");
        }
    }

    /// The definition, slow and plain.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|n| by_definition(rest, &name[n..])),
            (Some((c, rest)), Some((d, others))) if *c == b'?' || c == d => by_definition(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern, name), by_definition(pattern, name));
        }
    }
}
