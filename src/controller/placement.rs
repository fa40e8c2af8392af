//! Where a container has room: a pure function of what hosts measured.

use crate::model::{HostName, format_size};

/// What is to be placed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demand {
    /// CPU, cores.
    pub(crate) cores: f64,
    /// Memory, bytes.
    pub(crate) memory: f64,
}

/// What a host has and uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) cores: f64,
    /// Cores that were busy, in the mean.
    pub(crate) cores_busy: f64,
    /// Memory, bytes.
    pub(crate) memory: f64,
    /// The most memory that was in use, bytes.
    pub(crate) memory_used: f64,
}

impl Load {
    /// Cores that are free.
    pub(crate) fn cores_free(&self) -> f64 {
        (self.cores - self.cores_busy).max(0.0)
    }

    /// Memory that is free, bytes.
    pub(crate) fn memory_free(&self) -> f64 {
        (self.memory - self.memory_used).max(0.0)
    }

    fn is_sound(&self) -> bool {
        let all = [self.cores, self.cores_busy, self.memory, self.memory_used];
        all.iter().all(|figure| figure.is_finite() && *figure >= 0.0) && self.cores > 0.0 && self.memory > 0.0
    }
}

/// A host, with its load, or why it does not count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) host: HostName,
    pub(crate) load: Result<Load, String>,
}

/// A host whose load is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(crate) host: HostName,
    pub(crate) load: Load,
    /// The smaller of the shares of CPU and memory that would stay free there; negative where it does not fit.
    pub(crate) headroom: f64,
    /// In one plain sentence.
    pub(crate) reason: String,
}

/// All hosts, each once.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Placement {
    /// Those with room, the most of it first.
    pub(crate) fits: Vec<Place>,
    /// Those without, the least short of it first.
    pub(crate) full: Vec<Place>,
    /// Those that do not count, and why.
    pub(crate) left_out: Vec<(HostName, String)>,
}

/// Ranks `candidates` by what would stay free: the scarcer of CPU and memory decides, so neither runs out while the
/// other lies idle.
pub(crate) fn place(demand: Demand, candidates: Vec<Candidate>) -> Placement {
    let mut placement = Placement::default();
    for Candidate { host, load } in candidates {
        match load {
            Ok(load) if load.is_sound() => {
                let place = judge(demand, host, load);
                let among = if fits(demand, &load) { &mut placement.fits } else { &mut placement.full };
                among.push(place);
            }
            Ok(_) => placement.left_out.push((host, "its samples make no sense".into())),
            Err(why) => placement.left_out.push((host, why)),
        }
    }
    for places in [&mut placement.fits, &mut placement.full] {
        places.sort_by(|a, b| b.headroom.total_cmp(&a.headroom).then_with(|| a.host.cmp(&b.host)));
    }
    placement.left_out.sort();
    placement
}

fn fits(demand: Demand, load: &Load) -> bool {
    demand.cores <= load.cores_free() && demand.memory <= load.memory_free()
}

