//! The processes of the chosen containers.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::output::{WIPE, note, print};
use super::columns::Sort;
use super::page::{Format, Place, cell, json, table};
use super::select::Watch;
use crate::docker::ContainerSource;
use crate::metrics::{ProcessReading, Processes};
use crate::model::{ContainerFacts, ContainerName, ProcessList};

/// What is listed, and how.
#[derive(Debug)]
pub(super) struct Listing {
    /// Over how long CPU is measured.
    pub(super) span: Duration,
    /// Whether they are listed again and again.
    pub(super) again: bool,
    /// Of each container at most so many.
    pub(super) limit: usize,
    pub(super) sort: Sort,
    pub(super) format: Format,
}

/// One container's, or why they cannot be told.
#[derive(Debug, Serialize)]
struct Row {
    name: ContainerName,
    #[serde(flatten)]
    list: Option<ProcessList>,
    error: Option<String>,
}

/// Lists them until told to stop.
pub(super) async fn list<S: ContainerSource>(
    of: &Listing,
    watch: &mut Watch<S>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let root = PathBuf::from("/");
    let processes = Processes::new(&root);
    let read = |chosen: &[ContainerFacts]| -> Vec<Result<ProcessReading, String>> {
        let one = |facts: &ContainerFacts| {
            if facts.pid.is_none() {
                return Err(format!("it is {}, and has no processes", facts.state.as_str()));
            }
            processes.read(&facts.id, facts.pid).map_err(|error| error.to_string())
        };
        chosen.iter().map(one).collect()
    };
    let mut place = Place::First;
    loop {
        let chosen = watch.chosen.clone();
        let before = read(&chosen);
        if stop.run_until_cancelled(sleep(of.span)).await.is_none() {
            return Ok(());
        }
        let after = read(&chosen);
        let row = |((facts, before), after): ((&ContainerFacts, _), _)| {
            let list = both(before, after).map(|(before, after)| after.since(&before, of.limit));
            let (list, error) = match list {
                Ok(list) => (Some(list), None),
                Err(error) => (None, Some(error)),
            };
            Row { name: facts.name.clone(), list, error }
        };
        let mut rows: Vec<Row> = chosen.iter().zip(before).zip(after).map(row).collect();
        of.sort.sort(&mut rows, |row| row.name.as_str(), Row::sum);
        if of.format == Format::Table {
            people(&rows, of, place)?;
        } else {
            print(&if of.format == Format::Csv { csv(&rows, place) } else { json(&rows) })?;
        }
        if !of.again {
            return Ok(());
        }
        place = Place::Later;
        watch.refresh().await;
    }
}

fn both(
    before: Result<ProcessReading, String>,
    after: Result<ProcessReading, String>,
) -> Result<(ProcessReading, ProcessReading), String> {
    Ok((before?, after?))
}

impl Row {
    /// What the processes that are told of use together.
    fn sum(&self, metric: &'static str) -> Option<f64> {
        let processes = &self.list.as_ref()?.processes;
        match metric {
            "cpu_percent" => Some(processes.iter().map(|process| process.cpu_percent).sum()),
            "memory_bytes" => Some(processes.iter().map(|process| process.memory_bytes as f64).sum()),
            _ => None,
        }
    }
}

fn people(rows: &[Row], of: &Listing, place: Place) -> Result<(), Failure> {
    let headings = ["NAME", "COMMAND", "PID", "CPU %", "RSS", "THREADS"].map(str::to_owned);
    let mut lines = Vec::new();
    for row in rows {
        for process in row.list.iter().flat_map(|list| &list.processes) {
            lines.push(vec![
                row.name.to_string(),
                process.command.clone(),
                process.pid.to_string(),
                cell("cpu_percent", Some(process.cpu_percent)),
                cell("memory_bytes", Some(process.memory_bytes as f64)),
                process.threads.to_string(),
            ]);
        }
    }
    let text = table(headings.into(), lines, 2);
    if of.again && std::io::stdout().is_terminal() {
        print(WIPE)?;
    } else if place == Place::Later {
        print("\n")?;
    }
    print(&text)?;
    for row in rows {
        if let Some(error) = &row.error {
            note(&format!("{}: {error}", row.name));
        }
        let more = row.list.as_ref().map_or(0, |list| list.left_out);
        if more > 0 {
            note(&format!("{}: {more} more; --limit shows more of them", row.name));
        }
    }
    Ok(())
}

fn csv(rows: &[Row], place: Place) -> String {
    let mut out = String::new();
    if place == Place::First {
        out.push_str("name,pid,command,cpu_percent,memory_bytes,threads\n");
    }
    for row in rows {
        for process in row.list.iter().flat_map(|list| &list.processes) {
            // The name may hold anything but control characters.
            let command = process.command.replace('"', "\"\"");
            let (cpu, memory) = (process.cpu_percent, process.memory_bytes);
            let line =
                format!("{},{},\"{command}\",{cpu},{memory},{}\n", row.name, process.pid, process.threads);
            out.push_str(&line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProcessUse;

    #[test]
    fn names_of_programs_are_quoted() {
        let process = ProcessUse {
            pid: 7,
            command: "a\",b".to_owned(),
            cpu_percent: 1.5,
            memory_bytes: 4096,
            threads: 2,
        };
        let list = ProcessList { span_ms: 1000, processes: vec![process], left_out: 3 };
        let name = |name: &str| ContainerName::new(name).unwrap();
        let rows = [
            Row { name: name("web"), list: Some(list), error: None },
            Row { name: name("gone"), list: None, error: Some("it is exited".to_owned()) },
        ];
        assert_eq!(
            csv(&rows, Place::First),
            "name,pid,command,cpu_percent,memory_bytes,threads\nweb,7,\"a\"\",b\",1.5,4096,2\n"
        );
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!((&json[0]["left_out"], &json[1]["error"]), (&3.into(), &"it is exited".into()));
    }
}
