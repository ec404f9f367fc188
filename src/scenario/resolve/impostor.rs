//! The step `impostor`: what is forged, and the codes that AWS can refuse it with.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::{
        at::{At, Place},
        capability,
        code::Code,
        diagnostic::Diagnostic,
        model::{Action, Forgery, Impostor},
        raw::RawImpostor,
        suggest::nearest,
    },
    Resolver,
    steps::Time,
};

/// What a step may take where it does not say so: a handful of calls, and a token for each.
const WITHIN: Duration = Duration::from_secs(30);
/// More than AWS has for all forms together.
const MAX_CODES: usize = 10;

/// The forms of `with`, and the codes that AWS can answer each with. A token is refused by STS: as
/// invalid, as rejected by the identity provider, and one for another audience also by the role's
/// trust policy (which lets the forged token pass: its claims are right); one whose time is over is called so,
/// by the API reference `ExpiredToken` and by what STS answers `ExpiredTokenException`. A request is refused by
/// the service that it is sent to, with one code in JSON protocols and another in the older ones.
const FORMS: &[(&str, Forgery, &[&str])] = &[
    (
        "forged-signature",
        Forgery::Signature,
        &["InvalidIdentityToken", "IDPRejectedClaim"],
    ),
    (
        "other-audience",
        Forgery::Audience,
        &["InvalidIdentityToken", "IDPRejectedClaim", "AccessDenied"],
    ),
    (
        "expired-token",
        Forgery::Expired,
        &["ExpiredTokenException", "ExpiredToken"],
    ),
    (
        "forged-request",
        Forgery::Request,
        &["InvalidSignatureException", "SignatureDoesNotMatch"],
    ),
    (
        "other-region",
        Forgery::Region,
        &["InvalidSignatureException", "SignatureDoesNotMatch"],
    ),
];

/// What the codes of all `impostor` steps came to, over all rows of the matrix. A code is known by
/// the number of its step and its index there.
#[derive(Debug, Default)]
pub(super) struct Codes {
    /// Those that AWS can answer in some row.
    fitting: BTreeSet<(usize, usize)>,
    /// Those that it cannot answer in some row, with what to say when no other row can use them.
    misfits: BTreeMap<(usize, usize), Diagnostic>,
}

impl Codes {
    /// What is wrong with codes that fit in no row.
    pub(super) fn never_fitting(self) -> impl Iterator<Item = Diagnostic> {
        self.misfits
            .into_iter()
            .filter(move |(code, _)| !self.fitting.contains(code))
            .map(|(_, diagnostic)| diagnostic)
    }
}

