use super::*;

fn read(args: &[&str]) -> Result<Task, String> {
    let args = std::iter::once("cpu-collect").chain(args.iter().copied());
    let matches = command().try_get_matches_from(args).unwrap();
    task(Resolver::over(&matches, [], None)).map_err(|failure| failure.to_string())
}

fn plan_of(args: &[&str]) -> (bool, u128, Option<u128>) {
    match read(args) {
        Ok(Task::Measure(measuring, _)) => {
            let plan = measuring.plan;
            (plan.once, plan.interval.as_millis(), plan.span.map(|span| span.as_millis()))
        }
        Ok(_) => panic!("{args:?} measure nothing"),
        Err(error) => panic!("{args:?}: {error}"),
    }
}

#[test]
fn the_interval_follows_from_what_is_asked_for() {
    assert_eq!(plan_of(&[]), (false, 10_000, None));
    assert_eq!(plan_of(&["--once"]), (true, 1000, None));
    assert_eq!(plan_of(&["--once", "--interval", "5s"]), (true, 5000, None));
    assert_eq!(plan_of(&["--for", "1m"]), (false, 1000, Some(60_000)));
    assert_eq!(plan_of(&["--for", "500ms"]), (false, 500, Some(500)));
    assert_eq!(
        plan_of(&["--for", "1m", "--interval", "20s", "--format", "prom"]),
        (false, 20_000, Some(60_000))
    );
    assert_eq!(plan_of(&["--listen", "127.0.0.1:0", "--format", "prom"]), (false, 1000, None));
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let compare = ["--compare", "a", "b"];
    for (args, says) in [
        (&["--once", "--for", "1m"][..], "--for: does not go together with --once"),
        (&["--once", "--per-minute"], "--per-minute: does not go together with --once"),
        (&["--for", "30s", "--per-minute"], "--per-minute: needs a --for of a minute or more"),
        (&["--for", "1s", "--interval", "2s"], "--interval: must not be longer than --for"),
        (&["--per-minute", "--interval", "2m"], "--interval: must not be longer than the minute"),
        (&["--format", "prom"], "--format: prom is a single page"),
        (&["--format", "prom", "--for", "2m", "--per-minute"], "--format: prom is a single page"),
        (&["--format", "yaml"], "--format: \"yaml\" is not one of table, json, csv, prom"),
        (&["--sort", "colour"], "--sort: \"colour\" is none of cpu, memory, net, block, pids, name"),
        (&["--columns", "load1"], "--columns: \"load1\" is none of cpu,"),
        (&["--force"], "--force: goes together with --output only"),
        (&["--limit", "3"], "--limit: goes together with --processes only"),
        (&["--listen", "0.0.0.0:1"], "--listen: beyond this machine everybody could read it"),
        (&["--listen", "8931"], "--listen: \"8931\" is not an address and port"),
        (&["--processes", "--format", "prom"], "--format: processes are a table"),
        (&["--processes", "--sort", "net"], "--sort: with --processes"),
        (&["--processes", "--output", "x"], "--output: does not go together with --processes"),
        (&["--processes", "--for", "2s", "--once"], "--for: with --processes, give one of"),
        (&["a b"], "CONTAINER: \"a b\" matches no container name"),
        (&["--label", "=x"], "LABEL: \"=x\" names no label"),
        (&[compare[0], compare[1], compare[2], "--once"], "--once: does not go together with --compare"),
        (&[compare[0], compare[1], compare[2], "--format", "prom"], "--format: a comparison is a table"),
        (
            &[compare[0], compare[1], compare[2], "--sort", "pids"],
            "--sort: what two recordings are sorted by",
        ),
    ] {
        let error = read(args).err().unwrap_or_else(|| panic!("{args:?} were taken"));
        assert!(error.contains(&format!("\n  {says}")), "{args:?}: {error}");
    }
}

#[test]
fn beyond_this_machine_needs_consent_and_labels_may_hold_commas() {
    assert!(read(&["--listen", "0.0.0.0:1", "--insecure-http"]).is_ok());
    let Ok(Task::Measure(_, subjects)) = read(&["web-*", "--label", "a=1,2", "--label", "b"]) else {
        panic!("it measures")
    };
    let chosen = subjects.selection.to_string();
    assert_eq!(chosen, "the name web-*, the label a=1,2, the label b");
}

#[test]
fn two_recordings_and_names_are_compared() {
    let Ok(Task::Compare(comparison)) = read(&["--compare", "a", "b", "web", "--sort", "cpu"]) else {
        panic!("it compares")
    };
    assert_eq!((comparison.files, comparison.names.len()), (["a".into(), "b".into()], 1));
}
