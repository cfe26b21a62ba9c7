//! What a budget weighed: size against error, as a table on the terminal, as JSON, and as a drawing.

use super::err;
use super::host::Host;
use crate::{Form, Frontier, Point};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 64.0;
/// Points of a table that were neither measured nor chosen.
const ROWS: usize = 12;

/// Prints the points that were measured, and some between.
pub fn show(host: &Host, frontier: &Frontier) {
    let all = frontier.points.len();
    let every = all.div_ceil(ROWS).max(1);
    err!(
        host,
        "  {:>12}  {:>9}  {:>9}  {:>9}  {:>8}  forms of layers",
        "bytes",
        "error",
        "SQNR",
        "agreement",
        "right"
    );
    for (i, point) in frontier.points.iter().enumerate() {
        if i % every != 0 && i + 1 != all && point.measured.is_none() && i != frontier.chosen {
            continue;
        }
        let measured = point.measured;
        let percent =
            |share: Option<f64>| share.map_or(String::new(), |share| format!("{:.1}%", 100.0 * share));
        err!(
            host,
            "{} {:>12}  {:>9.4}  {:>9}  {:>9}  {:>8}  {}",
            if i == frontier.chosen { ">" } else { " " },
            format!("{}{}", if point.is_exact { "" } else { "~" }, point.bytes),
            point.error,
            measured.map_or(String::new(), |m| format!("{:.2} dB", m.sqnr)),
            percent(measured.and_then(|m| m.agreement)),
            percent(measured.and_then(|m| m.right).map(|right| right[1])),
            forms(point)
        );
    }
    err!(host, "  with all layers in one ternary form: {} bytes", frontier.ternary_bytes);
}

fn forms(point: &Point) -> String {
    point.forms.iter().map(|(form, count)| format!("{count} {}", form.word())).collect::<Vec<_>>().join(", ")
}

/// The frontier for machines. A number that is not finite is null.
pub fn json(frontier: &Frontier) -> serde_json::Value {
    let points = frontier.points.iter().map(|point| {
        let counts = point.forms.iter().map(|(form, count)| (form.word(), serde_json::json!(count)));
        serde_json::json!({
            "bytes": point.bytes, "exact": point.is_exact, "error": point.error,
            "forms": counts.collect::<serde_json::Map<_, _>>(),
            "step": point.step.as_ref().map(|(layer, form): &(String, Form)| serde_json::json!({"layer": layer, "form": form.word()})),
            "measured": point.measured.map(|m| serde_json::json!({
                "sqnr_db": m.sqnr, "agreement": m.agreement, "right_float": m.right.map(|r| r[0]), "right": m.right.map(|r| r[1]),
            })),
        })
    });
    serde_json::json!({
        "chosen": frontier.chosen, "ternary_bytes": frontier.ternary_bytes, "limit": frontier.limit, "points": points.collect::<Vec<_>>(),
    })
}

/// The frontier as a drawing: bytes to the right, error upwards by factors of ten; what was measured as dots with its agreement.
pub fn svg(frontier: &Frontier) -> String {
    let errors = || frontier.points.iter().map(|point| point.error).filter(|error| *error > 0.0);
    let top = errors().fold(f64::MIN_POSITIVE, f64::max).log10().ceil();
    let bottom = errors().fold(f64::MAX, f64::min).log10().floor().clamp(top - 8.0, top - 1.0);
    let largest = frontier.points.iter().map(|point| point.bytes).max().unwrap_or(1).max(1) as f64;
    let x = |bytes: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * bytes as f64 / largest;
    let y = |error: f64| {
        let part = (error.max(f64::MIN_POSITIVE).log10() - bottom) / (top - bottom);
        HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * part.clamp(0.0, 1.0)
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <path d=\"M{MARGIN} {MARGIN}V{0}H{1}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"{MARGIN}\" y=\"{2}\">0</text><text x=\"{1}\" y=\"{2}\" text-anchor=\"end\">{largest} bytes</text>\n\
         <text x=\"4\" y=\"{3}\">relative squared error of the outputs, layers taken to add up</text>\n",
        HEIGHT - MARGIN,
        WIDTH - MARGIN,
        HEIGHT - MARGIN + 18.0,
        MARGIN - 24.0,
    );
    for power in bottom as i32..=top as i32 {
        let at = y(10f64.powi(power));
        // Writing to a string does not fail.
        let _ =
            writeln!(text, "<text x=\"{}\" y=\"{at:.1}\" text-anchor=\"end\">1e{power}</text>", MARGIN - 6.0);
        let _ = writeln!(text, "<path d=\"M{MARGIN} {at:.1}H{}\" stroke=\"#eee\"/>", WIDTH - MARGIN);
    }
    if let Some(limit) = frontier.limit.filter(|limit| (*limit as f64) < largest) {
        let at = x(limit);
        let _ = writeln!(
            text,
            "<path d=\"M{at:.1} {MARGIN}V{}\" stroke=\"#c33\" stroke-dasharray=\"4\"/>",
            HEIGHT - MARGIN
        );
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{}\" fill=\"#c33\">{limit}</text>",
            at + 4.0,
            MARGIN + 12.0
        );
    }
    let points: Vec<String> =
        frontier.points.iter().map(|point| format!("{:.1},{:.1}", x(point.bytes), y(point.error))).collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#4269d0\" stroke-width=\"2\"/>",
        points.join(" ")
    );
    for (i, point) in frontier.points.iter().enumerate() {
        let Some(measured) = point.measured else { continue };
        let colour = if i == frontier.chosen { "#ff725c" } else { "#4269d0" };
        let (at, up) = (x(point.bytes), y(point.error));
        let _ = writeln!(text, "<circle cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"5\" fill=\"{colour}\"/>");
        let share = measured.right.map(|right| right[1]).or(measured.agreement);
        let said = share.map_or(format!("{:.1} dB", measured.sqnr), |share| format!("{:.1}%", 100.0 * share));
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{said}</text>",
            at + 8.0,
            up - 6.0
        );
    }
    text + "</svg>\n"
}
