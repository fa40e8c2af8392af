//! From an order of a campaign, as it comes over the bus, to its scenario. Pure.

use std::time::Duration;

use super::{AbortWord, FaultSpec, Scenario, TargetWord, Targets};
use crate::bus::ChaosOrder;
use crate::model::{clean, format_span, parse_span};

/// Most faults, targets or conditions of an order.
const MOST_WORDS: usize = 100;
/// Most faults in force at once.
const MOST_AT_ONCE: u32 = 10_000;
const SHORTEST: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Between two attacks, where nothing else is said.
pub(super) const USUAL_EVERY: Duration = Duration::from_secs(30);

/// The scenario that `order` asks for; the error names the field and what would be right.
pub(super) fn scenario_of(order: &ChaosOrder) -> Result<Scenario, String> {
    let mut scenario = match &order.scenario {
        Some(text) => {
            let others = order.every.is_some() || order.lease.is_some() || order.lasts.is_some();
            if others || !order.faults.is_empty() || !order.targets.is_empty() {
                return Err("scenario: it says faults, every, lease, targets and for itself: leave them out"
                    .to_owned());
            }
            text.parse::<Scenario>()
                .map_err(|error| format!("scenario: {}", clean(&error.to_string(), 2_000)))?
        }
        None => attacks(order)?,
    };
    if let Some(most) = order.max_concurrent {
        if !(1..=MOST_AT_ONCE).contains(&most) {
            return Err(format!("max_concurrent: {most} is out of range: give from 1 to {MOST_AT_ONCE}"));
        }
        scenario.max_concurrent = most as usize;
    }
    let conditions: Vec<AbortWord> = words("abort_when", &order.abort_when)?;
    scenario.abort_when(&conditions).map_err(|error| format!("abort_when: {error}"))?;
    Ok(scenario)
}

fn attacks(order: &ChaosOrder) -> Result<Scenario, String> {
    let faults: Vec<FaultSpec> = words("faults", &order.faults)?;
    let targets: Vec<TargetWord> = words("targets", &order.targets)?;
    Ok(Scenario::attacks(
        faults,
        Targets::of(targets).and_consenting(),
        span("every", order.every.as_deref(), WEEK)?.unwrap_or(USUAL_EVERY),
        span("for", order.lasts.as_deref(), WEEK)?,
        span("lease", order.lease.as_deref(), DAY)?,
    ))
}

fn words<T: std::str::FromStr<Err: ToString>>(field: &str, texts: &[String]) -> Result<Vec<T>, String> {
    if texts.len() > MOST_WORDS {
        return Err(format!("{field}: there are {}; give at most {MOST_WORDS}", texts.len()));
    }
    let read =
        |text: &String| text.parse().map_err(|error: T::Err| format!("{field}: {}", error.to_string()));
    texts.iter().map(read).collect()
}

fn span(field: &str, text: Option<&str>, longest: Duration) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let span = parse_span(text).map_err(|error| format!("{field}: {error}"))?;
    if (SHORTEST..=longest).contains(&span) {
        return Ok(Some(span));
    }
    let (shortest, longest) = (format_span(SHORTEST), format_span(longest));
    Err(format!("{field}: {} is out of range: give from {shortest} to {longest}", format_span(span)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Fault;

    fn wrong(order: &ChaosOrder) -> String {
        scenario_of(order).unwrap_err()
    }

    #[test]
    fn an_order_is_what_the_options_say() {
        let empty = scenario_of(&ChaosOrder::default()).unwrap();
        assert_eq!(empty.phases[0].faults, [FaultSpec::Exact(Fault::Stop)]);
        assert_eq!((empty.phases[0].every, empty.phases[0].lasts), (USUAL_EVERY, None));
        let order = ChaosOrder {
            faults: vec!["loss=20-100%".into(), "pause".into()],
            every: Some("10s".into()),
            lease: Some("1m".into()),
            targets: vec!["web-*".into(), "30%".into()],
            lasts: Some("10m".into()),
            max_concurrent: Some(3),
            abort_when: vec!["down=50%".into(), "engine-faults=2".into()],
            ..ChaosOrder::default()
        };
        let scenario = scenario_of(&order).unwrap();
        assert_eq!((scenario.lasts(), scenario.max_concurrent), (Some(Duration::from_mins(10)), 3));
        assert_eq!(scenario.phases[0].targets.share, Some(30));
        assert_eq!((scenario.abort.down_percent, scenario.abort.engine_faults), (Some(50), Some(2)));
        let shipped = ChaosOrder {
            scenario: Some(crate::chaos::SHIPPED[2].1.into()),
            abort_when: vec!["missed=4".into()],
            ..ChaosOrder::default()
        };
        let shipped = scenario_of(&shipped).unwrap();
        assert_eq!((shipped.name.as_str(), shipped.abort.missed), ("mixed", Some(4)));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let order = ChaosOrder::default;
        let long = vec!["stop".to_owned(); 101];
        for (order, says) in [
            (ChaosOrder { faults: vec!["flood".into()], ..order() }, "faults: there is no fault \"flood\""),
            (ChaosOrder { faults: long, ..order() }, "faults: there are 101; give at most 100"),
            (
                ChaosOrder { every: Some("1ms".into()), ..order() },
                "every: 1ms is out of range: give from 100ms to 7d",
            ),
            (ChaosOrder { lease: Some("soon".into()), ..order() }, "lease: "),
            (ChaosOrder { max_concurrent: Some(0), ..order() }, "max_concurrent: 0 is out of range"),
            (
                ChaosOrder { abort_when: vec!["down=3".into()], ..order() },
                "abort_when: down: \"3\" is not a share of the targets: write for example down=50%",
            ),
            (
                ChaosOrder { abort_when: vec!["missed=3".into()], ..order() },
                "abort_when: missed: nothing is expected of any fault here",
            ),
            (ChaosOrder { scenario: Some("x".into()), ..order() }, "scenario: the scenario is wrong"),
            (
                ChaosOrder { scenario: Some("x".into()), lease: Some("1s".into()), ..order() },
                "scenario: it says faults",
            ),
        ] {
            let error = wrong(&order);
            assert!(error.starts_with(says), "{error}");
        }
    }
}
