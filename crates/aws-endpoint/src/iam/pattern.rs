//! Wildcards, ARN segments and policy variables.
//!
//! A policy's text becomes a [`Template`] once; each request turns it into a [`Glob`] by filling in its
//! variables. Filled-in text is never a wildcard: a tag whose value is `*` matches an asterisk.
//!
//! Imitated: the IAM user guide's pages "IAM policy elements: Variables and tags" and "Resource".

use std::borrow::Cow;
use std::str::Chars;

use super::Facts;

/// Text in which `*` stands for any run of characters and `?` for any one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Many,
}

impl Glob {
    /// Reads `*` and `?` as wildcards and everything else as itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.chars().map(Token::read).collect())
    }

    /// Whether the whole of `text` matches; a wildcard stands for any characters (`StringLike`).
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        matching(&self.0, text, |wanted, given| wanted == given, |_| false)
    }

    /// As [`Self::matches`], with letters of either case equal (actions).
    #[must_use]
    pub fn matches_ignoring_case(&self, text: &str) -> bool {
        matching(&self.0, text, same_letter, |_| false)
    }

    /// Whether an ARN matches segment by segment (`ArnEquals` and `ArnLike`, which are one operator).
    ///
    /// Wildcards stay within the first five segments; the sixth is the rest and may hold colons.
    #[must_use]
    pub fn matches_arn(&self, arn: &str) -> bool {
        let fence = self.resource_part();
        matching(&self.0, arn, |wanted, given| wanted == given, |at| at < fence)
    }

    /// Whether an ARN matches as in a `Resource` element.
    ///
    /// As [`Self::matches_arn`], but a `*` that ends its segment may stand for further segments too, so
    /// that `arn:aws:secretsmanager:*` means every secret.
    #[must_use]
    pub fn matches_resource(&self, arn: &str) -> bool {
        let fence = self.resource_part();
        let ends_segment = |at: usize| matches!(self.0.get(at + 1), None | Some(Token::Char(':')));
        let confined = |at: usize| at < fence && !(self.0[at] == Token::Many && ends_segment(at));
        matching(&self.0, arn, |wanted, given| wanted == given, confined)
    }

    /// The planted defect of [`super::Rules::prefix_match`]: the pattern is cut one level of the path too
    /// early and used as a prefix.
    ///
    /// `..:secret:demo/team-red/*` matches what begins with `..:secret:demo/`, as a comparison would that
    /// takes the parent of the parent. A pattern with fewer than two slashes in its resource part
    /// matches as it should.
    #[must_use]
    pub fn matches_one_level_up(&self, arn: &str) -> bool {
        let slash = |token: &Token| *token == Token::Char('/');
        let start = self.resource_part().min(self.0.len());
        let resource = &self.0[start..];
        let parent = resource.iter().rposition(slash);
        match parent.and_then(|end| resource[..end].iter().rposition(slash)) {
            None => self.matches_resource(arn),
            Some(cut) => {
                let mut shortened = self.0[..=start + cut].to_vec();
                shortened.push(Token::Many);
                Self(shortened).matches_resource(arn)
            }
        }
    }

    /// Whether the pattern itself, with its wildcards as plain characters, is `text` (`StringEquals`).
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0.iter().map(|token| token.plain()).eq(text.chars())
    }

    /// As [`Self::is`], with letters of either case equal (`StringEqualsIgnoreCase`).
    #[must_use]
    pub fn is_ignoring_case(&self, text: &str) -> bool {
        let lower = |char: char| char.to_lowercase();
        let own = self.0.iter().flat_map(|token| lower(token.plain()));
        own.eq(text.chars().flat_map(lower))
    }

    /// Where the sixth segment of an ARN begins: past the fifth colon, or the end.
    fn resource_part(&self) -> usize {
        let mut colons = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, token)| **token == Token::Char(':'));
        colons.nth(4).map_or(self.0.len(), |(at, _)| at + 1)
    }
}

impl Token {
    fn read(char: char) -> Self {
        match char {
            '*' => Self::Many,
            '?' => Self::One,
            other => Self::Char(other),
        }
    }

    fn plain(self) -> char {
        match self {
            Self::Char(char) => char,
            Self::One => '?',
            Self::Many => '*',
        }
    }
}

fn same_letter(wanted: char, given: char) -> bool {
    if wanted.is_ascii() && given.is_ascii() {
        return wanted.eq_ignore_ascii_case(&given);
    }
    wanted == given || wanted.to_lowercase().eq(given.to_lowercase())
}

