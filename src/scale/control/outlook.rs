//! What both of Francis' controllers know and settle alike: estimates, what may be wanted, and how it is told.

use super::arrivals::Arrivals;
use super::decision::rounded;
use super::held::Window;
use super::load::Load;
use super::{ControlSettings, Decision, Forecast, Micros, Observation, Rule};

/// How much more than enough must be there, as a share and in containers, before there are fewer.
const MARGIN: f64 = 1.05;
const MARGIN_CONTAINERS: f64 = 0.25;

/// Estimates from all that was seen.
#[derive(Debug, Clone)]
pub(super) struct Outlook {
    pub(super) settings: ControlSettings,
    pub(super) load: Load,
    pub(super) arrivals: Arrivals,
    wanted: Window<u32>,
    /// Arrivals of observations that had no period.
    early: u32,
}

/// What was worked out for this period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Seconds between two decisions, T.
    pub(super) period_s: f64,
    /// Seconds that a request takes alone, S.
    pub(super) service_s: f64,
    /// Seconds until an ordered container is ready.
    pub(super) boot_s: f64,
    /// Requests that one container works on at once.
    pub(super) concurrency: f64,
    /// Requests that can be of use at once, X; infinite when it is not known.
    pub(super) useful: f64,
    /// The most containers that are of use, within the bounds, K.
    pub(super) capacity: u32,
    /// The fewest containers that may be wanted now.
    pub(super) lowest: u32,
    /// The most containers that may be wanted now.
    pub(super) highest: u32,
    /// The periods that a start takes, at least 1.
    pub(super) boot_periods: usize,
}

impl Outlook {
    pub(super) fn new(settings: &ControlSettings) -> Self {
        Self {
            load: Load::new(settings),
            arrivals: Arrivals::new(),
            wanted: Window::new(settings.stabilisation),
            settings: settings.clone(),
            early: 0,
        }
    }

    /// Takes in what was seen, and works out what follows.
    pub(super) fn saw(&mut self, seen: &Observation) -> Terms {
        let came = seen.arrivals.saturating_add(self.early);
        if seen.period > Micros::ZERO {
            self.early = 0;
            self.arrivals.saw(f64::from(came), seen.period.seconds());
            self.load.saw(seen);
        } else {
            self.early = came;
        }
        let bounds = self.settings.bounds;
        let period_s = self.settings.period.seconds().max(1e-3);
        let boot_s = seen.boot.unwrap_or(self.settings.boot_guess).seconds();
        let concurrency = f64::from(self.settings.concurrency.max(1));
        let useful = self.load.useful().unwrap_or(f64::INFINITY);
        let capacity = bounds.clamp(whole((useful / concurrency).round()));
        let service_s = self.load.service_s();
        let boot_periods = whole((boot_s / period_s).ceil().clamp(1.0, 1e3));
        let there = seen.containers();
        // Requests that will be at work on average when what is started now is ready, and a reserve of so many of their
        // standard deviations.
        let at_work = self.arrivals.ahead(i32::try_from(boot_periods).unwrap_or(i32::MAX)) * service_s;
        let staffed = (at_work + self.settings.reserve * at_work.sqrt()) / concurrency;
        // What is there already is enough until it is more than enough by a margin, so that noise turns nothing.
        let staff = upwards(staffed).max(upwards(staffed * MARGIN + MARGIN_CONTAINERS).min(there));
        // Containers beyond the requests of the next two periods would idle, unless what comes is steady; and an error of
        // the estimates is to show before it is doubled.
        let soon =
            upwards((f64::from(seen.requests()) + 2.0 * period_s * self.arrivals.ahead(1)) / concurrency);
        let soon = if self.arrivals.steady() { soon.max(staff) } else { soon };
        let surge = there.saturating_add(there.max(4));
        let highest = capacity.min(soon).min(surge).max(bounds.min());
        let lowest = staff.min(highest).max(bounds.min());
        Terms {
            period_s,
            service_s,
            boot_s,
            concurrency,
            useful,
            capacity,
            lowest,
            highest,
            boot_periods: boot_periods as usize,
        }
    }

    /// Settles what is `wanted`, within `terms.highest` or what is there: fewer only after the stabilisation time.
    pub(super) fn settle(
        &mut self,
        seen: &Observation,
        terms: &Terms,
        wanted: u32,
        requests: f64,
    ) -> Decision {
        let there = seen.containers();
        let bounds = self.settings.bounds;
        let target = bounds.clamp(self.wanted.hold(seen.at, wanted, there));
        let rule = match target.cmp(&there) {
            std::cmp::Ordering::Greater if target == bounds.min() => Rule::Minimum,
            std::cmp::Ordering::Greater => Rule::Grow,
            std::cmp::Ordering::Less if target == bounds.max() => Rule::Maximum,
            std::cmp::Ordering::Less => Rule::Shrink,
            std::cmp::Ordering::Equal if wanted < target => Rule::Stabilising,
            std::cmp::Ordering::Equal if seen.queued > 0 && target == bounds.max() => Rule::Maximum,
            std::cmp::Ordering::Equal if seen.queued > 0 && target >= terms.capacity => Rule::Capacity,
            std::cmp::Ordering::Equal if target == bounds.min() => Rule::Minimum,
            std::cmp::Ordering::Equal => Rule::Steady,
        };
        let arrivals = self.arrivals.ahead(1) * terms.period_s;
        let forecast = Forecast {
            arrivals: rounded(arrivals),
            requests: rounded(requests),
            service_s: rounded(terms.service_s),
            cores_per_request: rounded(self.load.share()),
            useful: terms.useful.is_finite().then(|| rounded(terms.useful / terms.concurrency)),
        };
        let reason = reason(seen, terms, rule, wanted, &forecast);
        Decision::to(target, seen, rule, reason, Some(forecast))
    }
}

fn reason(seen: &Observation, terms: &Terms, rule: Rule, wanted: u32, forecast: &Forecast) -> String {
    let load = format!(
        "{} requests, {:.2} a second expected, {:.2} s each",
        seen.requests(),
        forecast.arrivals / terms.period_s,
        terms.service_s
    );
    let capacity = terms.capacity;
    match rule {
        Rule::Grow if wanted >= capacity => {
            format!("{load}: {wanted} containers, as many as the host's cores are of use to")
        }
        Rule::Grow | Rule::Shrink | Rule::Steady | Rule::Fixed => {
            format!("{load}: {wanted} containers serve best")
        }
        Rule::Stabilising => format!("{load}: {wanted} would do, but more were wanted a moment ago"),
        Rule::Capacity => format!("{load}: more than {capacity} containers would only share the same cores"),
        Rule::Minimum => format!("{load}: {wanted} would do, it must not be fewer"),
        Rule::Maximum => format!("{load}: it must not be more"),
    }
}

/// The least whole number that is not smaller, but for errors of rounding; at most `u32::MAX`.
pub(super) fn upwards(value: f64) -> u32 {
    whole((value - 1e-9).ceil())
}

/// A whole number as an integer: 0 for what is negative or none, at most `u32::MAX`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and NaN becomes 0"
)]
fn whole(value: f64) -> u32 {
    value as u32
}
