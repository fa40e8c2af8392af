//! Containers against requests over time, one panel for each controller, as an SVG that stands for itself.

use std::fmt::Write;

use super::Step;

/// In the SVG's own units.
const WIDTH: f64 = 900.0;
const PANEL: f64 = 190.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 50.0;
const TOP: f64 = 44.0;
/// The most points of a line; of more, every so many.
const POINTS: usize = 1_500;

const REQUESTS: &str = "#25b";
const CONTAINERS: &str = "#c33";

/// The course of several simulations of one trace. `runs`: each controller's name, and its decisions.
pub fn plot(title: &str, runs: &[(String, &[Step])]) -> String {
    let steps = || runs.iter().flat_map(|(_, steps)| steps.iter());
    let last_s = steps().map(|step| step.seen.at.seconds()).fold(1.0, f64::max);
    let requests = ceiling(steps().map(|step| step.seen.requests()).max().unwrap_or(0));
    let containers = ceiling(steps().map(containers_of).max().unwrap_or(0));
    let height = TOP + PANEL * runs.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, (LEFT, 16.0), "start", "#222", title);
    text(&mut svg, (LEFT, 34.0), "start", REQUESTS, "requests in the system (left)");
    text(&mut svg, (LEFT + 220.0, 34.0), "start", CONTAINERS, "containers, ready and starting (right)");
    for (place, (name, steps)) in runs.iter().enumerate() {
        let top = TOP + PANEL * place as f64 + 24.0;
        text(&mut svg, (LEFT, top - 8.0), "start", "#222", name);
        axes(&mut svg, top, last_s, requests, containers);
        let x = |step: &Step| LEFT + step.seen.at.seconds() / last_s * (WIDTH - LEFT - RIGHT);
        let y = |value: u32, most: u32| top + HEIGHT * (1.0 - f64::from(value) / f64::from(most));
        let every = steps.len().div_ceil(POINTS).max(1);
        let shown = || steps.iter().step_by(every);
        let mut path = String::new();
        for step in shown() {
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{:.1} {:.1}", x(step), y(step.seen.requests(), requests));
        }
        line(&mut svg, &path, REQUESTS);
        let mut path = String::new();
        for step in shown() {
            let (x, y) = (x(step), y(containers_of(step), containers));
            // Steps: the number stays until the next decision.
            let _ =
                if path.is_empty() { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
        }
        line(&mut svg, &path, CONTAINERS);
    }
    svg + "</svg>\n"
}

/// Containers after a decision.
fn containers_of(step: &Step) -> u32 {
    step.decision.target
}

/// The least of 1, 2, 5, 10, 20, 50, ... that is not smaller.
fn ceiling(value: u32) -> u32 {
    let mut unit: u32 = 1;
    loop {
        for size in [1, 2, 5].map(|step| unit.saturating_mul(step)) {
            if size >= value {
                return size;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

fn axes(svg: &mut String, top: f64, last_s: f64, requests: u32, containers: u32) {
    let right = WIDTH - RIGHT;
    for (share, y) in [(0.0, top + HEIGHT), (0.5, top + HEIGHT / 2.0), (1.0, top)] {
        line(svg, &format!("M{LEFT:.1} {y:.1}H{right:.1}"), "#ccc");
        let label = |most: u32| format!("{}", f64::from(most) * share);
        text(svg, (LEFT - 6.0, y + 4.0), "end", REQUESTS, &label(requests));
        text(svg, (right + 6.0, y + 4.0), "start", CONTAINERS, &label(containers));
    }
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let x = LEFT + share * (right - LEFT);
        text(svg, (x, top + HEIGHT + 16.0), "middle", "#222", &format!("{:.0} s", share * last_s));
    }
}

fn line(svg: &mut String, path: &str, colour: &str) {
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>");
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, colour: &str, text: &str) {
    let safe = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"12\" fill=\"{colour}\">{safe}</text>",
        at.0, at.1
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0, 1, 3, 6, 11, 21, 99, 100].map(ceiling), [1, 1, 5, 10, 20, 50, 100, 100]);
        assert_eq!(ceiling(u32::MAX), u32::MAX);
    }

    #[test]
    fn names_are_no_markup() {
        let svg = plot("<a> & b", &[("x<y".to_owned(), &[])]);
        assert!(svg.contains("&lt;a&gt; &amp; b") && svg.contains("x&lt;y") && !svg.contains("<a>"), "{svg}");
    }
}
