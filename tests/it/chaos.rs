//! Packet loss, the dummy, and the antagonist in a container, against a real kernel and a real engine.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use dockhealth::chaos::{
    DummyConfig, DummyNews, InjectError, LossPhase, LossPlan, NetBackend, RandomLoss, best_injector,
    in_netns, run_dummy,
};
use dockhealth::model::LossPercent;
use tokio_util::sync::CancellationToken;

use crate::support::{Lab, dockhealth_image, wait_for};

/// Set in the child processes of a test, which is run again in them.
const CHILD: &str = "DOCKHEALTH_TEST_CHAOS_CHILD";

/// A container to lose packets in.
struct Victim {
    pid: u32,
    address: String,
    gateway: String,
}

impl Victim {
    fn run(lab: &Lab) -> Self {
        let name = lab.run("victim", &[], &["sleep", "600"]);
        let field = |template| lab.inspect(&name, template);
        Self {
            pid: field("{{.State.Pid}}").parse().expect("a process id"),
            address: field("{{.NetworkSettings.IPAddress}}"),
            gateway: field("{{.NetworkSettings.Gateway}}"),
        }
    }

    /// How many of `count` echo requests from the host are answered.
    fn answers(&self, count: u32) -> u32 {
        fping(&self.address, count)
    }

    /// Our tables in its network namespace, in nft's own words.
    fn tables(&self) -> String {
        let list = || Command::new("nft").args(["list", "ruleset"]).output().expect("nft is installed");
        let output = in_netns(self.pid, list).expect("the container runs");
        assert!(output.status.success(), "{output:?}");
        let rules = String::from_utf8(output.stdout).expect("nft speaks UTF-8");
        if rules.contains("table inet dockhealth_") { rules } else { String::new() }
    }
}

