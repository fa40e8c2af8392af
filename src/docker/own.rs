//! Which container this process runs in, so that nobody heals, attacks or recreates himself.

use crate::model::ContainerId;

/// The id of the container this process runs in; `None` outside of containers, or where the kernel hides it (a private
/// cgroup namespace together with `/etc` files that the engine did not mount).
///
/// A container that shares another's network (`--network container:`) *and* has a private cgroup namespace sees
/// only the other's id, and that is what it gets.
pub fn own_container_id() -> Option<ContainerId> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    from_proc(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// From the texts of `/proc/self/cgroup` (cgroups(7)), which tell unless the cgroup namespace is private, as it is by
/// default with cgroup v2; then from `/proc/self/mountinfo` (proc(5)), where the engine's own mounts name it.
fn from_proc(cgroup: &str, mountinfo: &str) -> Option<ContainerId> {
    cgroup.lines().find_map(|line| id_in_cgroup(line.splitn(3, ':').nth(2)?)).or_else(|| {
        mountinfo.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            let engines = matches!(point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf");
            if engines { root.rsplit('/').nth(1).and_then(full_id) } else { None }
        })
    })
}

/// The innermost container of a cgroup path: `/docker/<id>` or, with systemd, `/system.slice/docker-<id>.scope`.
fn id_in_cgroup(path: &str) -> Option<ContainerId> {
    path.rsplit('/').find_map(|part| {
        let unit = part.strip_suffix(".scope").and_then(|unit| unit.rsplit('-').next());
        full_id(unit.unwrap_or(part))
    })
}

/// Only the engine's full ids: 64 hexadecimal digits.
fn full_id(text: &str) -> Option<ContainerId> {
    if text.len() == 64 { ContainerId::new(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "a686a001d05e80281e82be960b9bdc1db5a10ce138be2228f766be316991ef35";
    const OTHER: &str = "f0cdeb3b2cd832d2158e2bf7e27ba8b49b2c551ee5defe9e4b1dc8d81aed59e4";
    /// Recorded in a container of Docker 20.10 (shortened); `{}` is its id.
    const MOUNTS: &str = "\
74 49 0:39 / / rw,relatime master:2 - overlay overlay rw,upperdir=/var/lib/docker/overlay2/375c134b9335b09da54c54c5da7a426cf097900bc7e2345126cb270155b521cb/diff
75 74 0:42 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
91 74 254:0 /var/lib/docker/containers/{}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw,discard
92 74 254:0 /var/lib/docker/containers/{}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw,discard
93 74 254:0 /var/lib/docker/containers/{}/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw,discard
";

    fn found(cgroup: &str, mountinfo: &str) -> Option<String> {
        from_proc(&cgroup.replace("{}", ID), &mountinfo.replace("{}", ID)).map(String::from)
    }

    #[test]
    fn cgroup_v1_tells_with_either_driver() {
        for cgroup in [
            "9:name=systemd:/docker/{}\n8:pids:/docker/{}\n0::/docker/{}\n",
            "4:memory:/foo/{}\n",
            "0::/system.slice/docker-{}.scope\n",
            "0::/system.slice/docker-{}.scope/init\n",
        ] {
            assert_eq!(found(cgroup, "").as_deref(), Some(ID), "{cgroup}");
        }
    }

    #[test]
    fn a_private_cgroup_namespace_leaves_the_engines_mounts() {
        assert_eq!(found("0::/\n", MOUNTS).as_deref(), Some(ID));
        assert_eq!(found("", MOUNTS).as_deref(), Some(ID));
    }

    #[test]
    fn the_cgroup_is_right_where_the_mounts_are_anothers() {
        let cgroup = format!("9:name=systemd:/docker/{OTHER}\n");
        assert_eq!(found(&cgroup, MOUNTS).as_deref(), Some(OTHER), "--network container:");
    }

    #[test]
    fn the_inner_of_nested_containers_is_found() {
        assert_eq!(found(&format!("4:memory:/docker/{OTHER}/docker/{{}}\n"), "").as_deref(), Some(ID));
    }

    #[test]
    fn a_host_is_no_container() {
        let cgroup = "4:memory:/process_api/2b250d16d378789ca8c900c0d5db3ef5\n0::/user.slice/user-0.slice/session-1.scope\n";
        let mounts = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n30 27 254:0 /srv/{}/x /srv rw - ext4 /dev/vda rw\n";
        assert_eq!(found(cgroup, mounts), None);
        assert_eq!(found("", ""), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(cgroup in "[0-9a-f:/\\.\n -]{0,200}", mountinfo in ".{0,200}") {
            let _ = from_proc(&cgroup, &mountinfo);
            let _ = from_proc(&mountinfo, &cgroup);
        }
    }
}
