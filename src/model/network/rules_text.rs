//! Reading rules as people write them, TOML or JSON: what is not said is as the template has it, or the default; a field
//! that there is not is an error, for it would be a wish that nobody hears.

use serde_json::{Map, Value};

use super::{NetworkRules, RulesError, RulesTemplate};
use crate::model::clean;

/// The most text that rules may be, bytes: an entry of the bucket carries 64 KiB.
const MAX_TEXT: usize = 32 << 10;

impl NetworkRules {
    /// Reads TOML. A first line `template = "compose"` takes all that is not said from that template.
    pub fn from_toml(text: &str) -> Result<Self, RulesError> {
        short_enough(text)?;
        let value: toml::Value =
            toml::from_str(text).map_err(|error| RulesError::new("rules", clean(&error.to_string(), 400)))?;
        Self::from_value(
            serde_json::to_value(value).map_err(|error| RulesError::new("rules", error.to_string()))?,
        )
    }

    /// Reads JSON, with `template` as in TOML.
    pub fn from_json(text: &str) -> Result<Self, RulesError> {
        short_enough(text)?;
        Self::from_value(
            serde_json::from_str(text).map_err(|error| RulesError::new("rules", error.to_string()))?,
        )
    }

    /// Reads a JSON value, with `template` as in TOML.
    pub fn from_value(value: Value) -> Result<Self, RulesError> {
        let Value::Object(mut said) = value else {
            return Err(RulesError::new(
                "rules",
                "they are an object: {\"interval\": \"10s\", \"trace\": {...}}",
            ));
        };
        let base = match said.remove("template") {
            None => Self::default(),
            Some(name) => {
                name.as_str()
                    .unwrap_or_default()
                    .parse::<RulesTemplate>()
                    .map_err(|error| RulesError { field: "template".to_owned(), problem: error })?
            }
            .rules(),
        };
        let mut whole = as_object(&base);
        merge("", &mut whole, said)?;
        read_each(&whole)?;
        let rules: Self = serde_json::from_value(Value::Object(whole))
            .map_err(|error| RulesError::new("rules", clean(&error.to_string(), 400)))?;
        rules.check()?;
        Ok(rules)
    }

    /// As TOML, every field said.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain data becomes TOML")
    }
}

fn short_enough(text: &str) -> Result<(), RulesError> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    Err(RulesError::new("rules", format!("they are {} bytes; at most {MAX_TEXT} are kept", text.len())))
}

fn as_object(rules: &NetworkRules) -> Map<String, Value> {
    match serde_json::to_value(rules) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("rules are an object"),
    }
}

/// Puts what was said in the place of what was there. Every field there is has a place.
fn merge(path: &str, whole: &mut Map<String, Value>, said: Map<String, Value>) -> Result<(), RulesError> {
    for (key, value) in said {
        let field = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let known = whole.keys().cloned().collect::<Vec<_>>().join(", ");
        match (whole.get_mut(&key), value) {
            (None, _) => {
                let problem = format!("there is no such field; there are {known}");
                return Err(RulesError::new(clean(&field, 80), problem));
            }
            (Some(Value::Object(inner)), Value::Object(more)) => merge(&field, inner, more)?,
            (Some(Value::Object(_)), _) => return Err(RulesError::new(field, "it is a table of fields")),
            (Some(place), value) => *place = value,
        }
    }
    Ok(())
}

/// Reads the rules once for each field, all others as by default, so that an error names the field.
fn read_each(whole: &Map<String, Value>) -> Result<(), RulesError> {
    for (key, value) in whole {
        match value {
            Value::Object(inner) => {
                for (name, value) in inner {
                    read_one(&format!("{key}.{name}"), &[key, name], value)?;
                }
            }
            _ => read_one(key, &[key], value)?,
        }
    }
    Ok(())
}

