//! PURE: tokens in the text of a log.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// A JSON Web Token that stands in a text: whose it is, and never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundToken {
    /// In which line, from 1.
    pub line: usize,
    /// Its `sub`.
    pub subject: String,
    /// Its `aud`.
    pub audience: String,
}

/// The beginning of every token's header, `{"`.
const HEAD: &str = "eyJ";

/// Every token in `text` whose claims can be read, in order.
#[must_use]
pub fn tokens(text: &str) -> Vec<FoundToken> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find(HEAD) {
            let run = &rest[start..];
            let end = run
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)))
                .unwrap_or(run.len());
            found.extend(token(&run[..end], index + 1));
            rest = &run[end..];
        }
    }
    found
}

fn token(run: &str, line: usize) -> Option<FoundToken> {
    let mut parts = run.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let subject = claims["sub"].as_str()?.to_owned();
    let audience = match &claims["aud"] {
        Value::String(one) => one.clone(),
        Value::Array(all) => {
            let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            all.join(" and ")
        }
        _ => "nobody".to_owned(),
    };
    Some(FoundToken {
        line,
        subject,
        audience,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            part(r#"{"alg":"RS256"}"#),
            part(claims),
            part("signature")
        )
    }

    #[test]
    fn tokens_are_found_wherever_they_stand_and_told_by_their_claims() {
        let one = signed(r#"{"sub":"system:serviceaccount:a:default","aud":["sts.amazonaws.com"]}"#);
        let two = signed(r#"{"sub":"x"}"#);
        let told = |text: &str| -> Vec<(usize, String, String)> {
            let found = tokens(text).into_iter();
            found
                .map(|token| (token.line, token.subject, token.audience))
                .collect()
        };
        let (account, sts) = ("system:serviceaccount:a:default", "sts.amazonaws.com");
        for (text, expected) in [
            (format!("token={one} end"), vec![(1, account, sts)]),
            (
                format!("first\n{{\\\"token\\\":\\\"{one}\\\"}}"),
                vec![(2, account, sts)],
            ),
            (
                format!("{two} {one}"),
                vec![(1, "x", "nobody"), (1, account, sts)],
            ),
            (
                "eyJ is how they begin; eyJhbGciOiJub25lIn0.nonsense.x".to_owned(),
                vec![],
            ),
            (signed(r#"{"iss":"no subject"}"#), vec![]),
            (String::new(), vec![]),
        ] {
            let expected: Vec<(usize, String, String)> = expected
                .into_iter()
                .map(|(line, subject, audience): (usize, &str, &str)| {
                    (line, subject.to_owned(), audience.to_owned())
                })
                .collect();
            assert_eq!(told(&text), expected);
        }
    }
}
