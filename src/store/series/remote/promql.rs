//! What a question is in `PromQL`. Only what Prometheus, Mimir, Thanos and VictoriaMetrics all understand alike.

use std::fmt::Write;

use super::wire::PREFIX;
use super::{RangeQuery, Statistic, Subjects};
use crate::model::{MetricSubject, SeriesName};

/// The label that says which metric a result is of: most servers drop the name when they aggregate.
pub(super) const METRIC: &str = "metric";
/// The label that says which figure of a summary a result is.
pub(super) const FIGURE: &str = "figure";

/// Everything is asked for a time that lies this far back, of samples that far ahead, seconds: VictoriaMetrics repeats
/// old values for the times of the last 30 s (`-search.latencyOffset`), unless the time itself is long past.
pub(super) const SHIFT: i64 = 3_600;

/// VictoriaMetrics takes no query of 16 KiB and more.
const LONGEST: usize = 12_000;

/// The samples of `seconds`, the first moment left out: Prometheus 2 would take it in, so the window ends a
/// millisecond short of it, and no sample of ours lies between two seconds.
fn window(seconds: i64) -> String {
    format!("[{}ms] offset -{SHIFT}s", seconds.saturating_mul(1_000).saturating_sub(1).max(1))
}

/// The queries, each of bounded length, that together ask for `names`, with [`METRIC`] on every result.
pub(super) fn range(query: &RangeQuery, names: &[SeriesName]) -> Vec<String> {
    let function = match query.statistic {
        Statistic::Mean => "avg_over_time",
        Statistic::Max => "max_over_time",
    };
    let mut queries: Vec<String> = Vec::new();
    for name in names {
        let part = name.part().map(|part| format!(",part={}", quoted(part))).unwrap_or_default();
        let term = format!(
            "label_replace({function}({PREFIX}{metric}{{{subject}{part}}}{window}),\"{METRIC}\",\"{metric}\",\"\",\"\")",
            metric = name.metric(),
            subject = subject(&query.subject),
            window = window(query.step.into()),
        );
        match queries.last_mut() {
            Some(query) if query.len() + term.len() < LONGEST => query.extend([" or ", &term]),
            _ => queries.push(term),
        }
    }
    queries
}

/// Selects the series of one subject, whatever their names.
pub(super) fn all_of(of: &MetricSubject) -> String {
    format!("{{{}}}", subject(of))
}

/// What one series of every subject was over `seconds`, with [`FIGURE`] on every result.
pub(super) fn summary(subjects: &Subjects, name: &SeriesName, seconds: i64) -> String {
    let of = match subjects {
        Subjects::Hosts => "container=\"\"".to_owned(),
        Subjects::Containers => "container!=\"\"".to_owned(),
        Subjects::ContainersOf(host) => format!("host={},container!=\"\"", quoted(host.as_str())),
    };
    let selector =
        format!("{PREFIX}{}{{{of},part={}}}", name.metric(), quoted(name.part().unwrap_or_default()));
    let window = window(seconds);
    let figure = |word: &str, function: &str| {
        format!("label_replace({function}({selector}{window}),\"{FIGURE}\",\"{word}\",\"\",\"\")")
    };
    [figure("mean", "avg_over_time"), figure("max", "max_over_time"), figure("last", "last_over_time")]
        .join(" or ")
}

/// The labels of one subject; a host's own series have no container.
fn subject(subject: &MetricSubject) -> String {
    let container = subject.container.as_ref().map_or("", |container| container.as_str());
    format!("host={},container={}", quoted(subject.host.as_str()), quoted(container))
}

/// A string of `PromQL`, which has Go's escapes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            _ if char.is_control() => drop(write!(out, "\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(container: Option<&str>, statistic: Statistic) -> RangeQuery {
        let container = container.map(|name| name.parse().unwrap());
        let subject = MetricSubject { host: "web.1".parse().unwrap(), container };
        RangeQuery { subject, names: Vec::new(), from: 0, to: 0, step: 60, statistic }
    }

    #[test]
    fn a_metric_stands_for_all_its_parts_and_a_part_for_itself() {
        let names = ["load1", "filesystem_used_bytes/\\a\"b"].map(|name| name.parse().unwrap());
        assert_eq!(
            range(&query(None, Statistic::Max), &names),
            [concat!(
                r#"label_replace(max_over_time(dockhealth_load1{host="web.1",container=""}[59999ms] offset -3600s),"#,
                r#""metric","load1","","") or "#,
                r#"label_replace(max_over_time(dockhealth_filesystem_used_bytes{host="web.1",container="",part="\\a\"b"}"#,
                r#"[59999ms] offset -3600s),"metric","filesystem_used_bytes","","")"#,
            )]
        );
    }

    #[test]
    fn queries_are_of_bounded_length_and_leave_no_name_out() {
        let names: Vec<SeriesName> =
            (0..500).map(|n| format!("m{}/{}", "x".repeat(50), n).parse().unwrap()).collect();
        let queries = range(&query(Some("web"), Statistic::Mean), &names);
        assert!(queries.iter().all(|query| query.len() < 16_384));
        assert_eq!(queries.iter().map(|query| query.matches("avg_over_time").count()).sum::<usize>(), 500);
    }

    #[test]
    fn a_summary_is_of_the_series_without_part_unless_one_is_named() {
        let name = "cpu_percent".parse().unwrap();
        let all = summary(&Subjects::Hosts, &name, 600);
        assert!(
            all.starts_with(
                r#"label_replace(avg_over_time(dockhealth_cpu_percent{container="",part=""}[599999ms] offset -3600s),"figure","mean","","") or "#
            ),
            "{all}"
        );
        let part = "disk_read_bytes_per_second/sda".parse().unwrap();
        let all = summary(&Subjects::Containers, &part, 1);
        assert!(all.contains(r#"{container!="",part="sda"}[999ms]"#), "{all}");
        let one = summary(&Subjects::ContainersOf("h".parse().unwrap()), &part, 1);
        assert!(one.contains(r#"{host="h",container!="",part="sda"}[999ms]"#), "{one}");
    }
}