/// An independent oracle: `fping`, one request a millisecond.
pub(crate) fn fping(address: &str, count: u32) -> u32 {
    let count_text = count.to_string();
    let output = Command::new("fping")
        .args(["-q", "-i", "0", "-p", "1", "-t", "500", "-c", &count_text, address])
        .output()
        .expect("fping is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    // 172.17.0.2 : xmt/rcv/%loss = 2000/1000/50%, ...
    let counts = text.split("= ").nth(1).unwrap_or_else(|| panic!("fping said {text}"));
    let counts: Vec<u32> = counts.split('/').take(2).map(|n| n.parse().expect("a count")).collect();
    assert_eq!(counts[0], count, "fping did not send all: {text}");
    counts[1]
}

/// Fails unless `answered` of `sent` is what independent loss of `percent` gives: within 5 standard deviations of the
/// binomial distribution, which chance leaves less than once in a million.
pub(crate) fn assert_share(answered: u32, sent: u32, percent: f64, what: &str) {
    let (n, p) = (f64::from(sent), percent / 100.0);
    let lost = n - f64::from(answered);
    let allowed = 5.0 * (n * p * (1.0 - p)).sqrt();
    eprintln!(
        "{what}: {percent} % set, {:.1} % lost (allowed +-{:.1})",
        lost / n * 100.0,
        allowed / n * 100.0
    );
    assert!((lost - n * p).abs() <= allowed, "{what}: {percent} % was set, {lost} of {sent} were lost");
}

#[test]
fn exactly_the_share_that_was_set_is_lost_once_in_each_direction() {
    let lab = Lab::new("loss");
    let victim = Victim::run(&lab);
    for backend in NetBackend::ALL {
        let mut injector = match in_netns(victim.pid, || backend.open("eth0")).unwrap() {
            Ok(injector) => injector,
            Err(InjectError::NoFeature(feature)) => {
                eprintln!("not tested, this kernel has no {feature}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let what = injector.describe().to_owned();
        assert_eq!(victim.answers(200), 200, "{what}: opening it changed something");
        for percent in [20.0, 50.0, 80.0] {
            injector.set(LossPercent::new(percent).unwrap()).unwrap();
            assert_share(victim.answers(2000), 2000, percent, &format!("{what}, to the container"));
        }
        injector.set(LossPercent::new(50.0).unwrap()).unwrap();
        let outwards = in_netns(victim.pid, || fping(&victim.gateway, 2000)).unwrap();
        assert_share(outwards, 2000, 50.0, &format!("{what}, from the container"));
        injector.set(LossPercent::ALL).unwrap();
        assert_eq!(victim.answers(200), 0, "{what}: 100 %");
        injector.set(LossPercent::NONE).unwrap();
        assert_eq!(victim.answers(200), 200, "{what}: 0 %");
        injector.set(LossPercent::ALL).unwrap();
        injector.clear().unwrap();
        assert_eq!(victim.answers(200), 200, "{what}: cleared");
        injector.set(LossPercent::ALL).unwrap();
        drop(injector);
        assert_eq!(victim.answers(200), 200, "{what}: dropped");
        assert_eq!(victim.tables(), "");
    }
}

#[test]
fn a_killed_process_leaves_no_nftables_loss_behind() {
    if let Ok(pid) = std::env::var(CHILD) {
        let open = || NetBackend::Nftables.open("eth0");
        let mut injector = in_netns(pid.parse().unwrap(), open).unwrap().unwrap();
        injector.set(LossPercent::ALL).unwrap();
        println!("armed");
        loop {
            std::thread::park();
        }
    }
    let lab = Lab::new("kill");
    let victim = Victim::run(&lab);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "chaos::a_killed_process_leaves_no_nftables_loss_behind", "--nocapture"])
        .env(CHILD, victim.pid.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let armed = output.lines().map_while(Result::ok).any(|line| line.ends_with("armed"));
    let (answers, tables) = (victim.answers(50), victim.tables());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(armed, "the child did not arm itself");
    assert_eq!(answers, 0);
    assert!(tables.contains("flags owner"), "{tables}");
    wait_for("the table's end", Duration::from_secs(5), || victim.tables().is_empty().then_some(()));
    assert_eq!(victim.answers(50), 50);
}

#[test]
fn without_the_capability_the_error_names_it() {
    if std::env::var(CHILD).is_ok() {
        for backend in NetBackend::ALL {
            println!("{}: {}", backend.name(), backend.open("lo").err().expect("it was permitted"));
        }
        println!("best: {}", best_injector("lo").err().expect("it was permitted"));
        return;
    }
    let output = Command::new("setpriv")
        .args(["--inh-caps=-net_admin", "--bounding-set=-net_admin"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "chaos::without_the_capability_the_error_names_it", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("setpriv is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    // The three backends, and the best one.
    assert_eq!(text.matches("missing: CAP_NET_ADMIN").count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("CAP_NET_ADMIN")).count(), 4, "{text}");
}

#[tokio::test]
async fn a_dummys_words_are_what_its_interface_does() {
    let lab = Lab::new("dummy");
    let victim = Victim::run(&lab);
    let spans = Duration::from_millis(100)..=Duration::from_millis(200);
    let config = DummyConfig {
        every: Duration::from_secs(1),
        loss: Some(LossPlan::Random(RandomLoss::new(11, 100..=100, spans).unwrap())),
        interface: "eth0".into(),
    };
    let open = |interface: &str| in_netns(victim.pid, || best_injector(interface)).and_then(|opened| opened);
    let shutdown = CancellationToken::new();
    let mut heard = Vec::new();
    run_dummy(&config, open, &shutdown, |news| {
        heard.push(news.to_string());
        match news {
            DummyNews::Phase(LossPhase { loss: None, .. }) => {
                assert_eq!(victim.answers(20), 20, "{heard:#?}");
            }
            DummyNews::Phase(_) => {
                assert_eq!(victim.answers(20), 0, "{heard:#?}");
                if heard.iter().filter(|line| line.starts_with("loses 100 %")).count() == 3 {
                    shutdown.cancel();
                }
            }
            DummyNews::Unarmed(error) | DummyNews::Fault(error) => panic!("{error}"),
            _ => {}
        }
    })
    .await;
    assert_eq!(victim.answers(50), 50, "it ended and lost packets still: {heard:#?}");
}

/// Waits until a container's log holds `part`.
fn wait_for_line(lab: &Lab, name: &str, part: &str) {
    let log = || lab.docker(&["logs", name]);
    wait_for(&format!("{part:?} in the log"), Duration::from_secs(20), || log().contains(part).then_some(()));
}

#[test]
fn as_the_first_process_of_a_container_a_dummy_says_what_it_can_and_ends_when_told_to() {
    let lab = Lab::new("dummypid1");
    let command = ["dummy", "--antagonist", "--seed", "1"];
    let armed = lab.run_image(dockhealth_image(), "armed", &["--cap-add", "NET_ADMIN"], &command);
    let unarmed = lab.run_image(dockhealth_image(), "unarmed", &[], &command);
    wait_for_line(&lab, &armed, "loses packets by ");
    wait_for_line(&lab, &armed, "loses no packets for ");
    wait_for_line(
        &lab,
        &unarmed,
        "goes on without losing packets: packet loss needs the capability CAP_NET_ADMIN",
    );
    for name in [&armed, &unarmed] {
        wait_for_line(&lab, name, "started at ");
        // Killed after these 10 s, it would neither say so nor exit with 0.
        lab.docker(&["stop", "--time", "10", name]);
        wait_for_line(&lab, name, "ended");
        assert_eq!(lab.inspect(name, "{{.State.ExitCode}}"), "0");
    }
}

#[test]
fn in_a_container_the_antagonist_knows_itself() {
    let lab = Lab::new("own");
    let all = format!("{}-*", lab.prefix());
    let other = lab.run("other", &[], &["sleep", "600"]);
    let socket = ["--volume", "/var/run/docker.sock:/var/run/docker.sock"];
    let command = ["antagonist", "--dry-run", "--every", "100ms", "--target", &all];
    for (name, namespace) in [("host", "host"), ("private", "private")] {
        let options = [&socket[..], &["--cgroupns", namespace]].concat();
        let antagonist = lab.run_image(dockhealth_image(), name, &options, &command);
        // Others' labelled containers may be among the chosen: it only says so.
        wait_for("attacks on the other one", Duration::from_mins(1), || {
            let log = lab.docker(&["logs", &antagonist]);
            let enough = log.matches("would stop ").count() >= 20;
            (enough && log.contains(&format!("would stop {other}"))).then_some(())
        });
        lab.docker(&["stop", &antagonist]);
        let log = lab.docker(&["logs", &antagonist]);
        assert!(!log.contains(&format!("would stop {antagonist}")), "it would stop itself: {log}");
        assert!(log.ends_with("antagonist ended: stopped 0"), "{log}");
    }
}

#[test]
fn the_demo_is_three_dummies_that_consent_and_an_antagonist_that_is_spared() {
    let output = Command::new("docker-compose")
        .args(["--project-name", "dhtest", "--file", "deploy/demo/compose.yaml", "config"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("docker-compose is installed");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for (part, times) in [
        ("image: dockhealth:local", 4),
        ("- NET_ADMIN", 3),
        ("dockhealth.chaos: \"true\"", 3),
        ("dockhealth.monitor: \"true\"", 3),
        ("dockhealth.on-stop: restart", 3),
        ("dockhealth.role: antagonist", 1),
        ("- /var/run/docker.sock:/var/run/docker.sock", 1),
    ] {
        assert_eq!(text.matches(part).count(), times, "{part} in {text}");
    }
}
