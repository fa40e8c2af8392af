//! Who may be attacked: names with wildcards, labels, compose services, and a share of those. Pure.

use std::fmt;
use std::str::FromStr;

use crate::model::{ContainerFacts, ContainerId, NamePattern, PatternError, clean};

/// The label by which a container consents or refuses.
const CONSENT: &str = "dockhealth.chaos";

/// Which containers are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Those that consent by the label `dockhealth.chaos=true`.
    Consenting,
    /// Those whose name matches.
    Name(NamePattern),
    /// Those with a label; with this value, where one is given.
    Label(String, Option<String>),
    /// The replicas of a compose service; of this project, where one is given.
    Service(Option<String>, String),
}

impl Selector {
    /// Whether `container` is meant.
    pub fn matches(&self, container: &ContainerFacts) -> bool {
        match self {
            Self::Consenting => {
                matches!(container.labels.get(CONSENT).map(String::as_str), Some("true" | "1" | "yes"))
            }
            Self::Name(pattern) => pattern.matches(&container.name),
            Self::Label(key, value) => {
                container.labels.get(key).is_some_and(|has| value.as_ref().is_none_or(|value| value == has))
            }
            Self::Service(project, service) => {
                container.service() == Some(service)
                    && project.as_deref().is_none_or(|project| container.project() == Some(project))
            }
        }
    }
}

/// What `--target` and a scenario's `targets` hold: a selector, or a share of those that are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetWord {
    /// Who.
    Selector(Selector),
    /// How many of them at each turn, whole percent.
    Share(u8),
}

/// Why a text selects nobody, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a name with wildcards.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Not a share.
    #[error("{0:?} is not a share of the targets: give a whole percentage from 1% to 100%")]
    Share(String),
    /// A label or service without its name.
    #[error(
        "{0:?} names no container: write label:KEY, label:KEY=VALUE, service:NAME or service:PROJECT/NAME"
    )]
    Malformed(String),
}

impl FromStr for TargetWord {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if let Some(number) = text.strip_suffix('%') {
            let share = number.trim().parse().ok().filter(|share| (1..=100).contains(share));
            return share.map(Self::Share).ok_or_else(|| TargetError::Share(clean(text, 40)));
        }
        let malformed = || TargetError::Malformed(clean(text, 120));
        if let Some(label) = text.strip_prefix("label:") {
            let (key, value) = match label.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (label, None),
            };
            if key.is_empty() {
                return Err(malformed());
            }
            return Ok(Self::Selector(Selector::Label(key.to_owned(), value)));
        }
        if let Some(service) = text.strip_prefix("service:") {
            let (project, service) = match service.split_once('/') {
                Some((project, service)) => (Some(project), service),
                None => (None, service),
            };
            if service.is_empty() || service.contains('/') || project.is_some_and(str::is_empty) {
                return Err(malformed());
            }
            return Ok(Self::Selector(Selector::Service(project.map(str::to_owned), service.to_owned())));
        }
        Ok(Self::Selector(Selector::Name(text.parse()?)))
    }
}

impl fmt::Display for TargetWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share}%"),
            Self::Selector(Selector::Consenting) => write!(f, "label:{CONSENT}=true"),
            Self::Selector(Selector::Name(pattern)) => pattern.fmt(f),
            Self::Selector(Selector::Label(key, None)) => write!(f, "label:{key}"),
            Self::Selector(Selector::Label(key, Some(value))) => write!(f, "label:{key}={value}"),
            Self::Selector(Selector::Service(None, service)) => write!(f, "service:{service}"),
            Self::Selector(Selector::Service(Some(project), service)) => {
                write!(f, "service:{project}/{service}")
            }
        }
    }
}

/// Who may be attacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Whoever one of these means may be attacked. To be named here by an administrator is consent.
    pub selectors: Vec<Selector>,
    /// How many of them at each turn, in percent of those that may be attacked then, at least one; `None`: one.
    pub share: Option<u8>,
    /// The container the antagonist itself runs in.
    pub own: Option<ContainerId>,
    /// Only those that this means too.
    pub among: Option<Selector>,
}

impl Targets {
    /// From words; of several shares the last counts.
    pub fn of(words: impl IntoIterator<Item = TargetWord>) -> Self {
        let mut targets = Self::default();
        for word in words {
            match word {
                TargetWord::Selector(selector) => targets.selectors.push(selector),
                TargetWord::Share(share) => targets.share = Some(share),
            }
        }
        targets
    }

    /// The same, and those that consent by their label.
    #[must_use]
    pub fn and_consenting(mut self) -> Self {
        self.selectors.push(Selector::Consenting);
        self
    }

