//! The matrix: axes, their combinations, and `${matrix.axis}` in texts.

use std::collections::BTreeMap;

use super::{
    at::{At, Ordered},
    code::Code,
    diagnostic::Diagnostic,
    suggest::nearest,
};

/// Combinations beyond which a scenario is better split.
pub(crate) const MAX_ROWS: usize = 64;

/// The values of one combination, by axis.
pub(crate) type Row = BTreeMap<String, String>;

/// Every combination, in the order of the file, the last axis moving fastest. Values may refer to
/// other axes; a row whose values cannot be worked out is left out, and why is reported.
pub(crate) fn rows(matrix: Option<&Ordered<Vec<At<String>>>>, report: &mut Vec<Diagnostic>) -> Vec<Row> {
    let Some(matrix) = matrix else {
        return vec![Row::new()];
    };
    let axes = &matrix.entries;
    let count = axes
        .iter()
        .fold(1_usize, |count, (_, values)| count.saturating_mul(values.len()));
    if let Some((axis, _)) = axes.iter().find(|(_, values)| values.is_empty()) {
        report.push(
            Diagnostic::error(
                Code::OutOfRange,
                format!("the axis `{}` has no values", axis.value),
            )
            .at(axis.place.clone(), "")
            .help("a matrix tries every combination, and here there is none"),
        );
        return Vec::new();
    }
    if count > MAX_ROWS {
        let place = axes.first().map_or(0..0, |(axis, _)| axis.place.clone());
        report.push(
            Diagnostic::error(
                Code::TooMany,
                format!("the matrix has {count} combinations, and at most {MAX_ROWS}"),
            )
            .at(place, ""),
        );
        return Vec::new();
    }
    let mut rows: Vec<Vec<&At<String>>> = vec![Vec::new()];
    for (_, values) in axes {
        rows = rows
            .into_iter()
            .flat_map(|row| {
                values
                    .iter()
                    .map(move |value| row.iter().copied().chain([value]).collect::<Vec<_>>())
            })
            .collect();
    }
    let names: Vec<&str> = axes.iter().map(|(axis, _)| axis.value.as_str()).collect();
    rows.iter()
        .filter_map(|values| row(&names, values, report))
        .collect()
}

/// Works out the values of one combination that refer to other axes.
fn row(names: &[&str], values: &[&At<String>], report: &mut Vec<Diagnostic>) -> Option<Row> {
    let mut done = Row::new();
    let mut left: Vec<usize> = (0..names.len()).collect();
    loop {
        let before = left.len();
        let mut failed = false;
        left.retain(|&index| match substitute(values[index], &done, names) {
            Ok(Substituted::Text(text)) => {
                done.insert(names[index].to_owned(), text);
                false
            }
            Ok(Substituted::Waits) => true,
            Err(diagnostic) => {
                report.push(*diagnostic);
                failed = true;
                true
            }
        });
        if failed {
            return None;
        }
        if left.is_empty() {
            return Some(done);
        }
        if left.len() == before {
            let cycle: Vec<String> = left.iter().map(|&index| format!("`{}`", names[index])).collect();
            let mut diagnostic = Diagnostic::error(
                Code::MatrixCycle,
                format!("the axes {} wait for each other", cycle.join(" and ")),
            );
            for &index in &left {
                diagnostic = diagnostic.at(values[index].place.clone(), "");
            }
            report.push(diagnostic.help("a value may refer to other axes, but not in a circle"));
            return None;
        }
    }
}

/// A text with its references filled in.
pub(crate) enum Substituted {
    /// All of them.
    Text(String),
    /// It refers to an axis whose value is not worked out yet.
    Waits,
}

