//! "Destroy and restart": `--restart-mode recreate`.

use super::rig::{OBEDIENT, QUICK, Rig, lose};

#[test]
fn a_lossy_container_is_destroyed_and_created_anew_the_same() {
    let rig = Rig::up(&[QUICK, &["--restart-mode", "recreate"]].concat());
    let lab = &rig.lab;
    let [first, second] = ["first", "second"].map(|name| lab.network(name, &[]));
    let options =
        ["--network", &first, "--network-alias", "web", "--label", "team=a b", "--env", "KEY=value"];
    let full = lab.run("web", &options, &OBEDIENT);
    lab.docker(&["network", "connect", &second, &full]);
    rig.monitor(&full);
    rig.wait_healthy(&full);
    let same = || {
        let template =
            "{{.Name}} {{.Config.Image}} {{json .Config.Labels}} {{json .Config.Env}} {{json .Config.Cmd}}";
        let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
        (lab.inspect(&full, template), lab.inspect(&full, networks))
    };
    let (id, before) = (lab.inspect(&full, "{{.Id}}"), same());
    let _injector = lose(lab, &full, 100.0);

    rig.wait_event(&full, "container_recreated");
    rig.wait_until(&full, "is well", |c| c["health"] == "healthy" && c["loss_percent"] == 0.0);
    assert_ne!(lab.inspect(&full, "{{.Id}}"), id);
    assert_eq!(same(), before);
    assert_eq!(rig.actions(&full), ["container_recreated"]);
    let names =
        lab.docker(&["ps", "--all", "--filter", &format!("name={}", lab.prefix()), "--format", "{{.Names}}"]);
    assert_eq!(names, full, "nothing is left beside it");
    assert_eq!(rig.listed(&full).expect("it is listed")["monitored"], true);
    rig.assert_no_errors();
}
