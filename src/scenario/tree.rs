//! YAML as a tree of nodes with places, aliases already followed.
//!
//! serde stops at the first thing that does not fit. To name every problem of a file at once,
//! [`super::shape`] walks this tree instead; serde reads a file only when the tree is in order.

use std::{collections::HashMap, ops::Range, rc::Rc};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle};

use super::{at::Place, code::Code, diagnostic::Diagnostic};

/// Nesting that no scenario needs, and that the reader's recursion stays far away from.
pub(crate) const MAX_DEPTH: usize = 32;
/// Nodes that aliases may stand for, all together.
pub(crate) const MAX_ALIASED_NODES: u64 = 10_000;

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where it is written. For a mapping or sequence, its head.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) kind: Kind,
    /// Whether it has a tag, such as `!binary`.
    pub(crate) tagged: bool,
    /// Nodes it stands for, itself included.
    weight: u64,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    Scalar {
        text: String,
        /// Written without quotes, so that it may be a number, a boolean or nothing.
        plain: bool,
    },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// Whether it is YAML's nothing: `null`, `~`, or no text at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What a mapping holds under `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Kind::Mapping(entries) = &self.kind else {
            return None;
        };
        let (_, value) = entries
            .iter()
            .find(|(key, _)| matches!(&key.kind, Kind::Scalar { text, .. } if text == name))?;
        Some(value)
    }
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    tagged: bool,
    mapping: bool,
    children: Vec<Rc<Node>>,
}

/// Reads the one document of a text. Syntax errors and the like are the only problem that is
/// reported of a text, since nothing behind them can be trusted.
pub(crate) fn read(text: &str) -> Result<Rc<Node>, Diagnostic> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
    };
    let mut builder = Builder {
        text,
        ..Builder::default()
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| not_yaml(text, &error))?;
        let place = span
            .byte_range()
            .unwrap_or_else(|| span.start.byte_offset().unwrap_or_default()..usize::MAX);
        builder.take(event, place)?;
    }
    match builder.document {
        Some(root) if !(root.is_null() && root.place.is_empty()) => Ok(root),
        _ => Err(empty(text)),
    }
}

