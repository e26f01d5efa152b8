//! The pictures of a run.

use std::{fs, path::Path};

use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    element::PathElement,
    prelude::{IntoDrawingArea, SVGBackend},
    series::LineSeries,
    style::{BLACK, Color, Palette, Palette99, WHITE},
};

use crate::{
    Result,
    report::{Line, Report},
};

/// A picture.
struct Plot {
    /// What its lines name it by, and its file.
    name: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    /// Whether each step of the upward axis is ten times the one before.
    logarithmic: bool,
    legend: SeriesLabelPosition,
}

const PLOTS: [Plot; 3] = [
    Plot {
        name: "first-sync",
        title: "Objects that have their Secret, after the first one was created",
        x: "seconds",
        y: "objects",
        logarithmic: false,
        legend: SeriesLabelPosition::LowerRight,
    },
    Plot {
        name: "latency",
        title: "Time to a Secret, one after the other",
        x: "share of the samples, in percent",
        y: "at most so many milliseconds",
        logarithmic: true,
        legend: SeriesLabelPosition::UpperLeft,
    },
    Plot {
        name: "memory",
        title: "The operator's memory",
        x: "objects",
        y: "MiB",
        logarithmic: false,
        legend: SeriesLabelPosition::UpperLeft,
    },
];

const SIZE: (u32, u32) = (900, 450);

/// Draws each picture that there are lines for.
pub fn draw(report: &Report, folder: &Path) -> Result<()> {
    for plot in PLOTS {
        let lines = lines(report, plot.name);
        if !lines.is_empty() {
            let picture = picture(&plot, &lines)?;
            fs::write(folder.join(format!("{}.svg", plot.name)), picture)?;
        }
    }
    Ok(())
}

/// The files of those pictures, and their titles.
pub fn titles(report: &Report) -> Vec<(String, String)> {
    let drawn = PLOTS
        .iter()
        .filter(|plot| !lines(report, plot.name).is_empty());
    drawn
        .map(|plot| (format!("{}.svg", plot.name), plot.title.to_owned()))
        .collect()
}

fn lines<'a>(report: &'a Report, plot: &str) -> Vec<&'a Line> {
    let lines = report.cases.iter().flat_map(|case| &case.lines);
    lines.filter(|line| line.plot == plot).collect()
}

fn picture(plot: &Plot, lines: &[&Line]) -> Result<String> {
    let up = |value: f64| match plot.logarithmic {
        true => value.max(1.0).log10(),
        false => value,
    };
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = points()
        .map(|point| point.0)
        .fold(f64::MIN_POSITIVE, f64::max);
    let y = points()
        .map(|point| up(point.1))
        .fold(f64::MIN_POSITIVE, f64::max)
        * 1.05;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(plot.title, ("sans-serif", 18))
            .margin(12)
            // The last number of the axis is written around its end.
            .margin_right(28)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..x, 0.0..y)?;
        chart
            .configure_mesh()
            .x_desc(plot.x)
            .y_desc(plot.y)
            .x_label_formatter(&|value| label(*value))
            .y_label_formatter(&|value| match plot.logarithmic {
                true => label(10_f64.powf(*value)),
                false => label(*value),
            })
            .light_line_style(WHITE)
            .draw()?;
        for (number, line) in lines.iter().enumerate() {
            let color = Palette99::pick(number).stroke_width(2);
            let points = line.points.iter().map(|(x, y)| (*x, up(*y)));
            chart
                .draw_series(LineSeries::new(points, color))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
        }
        chart
            .configure_series_labels()
            .position(plot.legend.clone())
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

/// A number at an axis.
fn label(value: f64) -> String {
    if value.abs() < 10.0 && value.fract().abs() > 0.05 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Measured;

    #[test]
    fn each_picture_with_lines_is_drawn_and_names_them() {
        let mut measured = Measured::default();
        measured.line("memory", "anonymous", vec![(0.0, 1.6), (1_000.0, 5.0)]);
        let report = Report {
            cases: vec![measured],
            ..Report::default()
        };
        let folder = tempfile::tempdir().unwrap();
        draw(&report, folder.path()).unwrap();
        assert_eq!(titles(&report).len(), 1);
        let svg = fs::read_to_string(folder.path().join("memory.svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("anonymous") && svg.contains("MiB"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
