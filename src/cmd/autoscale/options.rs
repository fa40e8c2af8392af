//! Options that the subcommands of `autoscale` share.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse};
use crate::model::clean;
use crate::scale::control::{Bounds, ControlSettings, ControllerKind, MOST_CONTAINERS};
use crate::scale::workload::Trace;

const CONTROL: &str = "Controller";

pub(super) const TRACE: Setting = Setting::value("FILE|fix|p4|p5|random").or("p4").flag_only().called(
    "trace",
    OPTIONS,
    "When requests come: a file with lines of SECOND,REQUESTS[,SERVICE], one of three recorded runs, or at random",
);
pub(super) const CONTROLLERS: Setting = Setting::list("NAME").flag_only().called(
    "controller",
    OPTIONS,
    "Who decides: francis, regulator, hpa, kpa or fixed:COUNT; several separated by commas [default: \
     francis,fixed:5]",
);
pub(super) const SEED: Setting =
    Setting::value("NUMBER").or("1").flag_only().called("seed", OPTIONS, "What decides all that is drawn");
pub(super) const MIN: Setting =
    Setting::value("COUNT").or("2").flag_only().called("min", CONTROL, "Containers at least, 1 to 256");
pub(super) const MAX: Setting =
    Setting::value("COUNT").or("16").flag_only().called("max", CONTROL, "Containers at most, up to 256");
pub(super) const PERIOD: Setting = Setting::value("SPAN").or("2s").flag_only().called(
    "period",
    CONTROL,
    "Time between two decisions, 100ms to 1h",
);
pub(super) const SERVICE_GUESS: Setting = Setting::value("SPAN").or("5s").flag_only().called(
    "service-guess",
    CONTROL,
    "What it takes a request to need until some have ended",
);
pub(super) const BOOT_GUESS: Setting = Setting::value("SPAN").or("1500ms").flag_only().called(
    "boot-guess",
    CONTROL,
    "What it takes a container to need until one has started",
);
pub(super) const LOAD: Setting = Setting::value("SHARE").or("1").flag_only().called(
    "load",
    CONTROL,
    "Share of the cores that others leave which it may load, 0.1 to 1; 0.9 where people wait",
);

/// Reads [`CONTROLLERS`]; at least one.
pub(super) fn controllers(r: &mut Resolver) -> Vec<ControllerKind> {
    let kinds = r.list(&CONTROLLERS, parse::typed::<ControllerKind>);
    if kinds.is_empty() { vec![ControllerKind::Francis, ControllerKind::Fixed(5)] } else { kinds }
}

/// Reads what a controller is told.
pub(super) fn settings(r: &mut Resolver) -> ControlSettings {
    let count = || parse::count(1..=MOST_CONTAINERS);
    let (min, max) = (r.get(&MIN, count()), r.get(&MAX, count()));
    let bounds = Bounds::new(min, max.max(min)).expect("both were read as 1 to 256");
    if min > max {
        r.wrong(&MIN, "min must not be more than max");
    }
    let span = |least, most| parse::span(parse::millis(least, most));
    ControlSettings {
        period: r.get(&PERIOD, span(100, 3_600_000)).into(),
        service_guess: r.get(&SERVICE_GUESS, span(1, 86_400_000)).into(),
        boot_guess: r.get(&BOOT_GUESS, span(0, 3_600_000)).into(),
        load: r.get(&LOAD, parse::number(0.1..=1.0)),
        ..ControlSettings::new(bounds)
    }
}

/// Reads cores, to thousandths.
pub(super) fn millicores(range: RangeInclusive<f64>) -> impl Fn(&str) -> Result<u32, String> {
    let number = parse::number(range);
    move |text| {
        let cores = number(text)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1024 cores")]
        Ok((cores * 1000.0).round() as u32)
    }
}

/// Reads a trace by its name, by `seed` if it is random, or from a file.
pub(super) fn trace(text: &str, seed: u64) -> Result<Trace, String> {
    let text = text.trim();
    if text == "random" {
        return Ok(Trace::random(seed));
    }
    if let Some(trace) = Trace::named(text) {
        return Ok(trace);
    }
    let path = parse::path(text)?;
    let bytes = parse::contents(&path)
        .map_err(|error| format!("{error}; the traces known by name are fix, p4, p5 and random"))?;
    let shown = clean(&path.display().to_string(), 200);
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} holds no text"))?;
    let name = path.file_stem().unwrap_or(Path::new("trace").as_os_str()).to_string_lossy();
    Trace::parse(&name, &text).map_err(|error| format!("{shown}: {error}"))
}