fn read_one(field: &str, path: &[&str], value: &Value) -> Result<(), RulesError> {
    let nested = path
        .iter()
        .rev()
        .fold(value.clone(), |inner, key| Value::Object(Map::from_iter([((*key).to_owned(), inner)])));
    match serde_json::from_value::<NetworkRules>(nested) {
        Ok(_) => Ok(()),
        Err(error) => Err(RulesError::new(field, clean(&error.to_string(), 300))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::HopStage;
    use proptest::prelude::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = NetworkRules::from_toml(
            "interval = \"5s\"\n[trace]\ncontainers = [\"web-*\"]\nlabels = [\"tier=web\"]\nports = [80, 443]\n\
             [measure]\nhops = [\"bridge\"]\n[sampling]\nlatency = 8\n",
        )
        .unwrap();
        let json = NetworkRules::from_json(
            r#"{"interval": "5s", "trace": {"containers": ["web-*"], "labels": ["tier=web"], "ports": [80, 443]},
                "measure": {"hops": ["bridge"]}, "sampling": {"latency": 8}}"#,
        )
        .unwrap();
        assert_eq!(toml, json);
        assert_eq!((toml.interval, toml.sampling.rtt), (Duration::from_secs(5), 16));
        assert_eq!(toml.measure.hops, [HopStage::Bridge]);
        assert!(toml.trace.labels[0].matches("tier", "web") && !toml.trace.labels[0].matches("tier", "db"));
        assert_eq!(NetworkRules::from_toml(&toml.to_toml()).unwrap(), toml);
        assert_eq!(NetworkRules::from_toml("").unwrap(), NetworkRules::default());
    }

    #[test]
    fn errors_name_the_field_and_what_would_be_right() {
        for (text, field, hint) in [
            ("interval = \"0\"", "interval", "10s"),
            ("interval = \"1500ms\"", "interval", "whole seconds"),
            ("interval = 10", "interval", "string"),
            ("intervall = \"10s\"", "intervall", "interval, "),
            ("trace = 1", "trace", "table"),
            ("[trace]\nports = [0]", "trace.ports", "65535"),
            ("[trace]\nports = [70000]", "trace.ports", "u16"),
            ("[trace]\nports = \"80\"", "trace.ports", "sequence"),
            ("[trace]\ncontainers = [\"we b\"]", "trace.containers", "web-*"),
            ("[trace]\nlabels = [\"=x\"]", "trace.labels", "key=value"),
            ("[trace]\nnetworks = [\"\"]", "trace.networks", "255"),
            ("[measure]\nhops = [\"moon\"]", "measure.hops", "overlay"),
            ("[measure]\nflows = false", "measure.latency", "measure.flows"),
            ("[measure]\nlatency = false\nhops = [\"veth\"]", "measure.hops", "measure.latency"),
            ("[sampling]\nlatency = 3", "sampling.latency", "64"),
            ("[sampling]\nrtt = 0", "sampling.rtt", "64"),
            ("template = \"moon\"", "template", "compose"),
            ("template = 1", "template", "compose"),
            ("= 1", "rules", "TOML"),
        ] {
            let error = NetworkRules::from_toml(text).unwrap_err();
            assert_eq!(error.field, field, "{text}: {error}");
            assert!(error.problem.contains(hint), "{text}: {error}");
        }
        assert_eq!(NetworkRules::from_json("[]").unwrap_err().field, "rules");
        let long = format!("# {}", "x".repeat(MAX_TEXT));
        assert!(NetworkRules::from_toml(&long).unwrap_err().problem.contains("at most"));
        let many = format!("[trace]\nports = {:?}", (1..100).collect::<Vec<u16>>());
        assert!(NetworkRules::from_toml(&many).unwrap_err().problem.contains("at most 64"));
    }

    #[test]
    fn a_template_is_where_one_starts_from() {
        let rules = NetworkRules::from_toml("template = \"overlay\"\n[sampling]\nlatency = 1\n").unwrap();
        assert_eq!(rules.measure, RulesTemplate::Overlay.rules().measure);
        assert_eq!(rules.sampling.latency, 1);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over_on_the_bus() {
        let read: NetworkRules =
            serde_json::from_str(r#"{"v": 2, "interval": "5s", "trace": {"moods": ["sad"]}, "colour": 1}"#)
                .unwrap();
        assert_eq!(read.interval, Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = NetworkRules::from_toml(&text);
            let _ = NetworkRules::from_json(&text);
        }
    }
}