pub(crate) fn empty(text: &str) -> Diagnostic {
    let commented = text.lines().any(|line| line.trim_start().starts_with('#'));
    Diagnostic::error(
        Code::Empty,
        if commented {
            "the file holds only comments"
        } else {
            "the file is empty"
        },
    )
    .at(0..0, "")
    .help("a scenario begins with `apiVersion: mountproof.dev/v1alpha1` and `kind: Scenario`")
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    aliased: u64,
    document: Option<Rc<Node>>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, place: Range<usize>) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) if self.document.is_some() => {
                let place = place.start..place.start.saturating_add(3);
                Err(
                    Diagnostic::error(Code::SeveralDocuments, "the file holds more than one document")
                        .at(place, "a second one begins here")
                        .help("write one scenario per file: reports and diagnostics name scenarios by file"),
                )
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: matches!(style, ScalarStyle::Plain),
                };
                self.close(
                    anchor,
                    Rc::new(Node {
                        place,
                        kind,
                        tagged: tag.is_some(),
                        weight: 1,
                    }),
                );
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => self.descend(anchor, place, tag.is_some(), false),
            Event::MappingStart(_, anchor, tag) => self.descend(anchor, place, tag.is_some(), true),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.close(open.anchor, Rc::new(open.finish()));
                }
                Ok(())
            }
            Event::Alias(anchor) => self.follow(anchor, place),
            Event::UnresolvedAlias(name) => Err(Diagnostic::error(
                Code::Aliases,
                format!("no anchor `&{name}` before this alias"),
            )
            .at(place, "refers to nothing")
            .help("an anchor must stand before its aliases")),
            _ => Ok(()),
        }
    }

    fn descend(
        &mut self,
        anchor: usize,
        place: Place,
        tagged: bool,
        mapping: bool,
    ) -> Result<(), Diagnostic> {
        if self.open.len() >= MAX_DEPTH {
            return Err(
                Diagnostic::error(Code::TooDeep, format!("nested deeper than {MAX_DEPTH} levels"))
                    .at(first_character(self.text, &place), "one level too many")
                    .help("a scenario needs no more than about ten"),
            );
        }
        self.open.push(Open {
            anchor,
            place,
            tagged,
            mapping,
            children: Vec::new(),
        });
        Ok(())
    }

    fn follow(&mut self, anchor: usize, place: Place) -> Result<(), Diagnostic> {
        let Some(target) = self.anchors.get(&anchor).cloned() else {
            // Its anchor is known to the parser, so it belongs to a collection that is still open.
            return Err(
                Diagnostic::error(Code::Aliases, "an alias stands inside its own anchor")
                    .at(place, "this would contain itself without end")
                    .help("a scenario is a tree; write the part out"),
            );
        };
        self.aliased = self.aliased.saturating_add(target.weight);
        if self.aliased > MAX_ALIASED_NODES {
            return Err(Diagnostic::error(
                Code::Aliases,
                format!("aliases expand to more than {MAX_ALIASED_NODES} nodes"),
            )
            .at(
                place,
                format!("this one alone stands for {} nodes", target.weight),
            )
            .help("aliases of aliases multiply; write the parts out, or use a matrix"));
        }
        // The place of an alias is where it is used: that is what a reader has to change.
        let kind = match &target.kind {
            Kind::Scalar { text, plain } => Kind::Scalar {
                text: text.clone(),
                plain: *plain,
            },
            Kind::Sequence(children) => Kind::Sequence(children.clone()),
            Kind::Mapping(entries) => Kind::Mapping(entries.clone()),
        };
        self.close(
            0,
            Rc::new(Node {
                place,
                kind,
                tagged: target.tagged,
                weight: target.weight,
            }),
        );
        Ok(())
    }

    fn close(&mut self, anchor: usize, node: Rc<Node>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.document = Some(node),
        }
    }
}

impl Open {
    fn finish(self) -> Node {
        let weight = self
            .children
            .iter()
            .fold(1_u64, |sum, child| sum.saturating_add(child.weight));
        let kind = if self.mapping {
            let mut entries = Vec::with_capacity(self.children.len() / 2);
            let mut children = self.children.into_iter();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                entries.push((key, value));
            }
            Kind::Mapping(entries)
        } else {
            Kind::Sequence(self.children)
        };
        Node {
            place: self.place,
            kind,
            tagged: self.tagged,
            weight,
        }
    }
}

fn first_character(text: &str, place: &Place) -> Place {
    let length = text
        .get(place.start..)
        .and_then(|rest| rest.chars().next())
        .map_or(0, char::len_utf8);
    place.start..place.start + length
}

fn not_yaml(text: &str, error: &granit_parser::ScanError) -> Diagnostic {
    use granit_parser::ErrorKind;

    let start = error
        .marker()
        .byte_offset()
        .unwrap_or_else(|| byte_of(text, error.marker()));
    let place = first_character(text, &(start..start));
    let line = line_of(text, start);
    let indentation = &line[..line.len() - line.trim_start().len()];
    let diagnostic = if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        Diagnostic::error(Code::TooDeep, format!("nested deeper than {MAX_DEPTH} levels"))
    } else {
        Diagnostic::error(Code::NotYaml, format!("not YAML: {}", first_line(&error.info())))
    };
    let diagnostic = diagnostic.at(place, "reading stopped here");
    if indentation.contains('\t') {
        diagnostic.help("a tab stands in the indentation of this line; YAML wants spaces")
    } else {
        diagnostic
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn byte_of(text: &str, marker: &granit_parser::Marker) -> usize {
    text.char_indices()
        .nth(marker.index())
        .map_or(text.len(), |(byte, _)| byte)
}

fn line_of(text: &str, byte: usize) -> &str {
    let byte = super::diagnostic::floor_char_boundary(text, byte);
    let start = text[..byte].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default()
}
