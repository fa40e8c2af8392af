use proptest::prelude::*;

use super::*;

#[test]
fn cpu_times_by_mode() {
    let text = "cpu  1063065 177069 266410 1225154 19891 3 6356 876 50 60\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3\nintr 5 cpu7\n";
    let expected = CpuTimes {
        user: 1_063_065,
        nice: 177_069,
        system: 266_410,
        idle: 1_225_154,
        iowait: 19_891,
        irq: 6359,
        steal: 876,
        cores: 2,
    };
    assert_eq!(cpu_times(text), Some(expected));
    assert_eq!(cpu_times("cpu  1 2 3 4\ncpu0 1 2 3 4\n").map(|times| times.steal), Some(0), "an old kernel");
    for bad in ["", "cpu  1 2 3 4\n", "cpu0 1 2 3 4\n", "cpu  x\ncpu0 1\n"] {
        assert_eq!(cpu_times(bad), None, "{bad:?}");
    }
}

#[test]
fn sectors_have_512_bytes() {
    let text = " 254       0 vda 5905687 180527 346339290 8962114 2513195 826831 321297040 2701742 0 583176 11872964\n 7 0 short 1\n";
    assert_eq!(disks(text).collect::<Vec<_>>(), [("vda", 346_339_290 * 512, 321_297_040 * 512)]);
}

#[test]
fn mounts_are_real_when_they_hold_files_on_a_disk() {
    let text = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
42 27 254:0 /var /srv/a\\040b rw,relatime shared:1 master:2 - ext4 /dev/vda rw
49 50 0:39 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/a - b
60 27 0:50 / /mnt/nfs rw - nfs4 server:/export rw
61 27 7:1 / /snap/x ro - squashfs /dev/loop1 ro
";
    let real: Vec<_> = mounts(text).filter(Mount::is_real).map(|mount| unescaped(mount.point)).collect();
    assert_eq!(real, ["/", "/srv/a b", "/mnt/nfs"]);
    assert_eq!(unescaped("\\134\\040\\04"), "\\ \\04");
}

#[test]
fn loads_and_uptime() {
    assert_eq!(loads("0.83 1.23 1.18 2/300 99\n"), Some([0.83, 1.23, 1.18]));
    assert_eq!(
        (loads("0.83 x 1"), loads("0.83"), loads("nan 1 1"), loads("-1 1 1")),
        (None, None, None, None)
    );
    assert_eq!(uptime("13596.45 24503.08\n"), Some(13_596.45));
    assert_eq!((uptime("inf 1"), uptime("")), (None, None));
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "(cpu|cpu1|[0-9]{1,21}| - |/|:|\\\\[0-9]{3}|é|\\.| |\n){0,40}") {
        let times = cpu_times(&text);
        let _ = (times.and_then(|times| times.all()), loads(&text), uptime(&text), unescaped(&text));
        prop_assert!(disks(&text).count() + mounts(&text).filter(Mount::is_real).count() <= text.len());
    }

    #[test]
    fn any_mount_point_comes_back(point in "[^\u{0}]{1,30}") {
        let escaped: String = point.chars().map(|c| match c {
            ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", u32::from(c)),
            c => c.to_string(),
        }).collect();
        prop_assert_eq!(unescaped(&escaped), point);
    }
}
