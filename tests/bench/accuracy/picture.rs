//! The loss curve as a picture.
//! In: percentages. Out: SVG. Knows nothing of where they come from.

use std::io::Write as _;

use anyhow::Result;
use quick_xml::Writer;
use quick_xml::events::BytesText;

/// One curve.
pub struct Line {
    pub who: &'static str,
    pub way: &'static str,
    /// At each share of lost frames.
    pub wrong_percent: Vec<f64>,
}

/// Curves with the same axes.
pub struct Panel {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

const HEIGHT: f64 = 380.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 300.0;
const LEFT: f64 = 70.0;
const PANEL_WIDTH: f64 = 340.0;
const BETWEEN: f64 = 60.0;
/// What is wrong for more of the time than this, in percent, is drawn at the lower edge.
const MOST_WRONG_PERCENT: f64 = 25.0;
/// Powers of ten of the wrong time in percent, from the bottom; what is less is drawn at the upper edge.
const DECADES: [i32; 5] = [1, 0, -1, -2, -3];

/// The height of a share of wrong time: right is up.
fn height(wrong_percent: f64) -> f64 {
    let (most, least) = (MOST_WRONG_PERCENT.log10(), f64::from(DECADES[DECADES.len() - 1]));
    let place = wrong_percent.max(1e-9).log10().clamp(least, most);
    BOTTOM - (most - place) / (most - least) * (BOTTOM - TOP)
}

const fn colour(line: &Line) -> &'static str {
    match line.who.as_bytes() {
        b"offhook" => "#1f5fbf",
        _ => "#8a8a8a",
    }
}

fn dashes(line: &Line) -> &'static str {
    if line.way == "one by one" { "none" } else { "6 4" }
}

/// Draws them side by side.
pub fn picture(labels: &[&str], panels: &[Panel]) -> Result<Vec<u8>> {
    let mut svg = Vec::new();
    let width = LEFT + panels.len() as f64 * (PANEL_WIDTH + BETWEEN);
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="13">"#
    )?;
    let mut xml = Writer::new(&mut svg);
    xml.create_element("rect")
        .with_attributes([("width", "100%"), ("height", "100%"), ("fill", "#ffffff")])
        .write_empty()?;
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| -> Result<()> {
        let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
        xml.create_element("text")
            .with_attributes([("x", x.as_str()), ("y", &y), ("text-anchor", anchor), ("fill", "#222222")])
            .write_text_content(BytesText::new(words))?;
        Ok(())
    };
    text(LEFT, 20.0, "start", "Status right, % of user-time, when the mirror port loses frames")?;
    let step = PANEL_WIDTH / (labels.len() - 1) as f64;
    let place = |panel: usize, at: usize| LEFT + panel as f64 * (PANEL_WIDTH + BETWEEN) + at as f64 * step;
    for (number, panel) in panels.iter().enumerate() {
        text(place(number, 0) + PANEL_WIDTH / 2.0, 40.0, "middle", panel.title)?;
        for decade in DECADES {
            let right = 100.0 - 10_f64.powi(decade);
            let digits = usize::try_from(-decade).unwrap_or(0);
            let y = height(10_f64.powi(decade));
            if number == 0 {
                text(LEFT - 8.0, y + 4.0, "end", &format!("{right:.digits$}"))?;
            }
        }
        for (at, label) in labels.iter().enumerate() {
            text(place(number, at), BOTTOM + 18.0, "middle", label)?;
        }
    }
    text(width / 2.0, BOTTOM + 38.0, "middle", "frames lost")?;
    let legend: Vec<&Line> = panels.first().map(|panel| panel.lines.iter().collect()).unwrap_or_default();
    for (at, line) in legend.iter().enumerate() {
        text(
            LEFT + 40.0 + at as f64 * 190.0,
            HEIGHT - 18.0,
            "start",
            &format!("{}, {}", line.who, line.way),
        )?;
    }
    let mut stroke = |points: &[(f64, f64)], colour: &str, width: &str, dashes: &str| -> Result<()> {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        xml.create_element("polyline")
            .with_attributes([
                ("points", points.join(" ").as_str()),
                ("fill", "none"),
                ("stroke", colour),
                ("stroke-width", width),
                ("stroke-dasharray", dashes),
            ])
            .write_empty()?;
        Ok(())
    };
    for (number, panel) in panels.iter().enumerate() {
        let [left, right] = [place(number, 0), place(number, labels.len() - 1)];
        for decade in DECADES {
            let y = height(10_f64.powi(decade));
            stroke(&[(left, y), (right, y)], "#dddddd", "1", "none")?;
        }
        for line in &panel.lines {
            let points: Vec<(f64, f64)> = line
                .wrong_percent
                .iter()
                .enumerate()
                .map(|(at, &wrong)| (place(number, at), height(wrong)))
                .collect();
            stroke(&points, colour(line), "2", dashes(line))?;
        }
    }
    for (at, line) in legend.iter().enumerate() {
        let x = LEFT + at as f64 * 190.0;
        stroke(&[(x, HEIGHT - 22.0), (x + 32.0, HEIGHT - 22.0)], colour(line), "2", dashes(line))?;
    }
    svg.extend_from_slice(b"\n</svg>\n");
    Ok(svg)
}