/// Fills in every `${matrix.axis}` of a text. Other `${..}` are left alone.
pub(crate) fn substitute(
    text: &At<String>,
    row: &Row,
    known: &[&str],
) -> Result<Substituted, Box<Diagnostic>> {
    let mut filled = String::with_capacity(text.value.len());
    let mut remaining = text.value.as_str();
    while let Some(start) = remaining.find(OPENING) {
        filled.push_str(&remaining[..start]);
        let reference = &remaining[start + OPENING.len()..];
        let Some(end) = reference.find('}') else {
            return Err(Box::new(
                Diagnostic::error(Code::UnknownAxis, "a reference to the matrix is not closed")
                    .at(text.place.clone(), "`}` is missing"),
            ));
        };
        let axis = &reference[..end];
        if !known.contains(&axis) {
            let there = if known.is_empty() {
                "the scenario has no matrix".to_owned()
            } else {
                format!("the matrix has: {}", known.join(", "))
            };
            return Err(Box::new(
                Diagnostic::error(Code::UnknownAxis, format!("unknown axis `{axis}`"))
                    .at(text.place.clone(), there)
                    .did_you_mean(nearest(axis, known.iter().copied())),
            ));
        }
        let Some(value) = row.get(axis) else {
            return Ok(Substituted::Waits);
        };
        filled.push_str(value);
        remaining = &reference[end + 1..];
    }
    filled.push_str(remaining);
    Ok(Substituted::Text(filled))
}

const OPENING: &str = "${matrix.";

/// The axes that a text refers to.
pub(crate) fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split(OPENING)
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(axis, _)| axis))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Axes<'a> = &'a [(&'a str, &'a [&'a str])];

    fn matrix(axes: Axes<'_>) -> Ordered<Vec<At<String>>> {
        let entries = axes
            .iter()
            .map(|(axis, values)| {
                let values = values
                    .iter()
                    .map(|value| At::nowhere((*value).to_owned()))
                    .collect();
                (At::nowhere((*axis).to_owned()), values)
            })
            .collect();
        Ordered { entries }
    }

    fn run(axes: Axes<'_>) -> (Vec<String>, Vec<Code>) {
        let mut report = Vec::new();
        let rows = rows(Some(&matrix(axes)), &mut report);
        let rows = rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|(axis, value)| format!("{axis}={value}"))
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect();
        (
            rows,
            report.into_iter().map(|diagnostic| diagnostic.code).collect(),
        )
    }

    #[test]
    fn every_combination_in_order() {
        let (rows, codes) = run(&[("a", &["1", "2"]), ("b", &["x", "y"])]);
        assert_eq!(rows, ["a=1,b=x", "a=1,b=y", "a=2,b=x", "a=2,b=y"]);
        assert_eq!(codes, []);
    }

    #[test]
    fn values_may_refer_but_not_in_a_circle() {
        let cases: &[(Axes<'_>, &[&str], &[Code])] = &[
            (&[("a", &["${matrix.b}-x"]), ("b", &["1"])], &["a=1-x,b=1"], &[]),
            (
                &[("a", &["${matrix.b}"]), ("b", &["${matrix.a}"])],
                &[],
                &[Code::MatrixCycle],
            ),
            (&[("a", &["${matrix.a}"])], &[], &[Code::MatrixCycle]),
            (&[("a", &["${matrix.c}"])], &[], &[Code::UnknownAxis]),
            (&[("a", &["${matrix.a"])], &[], &[Code::UnknownAxis]),
            (&[("a", &[])], &[], &[Code::OutOfRange]),
            (&[("a", &["${other.b}"])], &["a=${other.b}"], &[]),
        ];
        for (axes, rows, codes) in cases {
            let (found_rows, found_codes) = run(axes);
            assert_eq!(found_rows, *rows, "{axes:?}");
            assert_eq!(found_codes, *codes, "{axes:?}");
        }
    }

    #[test]
    fn too_many_combinations() {
        let values: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        assert_eq!(
            run(&[("a", &values), ("b", &values)]),
            (Vec::new(), vec![Code::TooMany])
        );
    }

    #[test]
    fn no_matrix_is_one_empty_row() {
        assert_eq!(rows(None, &mut Vec::new()), [Row::new()]);
    }
}