fn judge(demand: Demand, host: HostName, load: Load) -> Place {
    let cores_left = load.cores_free() - demand.cores;
    let memory_left = load.memory_free() - demand.memory;
    let (cpu_share, memory_share) = (cores_left / load.cores, memory_left / load.memory);
    let reason = if fits(demand, &load) {
        let (scarcer, share) =
            if cpu_share <= memory_share { ("CPU", cpu_share) } else { ("memory", memory_share) };
        format!(
            "{cores_left:.1} of {} cores and {} of {} would stay free; {scarcer} is the scarcer, with {:.0} % left",
            load.cores,
            format_size(memory_left),
            format_size(load.memory),
            share * 100.0
        )
    } else {
        let cpu = (cores_left < 0.0).then(|| {
            let free = load.cores_free();
            format!("{} cores are wanted, {free:.1} of {} are free", demand.cores, load.cores)
        });
        let memory = (memory_left < 0.0).then(|| {
            let [wanted, free, all] = [demand.memory, load.memory_free(), load.memory].map(format_size);
            format!("{wanted} of memory are wanted, {free} of {all} are free")
        });
        cpu.into_iter().chain(memory).collect::<Vec<_>>().join("; ")
    };
    Place { host, load, headroom: cpu_share.min(memory_share), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: f64 = (1_u64 << 30) as f64;

    fn host(name: &str, cores: f64, busy: f64, memory: f64, used: f64) -> Candidate {
        let load = Load { cores, cores_busy: busy, memory: memory * GIB, memory_used: used * GIB };
        Candidate { host: name.parse().unwrap(), load: Ok(load) }
    }

    #[test]
    fn the_scarcer_resource_decides_and_reasons_name_it() {
        let candidates = vec![
            host("roomy", 8.0, 1.0, 16.0, 4.0),
            host("no-memory", 32.0, 0.0, 16.0, 15.8),
            host("busy", 4.0, 3.5, 64.0, 1.0),
            host("tight", 4.0, 1.0, 8.0, 5.0),
            Candidate { host: "gone".parse().unwrap(), load: Err("it is silent".into()) },
        ];
        let placed = place(Demand { cores: 1.0, memory: GIB }, candidates);
        let names = |places: &[Place]| places.iter().map(|p| p.host.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&placed.fits), ["roomy", "tight"]);
        assert_eq!(names(&placed.full), ["no-memory", "busy"]);
        assert_eq!(placed.left_out, [("gone".parse().unwrap(), "it is silent".to_owned())]);
        assert_eq!(
            placed.fits[1].reason,
            "2.0 of 4 cores and 2.0 GiB of 8.0 GiB would stay free; memory is the scarcer, with 25 % left"
        );
        assert_eq!(placed.full[0].reason, "1.0 GiB of memory are wanted, 205 MiB of 16.0 GiB are free");
        assert_eq!(placed.full[1].reason, "1 cores are wanted, 0.5 of 4 are free");
    }

    fn figure() -> impl Strategy<Value = f64> {
        prop_oneof![8 => 0.0..1e13_f64, 1 => proptest::num::f64::ANY]
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let load = prop_oneof![
            8 => [figure(), figure(), figure(), figure()].prop_map(|[cores, cores_busy, memory, memory_used]| {
                Ok(Load { cores, cores_busy, memory, memory_used })
            }),
            1 => Just(Err("it is silent".to_owned())),
        ];
        proptest::collection::vec(load, 0..20).prop_map(|loads| {
            let named = loads.into_iter().enumerate();
            named.map(|(n, load)| Candidate { host: format!("h{n}").parse().unwrap(), load }).collect()
        })
    }

    proptest! {
        #[test]
        fn each_host_is_there_once_with_a_reason_and_in_order(all in candidates(), cores in 0.0..1e6_f64, memory in 0.0..1e13_f64) {
            let demand = Demand { cores, memory };
            let placed = place(demand, all.clone());
            let known = placed.fits.iter().chain(&placed.full);
            let mut names: Vec<_> = known.clone().map(|p| p.host.clone()).chain(placed.left_out.iter().map(|(h, _)| h.clone())).collect();
            names.sort();
            let mut expected: Vec<_> = all.iter().map(|c| c.host.clone()).collect();
            expected.sort();
            prop_assert_eq!(names, expected);
            prop_assert!(known.map(|p| &p.reason).chain(placed.left_out.iter().map(|(_, why)| why)).all(|why| !why.is_empty()));
            for place in &placed.fits {
                prop_assert!(place.load.cores_free() >= cores && place.load.memory_free() >= memory && place.headroom >= 0.0);
            }
            prop_assert!(placed.full.iter().all(|place| place.headroom < 0.0));
            for places in [&placed.fits, &placed.full] {
                prop_assert!(places.is_sorted_by(|a, b| a.headroom >= b.headroom));
            }
        }

        #[test]
        fn a_larger_demand_never_finds_more_room(all in candidates(), cores in 0.0..100.0_f64, memory in 0.0..1e12_f64, more in 0.0..1e12_f64) {
            let fitting = |demand| place(demand, all.clone()).fits.into_iter().map(|p| p.host).collect::<std::collections::BTreeSet<_>>();
            let small = fitting(Demand { cores, memory });
            for larger in [Demand { cores: cores + more, memory }, Demand { cores, memory: memory + more }] {
                prop_assert!(fitting(larger).is_subset(&small));
            }
        }

        #[test]
        fn others_do_not_change_the_order_of_two(all in candidates(), extra in candidates()) {
            let demand = Demand { cores: 1.0, memory: 1e6 };
            let alone = place(demand, all.clone()).fits;
            let extra = extra.into_iter().map(|c| Candidate { host: format!("x-{}", c.host).parse().unwrap(), ..c });
            let mut among = place(demand, all.into_iter().chain(extra).collect()).fits;
            among.retain(|p| !p.host.as_str().starts_with("x-"));
            prop_assert_eq!(alone, among);
        }
    }
}