/// Whether `tokens` match the whole of `text`: no pattern takes longer than some times its length times that of
/// the text, however many asterisks it has.
///
/// `confined` says which wildcards (by position) may not stand for a colon.
fn matching(
    tokens: &[Token],
    text: &str,
    same: impl Fn(char, char) -> bool,
    confined: impl Fn(usize) -> bool,
) -> bool {
    greedy(tokens, text, &same, &confined).unwrap_or_else(|| simulate(tokens, text, same, confined))
}

/// Runs `tokens` over `text` with one position at a time: each asterisk takes as little as the next one lets it.
///
/// That is the whole truth while the last asterisk can take anything: what fails behind it fails wherever those
/// before it end. `None` where it may not take the colon that comes next.
fn greedy(
    tokens: &[Token],
    text: &str,
    same: impl Fn(char, char) -> bool,
    confined: impl Fn(usize) -> bool,
) -> Option<bool> {
    let (mut at, mut rest) = (0, text.chars());
    // The last one, and what is behind what it takes.
    let mut asterisk: Option<(usize, Chars<'_>)> = None;
    loop {
        let fits = match tokens.get(at) {
            Some(Token::Many) => {
                asterisk = Some((at, rest.clone()));
                true
            }
            token => match (token, rest.next()) {
                (None, None) => return Some(true),
                (Some(_), None) => return Some(false),
                (Some(Token::Char(wanted)), Some(given)) => same(*wanted, given),
                (Some(Token::One), Some(given)) => given != ':' || !confined(at),
                _ => false,
            },
        };
        if fits {
            at += 1;
            continue;
        }
        let Some((last, behind)) = &mut asterisk else {
            return Some(false);
        };
        match behind.next() {
            None => return Some(false),
            Some(':') if confined(*last) => return None,
            // At the end it takes whatever is left.
            Some(_) if *last + 1 == tokens.len() && !confined(*last) => return Some(true),
            Some(_) => (at, rest) = (*last + 1, behind.clone()),
        }
    }
}

/// Runs `tokens` over `text` as a set of positions.
fn simulate(
    tokens: &[Token],
    text: &str,
    same: impl Fn(char, char) -> bool,
    confined: impl Fn(usize) -> bool,
) -> bool {
    // Most patterns differ from most texts before their first wildcard.
    let mut chars = text.chars();
    let mut start = 0;
    while let Some(Token::Char(wanted)) = tokens.get(start) {
        match chars.next() {
            Some(given) if same(*wanted, given) => start += 1,
            _ => return false,
        }
    }
    if start == tokens.len() {
        return chars.next().is_none();
    }
    // Positions in ascending order.
    let mut current = Vec::with_capacity(8);
    let mut next = Vec::with_capacity(8);
    enter(tokens, start, &mut current);
    // A free asterisk at the end takes whatever is left.
    let open = tokens.last() == Some(&Token::Many) && !confined(tokens.len() - 1);
    for char in chars {
        if open && current.last() == Some(&tokens.len()) {
            return true;
        }
        for &at in &current {
            match tokens.get(at) {
                Some(Token::Char(wanted)) if same(*wanted, char) => enter(tokens, at + 1, &mut next),
                Some(Token::One) if char != ':' || !confined(at) => enter(tokens, at + 1, &mut next),
                Some(Token::Many) if char != ':' || !confined(at) => enter(tokens, at, &mut next),
                _ => {}
            }
        }
        if next.is_empty() {
            return false;
        }
        std::mem::swap(&mut current, &mut next);
        next.clear();
    }
    current.last() == Some(&tokens.len())
}

/// Adds a position, and those that a `*` of no characters leads to.
///
/// Positions are entered in ascending order, and each brings along those behind it up to one that takes a
/// character. So what is not beyond the last one is there already.
fn enter(tokens: &[Token], mut at: usize, positions: &mut Vec<usize>) {
    while positions.last().is_none_or(|last| *last < at) {
        positions.push(at);
        if tokens.get(at) != Some(&Token::Many) {
            return;
        }
        at += 1;
    }
}

/// A policy's text with its wildcards and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    form: Form,
    /// A variable stands where none may: no text matches.
    misplaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Fixed(Glob),
    Open(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Token(Token),
    /// `key` is in lower case.
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A variable that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a policy variable: write ${{key}} or ${{key, 'default'}}")]
pub struct VariableError {
    /// The text from the `${` on.
    pub text: String,
}

impl Template {
    /// Reads text without variables: `${` is two characters (policies of version 2008-10-17, and actions).
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            form: Form::Fixed(Glob::new(text)),
            misplaced: false,
        }
    }

    /// Reads text with variables: `${key}`, `${key, 'default'}`, and `${*}`, `${?}`, `${$}` for the characters
    /// themselves.
    pub fn with_variables(text: &str) -> Result<Self, VariableError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            parts.extend(rest[..start].chars().map(Token::read).map(Part::Token));
            let (part, after) = variable(&rest[start..])?;
            parts.push(part);
            rest = after;
        }
        parts.extend(rest.chars().map(Token::read).map(Part::Token));
        let fixed = parts.iter().map(|part| match part {
            Part::Token(token) => Some(*token),
            Part::Variable { .. } => None,
        });
        let form = match fixed.collect::<Option<Vec<_>>>() {
            Some(tokens) => Form::Fixed(Glob(tokens)),
            None => Form::Open(parts),
        };
        Ok(Self {
            text: text.to_owned(),
            form,
            misplaced: false,
        })
    }

    /// As an ARN of a `Resource` element.
    ///
    /// Variables count behind the fifth colon only ("Where you can use policy variables"): one before it matches
    /// no resource. What is missing of the six segments is filled up with `*` where `completed` says so
    /// ("Identify AWS resources with ARNs": `arn:aws:sqs` is `arn:aws:sqs:*:*:*`).
    #[must_use]
    pub(super) fn of_resource(mut self, completed: bool) -> Self {
        let colon = Token::Char(':');
        let mut colons = 0;
        match &mut self.form {
            Form::Fixed(Glob(tokens)) => {
                colons = tokens.iter().filter(|token| **token == colon).count();
                if completed && colons > 0 {
                    tokens.extend((colons..5).flat_map(|_| [colon, Token::Many]));
                }
            }
            Form::Open(parts) => {
                for part in parts {
                    match part {
                        Part::Token(token) => colons += usize::from(*token == colon),
                        Part::Variable { .. } => self.misplaced |= colons < 5,
                    }
                }
            }
        }
        self
    }

    /// Whether a variable stands where none may.
    pub(super) fn is_misplaced(&self) -> bool {
        self.misplaced
    }

    /// The text as the policy has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the text holds a variable.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.form, Form::Open(_))
    }

    /// The keys of its variables, in lower case.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let parts = match &self.form {
            Form::Fixed(_) => &[],
            Form::Open(parts) => &parts[..],
        };
        parts.iter().filter_map(|part| match part {
            Part::Token(_) => None,
            Part::Variable { key, .. } => Some(key.as_str()),
        })
    }

    /// The pattern with its variables filled in; `None` when one of them has no value.
    ///
    /// A key with several values has none that could stand here.
    #[must_use]
    pub fn resolve(&self, facts: &dyn Facts) -> Option<Cow<'_, Glob>> {
        let parts = match &self.form {
            Form::Fixed(glob) => return Some(Cow::Borrowed(glob)),
            Form::Open(_) if self.misplaced => return None,
            Form::Open(parts) => parts,
        };
        let mut tokens = Vec::with_capacity(self.text.len());
        for part in parts {
            match part {
                Part::Token(token) => tokens.push(*token),
                Part::Variable { key, default } => {
                    let given = facts.values_of(key);
                    let value = match given.as_deref() {
                        Some([value]) => value,
                        Some(_) => return None,
                        None => default.as_ref()?,
                    };
                    tokens.extend(value.chars().map(Token::Char));
                }
            }
        }
        Some(Cow::Owned(Glob(tokens)))
    }
}

