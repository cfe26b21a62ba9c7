//! The curve of a training: a line for each epoch on the terminal, a table as CSV, a drawing as SVG.

use crate::Epoch;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 48.0;

/// What is said of an epoch.
pub fn line(epoch: &Epoch, of: usize) -> String {
    let Epoch { number, loss, rate, validation } = epoch;
    let validation = validation.map_or(String::new(), |[loss, right]| {
        format!("  validation loss {loss:.4}  right {:.2}%", 100.0 * right)
    });
    format!("epoch {number:3}/{of}  loss {loss:.4}{validation}  rate {rate:.2e}")
}

/// All epochs as CSV.
pub fn csv(epochs: &[Epoch]) -> String {
    let mut text = "epoch,loss,rate,validation_loss,validation_right\n".to_owned();
    for Epoch { number, loss, rate, validation } in epochs {
        let validation = validation.map_or(",".to_owned(), |[loss, right]| format!("{loss},{right}"));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{number},{loss},{rate},{validation}");
    }
    text
}

/// All epochs as a drawing: losses to the left, the share that is right to the right.
pub fn svg(epochs: &[Epoch]) -> String {
    let last = epochs.last().map_or(1, |epoch| epoch.number).max(2);
    let x = |number: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * (number as f64 - 1.0) / (last as f64 - 1.0);
    let losses = || epochs.iter().flat_map(|e| [Some(e.loss), e.validation.map(|v| v[0])]).flatten();
    let top = losses().fold(f64::MIN_POSITIVE, f64::max);
    let share = |e: &Epoch| e.validation.map(|v| v[1]);
    let least = epochs.iter().filter_map(share).fold(1.0, f64::min);
    let y = |part: f64| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * part.clamp(0.0, 1.0);
    let scaled = |right: f64| (right - least) / (1.0 - least).max(1e-9);
    type Value<'a> = &'a dyn Fn(&Epoch) -> Option<f64>;
    let curves: [(&str, &str, Value<'_>); 3] = [
        ("#4269d0", "loss", &|e| Some(e.loss / top)),
        ("#97bbf5", "validation loss", &|e| e.validation.map(|v| v[0] / top)),
        ("#ff725c", "right", &|e| share(e).map(scaled)),
    ];
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <path d=\"M{MARGIN} {MARGIN}V{0}H{1}V{MARGIN}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"4\" y=\"{MARGIN}\">{top:.3}</text><text x=\"4\" y=\"{0}\">0</text>\n\
         <text x=\"{2}\" y=\"{MARGIN}\">100%</text><text x=\"{2}\" y=\"{0}\">{3:.1}%</text>\n\
         <text x=\"{MARGIN}\" y=\"{4}\">epoch 1</text><text x=\"{1}\" y=\"{4}\" text-anchor=\"end\">{last}</text>\n",
        HEIGHT - MARGIN,
        WIDTH - MARGIN,
        WIDTH - MARGIN + 4.0,
        100.0 * least,
        HEIGHT - MARGIN + 16.0,
    );
    for (i, (colour, name, value)) in curves.into_iter().enumerate() {
        let points: Vec<String> =
            epochs.iter().filter_map(|e| Some(format!("{:.1},{:.1}", x(e.number), y(value(e)?)))).collect();
        if points.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"20\" fill=\"{colour}\">{name}</text>",
            MARGIN + 140.0 * i as f64
        );
    }
    text + "</svg>\n"
}
