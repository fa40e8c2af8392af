use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::metrics::fixtures::{ID, write};

const FOLDER: &str = "sys/fs/cgroup/docker/b416e74e728f259a203d61c07746979ac14a9db1aeb97dc4440cefc5fcd570e7";

fn stat(pid: u32, command: &str, ticks: u64, pages: u64) -> String {
    format!(
        "{pid} ({command}) S 1 1 1 0 -1 4194560 9 0 0 0 {ticks} 7 0 0 20 0 3 0 500 1000 {pages} 18446744073709551615 1\n"
    )
}

fn host(files: &[(&str, &str)]) -> (TempDir, Processes) {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("sys/fs/cgroup/cgroup.controllers", "cpu\n")]);
    write(root.path(), files);
    let mut processes = Processes::new(root.path());
    processes.units = Units { ticks_per_second: 100, page_bytes: 4096 };
    (root, processes)
}

fn read(processes: &Processes) -> Result<ProcessReading, ProcessesError> {
    processes.read(&ContainerId::new(ID).unwrap(), None)
}

#[test]
fn processes_of_nested_cgroups_count_and_the_busiest_come_first() {
    let procs = [format!("{FOLDER}/cgroup.procs"), format!("{FOLDER}/inner/cgroup.procs")];
    let (root, processes) = host(&[
        (&procs[0], "10\n11\n"),
        (&procs[1], "12\n13\n"),
        ("proc/10/stat", &stat(10, "idle", 5, 10)),
        ("proc/11/stat", &stat(11, "odd) (\u{1b}[2J", 0, 30)),
        ("proc/12/stat", &stat(12, "busy", 100, 20)),
    ]);
    let before = ProcessReading { at: Duration::ZERO, ..read(&processes).unwrap() };
    write(root.path(), &[("proc/12/stat", &stat(12, "busy", 150, 20))]);
    let mut after = read(&processes).unwrap();
    after.at = Duration::from_secs(2);
    let list = after.since(&before, 2);
    let told: Vec<_> = list.processes.iter().map(|p| (p.pid, p.command.as_str(), p.memory_bytes)).collect();
    assert_eq!(told, [(12, "busy", 81_920), (11, "odd) (?[2J", 122_880)], "13 has ended");
    assert!((list.processes[0].cpu_percent - 25.0).abs() < 1e-9 && list.processes[0].threads == 3);
    assert_eq!((list.left_out, list.span_ms), (1, 2000));
}

#[test]
fn a_process_id_given_anew_is_another_process() {
    let procs = format!("{FOLDER}/cgroup.procs");
    let (root, processes) = host(&[(&procs, "10\n"), ("proc/10/stat", &stat(10, "old", 900, 1))]);
    let before = ProcessReading { at: Duration::ZERO, ..read(&processes).unwrap() };
    write(root.path(), &[("proc/10/stat", &stat(10, "new", 43, 1).replace(" 500 ", " 600 "))]);
    let after = ProcessReading { at: Duration::from_secs(1), ..read(&processes).unwrap() };
    assert!((after.since(&before, 9).processes[0].cpu_percent - 50.0).abs() < 1e-9);
}

#[test]
fn what_cannot_be_read_is_said() {
    let procs = format!("{FOLDER}/cgroup.procs");
    assert_eq!(read(&host(&[]).1), Err(ProcessesError::NoCgroup));
    assert_eq!(read(&host(&[(&procs, "0\n0\n")]).1), Err(ProcessesError::Unseen));
    let empty = read(&host(&[(&procs, "")]).1).unwrap();
    assert_eq!(empty.since(&empty, 9), ProcessList::default());
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(read(&Processes::new(nothing.path())), Err(ProcessesError::NoCgroups));
}

#[test]
fn of_very_many_the_rest_is_counted() {
    let pids: Vec<String> = (1..=MOST + 7).map(|pid| pid.to_string()).collect();
    let pids = pids.join("\n");
    let (_root, processes) =
        host(&[(&format!("{FOLDER}/cgroup.procs"), &pids), ("proc/1/stat", &stat(1, "a", 0, 0))]);
    let reading = read(&processes).unwrap();
    assert_eq!((reading.processes.len(), reading.since(&reading, 0).left_out), (1, 8));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", fields in proptest::collection::vec(any::<i64>(), 0..30)) {
        let _ = text::process(&text);
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        let _ = text::process(&format!("1 ({text}) R {}", fields.join(" ")));
    }
}