impl Resolver<'_> {
    pub(super) fn impostor(&mut self, raw: &RawImpostor, number: usize) -> Option<(Action, Time)> {
        let tenant = self.tenant(&raw.tenant);
        let form = self.form(&raw.with);
        self.needs_enforcement(&raw.with.place);
        if let Some((Forgery::Expired, _)) = form {
            self.needs_expired_tokens(&raw.with.place);
        }
        let time = self.time(raw.within.as_ref(), WITHIN);
        let (forgery, possible) = form?;
        let errors = self.refusals(&raw.because, number, forgery, possible);
        let impostor = Impostor {
            tenant: tenant?,
            forgery,
            errors: errors?,
        };
        Some((Action::Impostor(impostor), time?))
    }

    fn needs_expired_tokens(&mut self, place: &Place) {
        let needed = capability::EXPIRED_TOKENS;
        if !self.requires(needed) {
            let problem = format!("an expired token needs `requires: [{needed}]`");
            self.error(
                Diagnostic::error(Code::CapabilityNotRequired, problem)
                    .at(place.clone(), "the issuer must have signed it")
                    .help("where no such token can be had, the scenario is then not-supported"),
            );
        }
    }

    fn form(&mut self, written: &At<String>) -> Option<(Forgery, &'static [&'static str])> {
        let text = self.text(written)?;
        let form = FORMS.iter().find(|(word, ..)| *word == text);
        if form.is_none() {
            let words: Vec<&str> = FORMS.iter().map(|(word, ..)| *word).collect();
            self.error(
                Diagnostic::error(Code::UnknownValue, format!("`with` cannot be `{text}`"))
                    .at(
                        written.place.clone(),
                        format!("expected one of: {}", words.join(", ")),
                    )
                    .did_you_mean(nearest(&text, words)),
            );
        }
        form.map(|(_, forgery, possible)| (*forgery, *possible))
    }

    /// The codes that AWS can answer this forgery with. Those of other forms are left out: a matrix
    /// has one list for all its forms, and no row shall pass for the reason of another.
    fn refusals(
        &mut self,
        because: &At<Vec<At<String>>>,
        number: usize,
        forgery: Forgery,
        possible: &[&str],
    ) -> Option<Vec<String>> {
        let listed = because.value.len();
        if listed == 0 || listed > MAX_CODES {
            self.error(
                Diagnostic::error(Code::OutOfRange, format!("`because` lists {listed} error codes"))
                    .at(because.place.clone(), format!("expected 1 to {MAX_CODES}"))
                    .help(format!("AWS can say: {}", possible.join(", "))),
            );
            return None;
        }
        let mut seen: Vec<(String, &At<String>)> = Vec::new();
        let mut fitting = Vec::new();
        let mut of_other_forms = Vec::new();
        for (index, written) in because.value.iter().enumerate() {
            let text = self.text(written)?;
            if let Some((_, first)) = seen.iter().find(|(seen, _)| *seen == text) {
                let diagnostic = Diagnostic::error(Code::DuplicateKey, format!("`{text}` is listed twice"))
                    .at(written.place.clone(), "again here")
                    .at(first.place.clone(), "first here");
                self.error(diagnostic);
                continue;
            }
            seen.push((text.clone(), written));
            if possible.contains(&text.as_str()) {
                self.used.codes.fitting.insert((number, index));
                fitting.push(text);
                continue;
            }
            let diagnostic = Diagnostic::error(
                Code::UnknownValue,
                format!("`{text}` is not how AWS refuses {}", forgery.describe()),
            )
            .at(
                written.place.clone(),
                format!("expected one of: {}", possible.join(", ")),
            )
            .did_you_mean(nearest(&text, possible.iter().copied()));
            if FORMS.iter().any(|(.., codes)| codes.contains(&text.as_str())) {
                let misfits = &mut self.used.codes.misfits;
                misfits
                    .entry((number, index))
                    .or_insert_with(|| diagnostic.clone());
                of_other_forms.push(diagnostic);
            } else {
                self.error(diagnostic);
            }
        }
        if fitting.is_empty() {
            self.report.append(&mut of_other_forms);
            return None;
        }
        Some(fitting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load::{SourceFile, load};

    type Problems = Vec<(Code, String)>;

    /// What the step is in each row, or the codes and first labels of what is wrong.
    fn resolved(head: &str, step: &str) -> Result<Vec<(Impostor, Duration)>, Problems> {
        let text = format!(
            "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: it, profile: p }}\n\
             description: It.\nrequires: [iam-enforcement, expired-tokens]\ntenants: {{ red: {{}}, blue: {{}} }}\n{head}steps:\n\
             \x20 - mount: {{ tenant: red, secret: red/secret }}\n\
             \x20 - impostor: {{ tenant: blue, {step} }}\n"
        );
        let file = SourceFile {
            display: "it.yaml".to_owned(),
            below: "p/it.yaml".to_owned(),
            folder: None,
            size: text.len() as u64,
            bytes: text.into_bytes(),
        };
        let loaded = load(&[file]);
        if !loaded.diagnostics.is_empty() {
            let said = loaded.diagnostics.into_iter();
            return Err(said
                .map(|diagnostic| (diagnostic.code, diagnostic.message))
                .collect());
        }
        Ok(loaded
            .scenarios
            .into_iter()
            .filter_map(|mut scenario| match scenario.steps.pop() {
                Some(step) => match step.action {
                    Action::Impostor(impostor) => Some((impostor, step.within)),
                    _ => None,
                },
                None => None,
            })
            .collect())
    }

    fn impostor(forgery: Forgery, errors: &[&str]) -> Impostor {
        Impostor {
            tenant: 1,
            forgery,
            errors: errors.iter().map(|code| (*code).to_owned()).collect(),
        }
    }

    const MATRIX: &str =
        "matrix: { with: [forged-signature, other-audience, expired-token, forged-request, other-region] }\n";

    #[test]
    fn each_form_arrives_with_its_codes() {
        let cases = [
            (
                "with: forged-signature, because: [InvalidIdentityToken]",
                impostor(Forgery::Signature, &["InvalidIdentityToken"]),
                30,
            ),
            (
                "with: other-audience, because: [InvalidIdentityToken, AccessDenied], within: 5s",
                impostor(Forgery::Audience, &["InvalidIdentityToken", "AccessDenied"]),
                5,
            ),
            (
                "with: expired-token, because: [ExpiredTokenException]",
                impostor(Forgery::Expired, &["ExpiredTokenException"]),
                30,
            ),
            (
                "with: forged-request, because: [SignatureDoesNotMatch]",
                impostor(Forgery::Request, &["SignatureDoesNotMatch"]),
                30,
            ),
            (
                "with: other-region, because: [InvalidSignatureException]",
                impostor(Forgery::Region, &["InvalidSignatureException"]),
                30,
            ),
        ];
        for (step, expected, seconds) in cases {
            assert_eq!(
                resolved("", step),
                Ok(vec![(expected, Duration::from_secs(seconds))]),
                "{step}"
            );
        }
    }

    #[test]
    fn a_matrix_gives_each_form_the_codes_that_it_can_have() {
        let step = "with: \"${matrix.with}\", \
                    because: [InvalidIdentityToken, ExpiredTokenException, InvalidSignatureException]";
        let found = resolved(MATRIX, step).map(|found| found.into_iter().map(|(step, _)| step).collect());
        assert_eq!(
            found,
            Ok(vec![
                impostor(Forgery::Signature, &["InvalidIdentityToken"]),
                impostor(Forgery::Audience, &["InvalidIdentityToken"]),
                impostor(Forgery::Expired, &["ExpiredTokenException"]),
                impostor(Forgery::Request, &["InvalidSignatureException"]),
                impostor(Forgery::Region, &["InvalidSignatureException"]),
            ])
        );
    }

    #[test]
    fn codes_that_aws_cannot_answer_are_refused() {
        let token = "a token with a forged signature";
        let request = "a request with a forged signature";
        let cases = [
            ("", "forged-signature", "AccessDenied", "AccessDenied", token),
            (
                "",
                "forged-signature",
                "InvalidIdentityToken, InvalidSignatureException",
                "InvalidSignatureException",
                token,
            ),
            (
                "",
                "forged-request",
                "InvalidIdentityToken",
                "InvalidIdentityToken",
                request,
            ),
            ("", "forged-request", "Throttling", "Throttling", request),
            (
                "",
                "expired-token",
                "InvalidIdentityToken",
                "InvalidIdentityToken",
                "an expired token",
            ),
            // One row has nothing left, though the others do.
            (
                "matrix: { with: [forged-signature, other-audience, forged-request] }\n",
                "${matrix.with}",
                "InvalidIdentityToken",
                "InvalidIdentityToken",
                request,
            ),
            // No row can use it.
            (
                "matrix: { with: [forged-signature, forged-request] }\n",
                "${matrix.with}",
                "InvalidIdentityToken, AccessDenied, SignatureDoesNotMatch",
                "AccessDenied",
                token,
            ),
        ];
        for (head, with, because, code, what) in cases {
            assert_eq!(
                resolved(head, &format!("with: \"{with}\", because: [{because}]")),
                Err(vec![(
                    Code::UnknownValue,
                    format!("`{code}` is not how AWS refuses {what}")
                )]),
                "{with}: {because}"
            );
        }
    }
}