/// Reads one variable at the start of `text`, which begins with `${`.
fn variable(text: &str) -> Result<(Part, &str), VariableError> {
    let malformed = || VariableError {
        text: text.to_owned(),
    };
    let inner = &text[2..];
    for (name, char) in [("*}", '*'), ("?}", '?'), ("$}", '$')] {
        if let Some(after) = inner.strip_prefix(name) {
            return Ok((Part::Token(Token::Char(char)), after));
        }
    }
    let end = inner.find(['}', ',']).ok_or_else(malformed)?;
    let (key, rest) = (inner[..end].trim(), &inner[end..]);
    // Every condition key has a prefix, so that a variable without a colon can only be a mistake.
    if !key.contains(':') || key.contains(['$', '{', '\'', '*', '?']) {
        return Err(malformed());
    }
    let key = key.to_lowercase();
    if let Some(after) = rest.strip_prefix('}') {
        return Ok((Part::Variable { key, default: None }, after));
    }
    let quoted = rest[1..].trim_start().strip_prefix('\'').ok_or_else(malformed)?;
    let (default, rest) = quoted.split_once('\'').ok_or_else(malformed)?;
    let after = rest.trim_start().strip_prefix('}').ok_or_else(malformed)?;
    Ok((
        Part::Variable {
            key,
            default: Some(default.to_owned()),
        },
        after,
    ))
}

#[cfg(test)]
mod tests;