    /// Back to words, as they go over the wire; the antagonist's own container is each machine's own.
    pub fn words(&self) -> Vec<String> {
        let selectors = self.selectors.iter().cloned().map(TargetWord::Selector);
        selectors.chain(self.share.map(TargetWord::Share)).map(|word| word.to_string()).collect()
    }

    /// Whether `container` may be attacked at all. Parts of dockhealth (a `dockhealth.role` label, of the container or of
    /// its image, which the engine merges) and containers labelled `dockhealth.chaos=false` never may.
    pub fn allow(&self, container: &ContainerFacts) -> bool {
        let refuses = matches!(container.labels.get(CONSENT).map(String::as_str), Some("false" | "0" | "no"));
        container.role().is_none()
            && self.own.as_ref() != Some(&container.id)
            && !refuses
            && self.among.as_ref().is_none_or(|among| among.matches(container))
            && self.selectors.iter().any(|selector| selector.matches(container))
    }

    /// How many of `eligible` a turn attacks.
    pub fn count_of(&self, eligible: usize) -> usize {
        match self.share {
            Some(share) => (eligible * usize::from(share)).div_ceil(100),
            None => eligible.min(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fixtures::container;
    use proptest::prelude::*;

    type Labels = &'static [(&'static str, &'static str)];

    fn targets(words: &[&str]) -> Targets {
        Targets::of(words.iter().map(|word| word.parse().unwrap()))
    }

    #[test]
    fn consent_names_and_dockhealths_own() {
        let own = Some(container("web-own", &[]).id);
        let targets = Targets { own, ..targets(&["web-*"]).and_consenting() };
        let cases: [(&str, Labels, bool); 8] = [
            ("labelled", &[("dockhealth.chaos", "true")], true),
            ("web-1", &[], true),
            ("bystander", &[], false),
            ("bystander", &[("dockhealth.monitor", "true")], false),
            ("web-2", &[("dockhealth.chaos", "false")], false),
            ("web-3", &[("dockhealth.role", "agent")], false),
            ("labelled", &[("dockhealth.chaos", "true"), ("dockhealth.role", "broker")], false),
            ("web-own", &[("dockhealth.chaos", "true")], false),
        ];
        for (name, labels, may) in cases {
            assert_eq!(targets.allow(&container(name, labels)), may, "{name} {labels:?}");
        }
        assert!(!Targets::default().allow(&container("a", &[("dockhealth.chaos", "true")])));
    }

    #[test]
    fn labels_and_services_select() {
        const SHOP: Labels = &[
            ("tier", "front"),
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
        ];
        for (word, may) in [
            ("label:tier", true),
            ("label:tier=front", true),
            ("label:tier=back", false),
            ("label:other", false),
            ("service:web", true),
            ("service:shop/web", true),
            ("service:other/web", false),
            ("service:shop", false),
        ] {
            assert_eq!(targets(&[word]).allow(&container("a", SHOP)), may, "{word}");
        }
    }

    #[test]
    fn what_selects_nobody_is_an_error_that_says_what_would() {
        for (bad, right) in [
            ("0%", "1% to 100%"),
            ("101%", "1% to 100%"),
            ("x%", "1% to 100%"),
            ("label:", "label:KEY"),
            ("label:=x", "label:KEY"),
            ("service:", "service:NAME"),
            ("service:/web", "service:PROJECT/NAME"),
            ("service:a/b/c", "service:PROJECT/NAME"),
            ("a b", "web-*"),
            ("", "web-*"),
        ] {
            let error = bad.parse::<TargetWord>().unwrap_err().to_string();
            assert!(error.contains(right), "{bad}: {error}");
        }
    }

    #[test]
    fn a_share_is_rounded_up_and_nobody_is_nobody() {
        let third = targets(&["*", "30%"]);
        for (eligible, attacked) in [(0, 0), (1, 1), (3, 1), (4, 2), (10, 3), (11, 4)] {
            assert_eq!(third.count_of(eligible), attacked, "{eligible}");
        }
        assert_eq!((targets(&["*"]).count_of(0), targets(&["*"]).count_of(9)), (0, 1));
    }

    proptest! {
        #[test]
        fn words_read_back(text in "(label:|service:)?[a-z.*]{0,5}[=/]?[a-z]{0,3}|[0-9]{1,3}%") {
            if let Ok(word) = text.parse::<TargetWord>() {
                prop_assert_eq!(word.to_string().parse::<TargetWord>(), Ok(word));
            }
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<TargetWord>();
        }
    }
}
