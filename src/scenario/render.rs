//! Diagnostics as people, editors and CI systems read them.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range};

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::diagnostic::{Diagnostic, Position, Severity, floor_char_boundary};

/// The texts that diagnostics point into, by the names of their files.
pub type Sources = BTreeMap<String, String>;

/// Whether colour codes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For files, tests and dumb terminals.
    Plain,
    /// For terminals. `anstream` strips the codes where they are not wanted.
    Styled,
}

/// As the Rust compiler prints its own: message, place, snippet, help. Ends with a line feed.
#[must_use]
pub fn text(diagnostic: &Diagnostic, sources: &Sources, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.id())
        .elements(snippet(diagnostic, sources));
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Styled => Renderer::styled(),
    };
    format!("{}\n", renderer.render(&[group]))
}

fn snippet<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Option<Element<'a>> {
    if diagnostic.file.is_empty() {
        return None;
    }
    let text = sources.get(&diagnostic.file).map_or("", String::as_str);
    if text.is_empty() || diagnostic.labels.is_empty() {
        return Some(
            Origin::path(diagnostic.file.as_str())
                .line(1)
                .char_column(1)
                .into(),
        );
    }
    // Only the lines in question: the renderer's work grows with the text it is given.
    let shown = lines_around(text, diagnostic);
    let mut snippet = Snippet::source(&text[shown.clone()])
        .line_start(Position::of(text, shown.start).line)
        .path(diagnostic.file.as_str());
    for (index, label) in diagnostic.labels.iter().enumerate() {
        let place = visible(text, &label.place);
        let kind = if index == 0 {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let annotation = kind.span(place.start - shown.start..place.end - shown.start);
        snippet = snippet.annotation(if label.text.is_empty() {
            annotation
        } else {
            annotation.label(label.text.as_str())
        });
    }
    Some(snippet.into())
}

/// The whole lines that hold every label.
fn lines_around(text: &str, diagnostic: &Diagnostic) -> Range<usize> {
    let places = diagnostic.labels.iter().map(|label| visible(text, &label.place));
    let (start, end) = places.fold((text.len(), 0), |(start, end), place| {
        (start.min(place.start), end.max(place.end))
    });
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[end..]
        .find('\n')
        .map_or(text.len(), |newline| end + newline + 1);
    line_start..line_end
}

/// A place cut to the text, to whole characters, and to its first line: a snippet that underlines a
/// whole block says less than one that underlines its head.
fn visible(text: &str, place: &Range<usize>) -> Range<usize> {
    let start = floor_char_boundary(text, place.start);
    let end = floor_char_boundary(text, place.end).max(start);
    let first_line = text[start..end]
        .find(['\r', '\n'])
        .map_or(end, |newline| start + newline);
    start..first_line
}

/// One JSON object on one line, without a line feed at its end.
#[must_use]
pub fn json(diagnostic: &Diagnostic, sources: &Sources) -> String {
    #[derive(Serialize)]
    struct Problem<'a> {
        code: &'a str,
        severity: &'a str,
        message: &'a str,
        file: &'a str,
        line: usize,
        column: usize,
        end_line: usize,
        end_column: usize,
        labels: Vec<Pointer<'a>>,
        help: &'a [String],
        rendered: String,
    }

    #[derive(Serialize)]
    struct Pointer<'a> {
        line: usize,
        column: usize,
        text: &'a str,
    }

    let source = sources.get(&diagnostic.file).map_or("", String::as_str);
    let (start, end) = ends(diagnostic, source);
    let problem = Problem {
        code: diagnostic.code.id(),
        severity: severity(diagnostic.severity),
        message: &diagnostic.message,
        file: &diagnostic.file,
        line: start.line,
        column: start.column,
        end_line: end.line,
        end_column: end.column,
        labels: diagnostic
            .labels
            .iter()
            .map(|label| {
                let Position { line, column } = Position::of(source, label.place.start);
                Pointer {
                    line,
                    column,
                    text: &label.text,
                }
            })
            .collect(),
        help: &diagnostic.help,
        rendered: text(diagnostic, sources, Style::Plain),
    };
    serde_json::to_string(&problem).expect("texts and numbers always serialise")
}

/// A workflow command of GitHub Actions, which shows it beside the line in a pull request.
#[must_use]
pub fn github(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let source = sources.get(&diagnostic.file).map_or("", String::as_str);
    let (start, end) = ends(diagnostic, source);
    let mut message = diagnostic.message.clone();
    for text in diagnostic
        .labels
        .iter()
        .map(|label| &label.text)
        .chain(&diagnostic.help)
    {
        if !text.is_empty() {
            let _ = write!(message, "\n{text}");
        }
    }
    format!(
        "::{} file={},line={},col={},endLine={},endColumn={},title={}::{}",
        severity(diagnostic.severity),
        escape_property(&diagnostic.file),
        start.line,
        start.column,
        end.line,
        end.column,
        escape_property(&format!("{}: {}", diagnostic.code, diagnostic.code.title())),
        escape_data(&message),
    )
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn ends(diagnostic: &Diagnostic, source: &str) -> (Position, Position) {
    let place = visible(source, &diagnostic.place());
    (Position::of(source, place.start), Position::of(source, place.end))
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::code::Code;

    fn sources(text: &str) -> Sources {
        Sources::from([("a,b.yaml".to_owned(), text.to_owned())])
    }

    #[test]
    fn escapes_for_github() {
        let diagnostic = Diagnostic::error(Code::UnknownSecret, "100 % wrong\nor so")
            .at(3..5, "here")
            .help("mend it")
            .in_file("a,b.yaml");
        assert_eq!(
            github(&diagnostic, &sources("x: yz")),
            "::error file=a%2Cb.yaml,line=1,col=4,endLine=1,endColumn=6,\
             title=S012%3A A secret that the tenant does not have.::100 %25 wrong%0Aor so%0Ahere%0Amend it"
        );
    }

    #[test]
    fn json_stays_on_one_line() {
        let diagnostic = Diagnostic::warning(Code::UnusedTenant, "a\nb")
            .at(0..1, "")
            .in_file("a,b.yaml");
        let line = json(&diagnostic, &sources("x: yz\n"));
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(value["severity"], "warning");
        assert_eq!(value["end_column"], 2);
    }

    proptest! {
        /// Whatever the place, every rendering answers.
        #[test]
        fn places_never_panic(text in "(\\PC|\\r|\\n|\\t){0,60}", start in 0_usize..80, length in 0_usize..80, second in 0_usize..80) {
            let diagnostic = Diagnostic::error(Code::NotYaml, "message")
                .at(start..start + length, "label")
                .at(second..second + 3, "other")
                .in_file("a,b.yaml");
            let sources = sources(&text);
            prop_assert!(super::text(&diagnostic, &sources, Style::Plain).contains("error[S006]"));
            prop_assert!(super::text(&diagnostic, &sources, Style::Styled).contains("S006"));
            prop_assert!(!json(&diagnostic, &sources).contains('\n'));
            prop_assert!(!github(&diagnostic, &sources).contains('\n'));
        }
    }
}
