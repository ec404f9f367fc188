//! What a file says about itself, and what it declares but never uses.

use super::{
    super::{
        at::At, capability, code::Code, diagnostic::Diagnostic, matrix, raw::RawScenario, suggest::nearest,
    },
    MAX_STEPS, Standing, Used,
};

const MAX_NAME: usize = 50;

/// Checks what does not depend on the matrix.
pub(super) fn check(raw: &RawScenario, standing: Standing<'_>, report: &mut Vec<Diagnostic>) {
    name("scenario", &raw.metadata.name, MAX_NAME, report);
    if name("profile", &raw.metadata.profile, MAX_NAME, report)
        && let Some(folder) = standing.folder
        && folder != raw.metadata.profile.value
    {
        report.push(
            Diagnostic::error(
                Code::WrongFolder,
                format!(
                    "the profile is `{}`, but the folder is `{folder}`",
                    raw.metadata.profile.value
                ),
            )
            .at(raw.metadata.profile.place.clone(), format!("expected `{folder}`"))
            .help(format!(
                "a file stands in the folder of its profile: write `profile: {folder}`, or move the file"
            )),
        );
    }
    if raw.description.value.trim().is_empty() {
        report.push(
            Diagnostic::error(Code::MissingField, "the description is empty")
                .at(raw.description.place.clone(), "")
                .help("say the claim in one sentence; reports print it beside the verdict"),
        );
    }
    if raw.steps.is_empty() {
        report.push(
            Diagnostic::error(Code::NoSteps, "the scenario has no steps")
                .at(raw.metadata.name.place.clone(), "proves nothing")
                .help("add a step, such as `- mount: { tenant: red, secret: red/secret }`"),
        );
    }
    if raw.steps.len() > MAX_STEPS {
        report.push(
            Diagnostic::error(
                Code::TooMany,
                format!(
                    "the scenario has {} steps, and at most {MAX_STEPS}",
                    raw.steps.len()
                ),
            )
            .at(raw.steps[MAX_STEPS].place.clone(), "the first one too many"),
        );
    }
    for (index, required) in raw.requires.iter().take(2 * capability::KNOWN.len()).enumerate() {
        if let Some(first) = raw.requires[..index]
            .iter()
            .find(|first| first.value == required.value)
        {
            report.push(
                Diagnostic::error(
                    Code::DuplicateKey,
                    format!("`{}` is listed twice", required.value),
                )
                .at(required.place.clone(), "again here")
                .at(first.place.clone(), "first here"),
            );
        }
        let known = || capability::KNOWN.iter().map(|(name, _)| *name);
        if !known().any(|known| known == required.value) {
            report.push(
                Diagnostic::error(
                    Code::UnknownCapability,
                    format!("unknown capability `{}`", required.value),
                )
                .at(required.place.clone(), "")
                .did_you_mean(nearest(&required.value, known()))
                .help(format!(
                    "capabilities: {}",
                    known().collect::<Vec<_>>().join(", ")
                )),
            );
        }
    }
}

/// Checks a name: what Kubernetes calls a label, and no longer than it can be. True when it is one.
pub(super) fn name(what: &str, written: &At<String>, longest: usize, report: &mut Vec<Diagnostic>) -> bool {
    let text = written.value.as_str();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if !valid {
        report.push(
            Diagnostic::error(
                Code::InvalidName,
                format!("`{text}` cannot be the name of a {what}"),
            )
            .at(written.place.clone(), "")
            .help(format!(
                "names are lower-case letters, digits and `-` between them, {longest} characters at most"
            )),
        );
    }
    valid
}

pub(super) fn unused(raw: &RawScenario, used: &Used, report: &mut Vec<Diagnostic>) {
    let tenants = raw.tenants.iter().flat_map(|tenants| &tenants.entries);
    for (index, (tenant, spec)) in tenants.enumerate() {
        if !used.tenants.contains(&index) {
            report.push(
                Diagnostic::warning(
                    Code::UnusedTenant,
                    format!("no step uses the tenant `{}`", tenant.value),
                )
                .at(tenant.place.clone(), ""),
            );
            continue;
        }
        let secrets = spec
            .iter()
            .filter_map(|spec| spec.secrets.as_ref())
            .flat_map(|secrets| &secrets.entries);
        for (secret, _) in secrets {
            if !used.secrets.contains(&(index, secret.value.clone())) {
                report.push(
                    Diagnostic::warning(
                        Code::UnusedSecret,
                        format!("no step uses the secret `{}/{}`", tenant.value, secret.value),
                    )
                    .at(secret.place.clone(), ""),
                );
            }
        }
    }
    let matrix = || raw.matrix.iter().flat_map(|matrix| &matrix.entries);
    for (axis, _) in matrix() {
        let in_matrix = matrix()
            .flat_map(|(_, values)| values)
            .any(|value| matrix::references(&value.value).any(|used| used == axis.value));
        if !in_matrix && !used.axes.contains(&axis.value) {
            report.push(
                Diagnostic::warning(
                    Code::UnusedAxis,
                    format!("no text uses the axis `{}`", axis.value),
                )
                .at(axis.place.clone(), "")
                .help(format!(
                    "write `${{matrix.{}}}` where it should stand",
                    axis.value
                )),
            );
        }
    }
}
