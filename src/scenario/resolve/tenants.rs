//! The tenants of a scenario and their secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        at::{At, Ordered, Place},
        code::Code,
        diagnostic::Diagnostic,
        model::{Content, RoleAnnotation, SecretRef, SecretSpec, TenantSpec},
        raw::{RawContent, RawIdentity, RawTenant, RawTrusted},
        suggest::nearest,
    },
    Resolver,
    header::name,
};

/// The secret that every tenant has.
pub(super) const STANDING_SECRET: &str = "secret";

const MAX_TENANTS: usize = 8;
const MAX_SECRETS: usize = 50;
const MAX_TENANT_NAME: usize = 20;
const MAX_SECRET_NAME: usize = 64;
/// What Secrets Manager takes.
const MAX_SECRET_BYTES: u32 = 65_536;
const MAX_JSON_KEYS: usize = 50;

impl Resolver<'_> {
    /// Fills in the tenants, those with errors too, so that what refers to them still finds them.
    pub(super) fn tenants(&mut self) {
        let Some(tenants) = &self.raw.tenants else { return };
        if let Some((place, _)) = tenants.entries.get(MAX_TENANTS) {
            self.error(
                Diagnostic::error(
                    Code::TooMany,
                    format!(
                        "the scenario has {} tenants, and at most {MAX_TENANTS}",
                        tenants.entries.len()
                    ),
                )
                .at(place.place.clone(), "the first one too many"),
            );
        }
        let names: Vec<&str> = tenants
            .entries
            .iter()
            .map(|(name, _)| name.value.as_str())
            .collect();
        for (tenant, raw) in tenants.entries.iter().take(MAX_TENANTS) {
            if matches!(tenant.value.as_str(), "own" | "none") {
                self.error(
                    Diagnostic::error(
                        Code::InvalidName,
                        format!("`{}` cannot be the name of a tenant", tenant.value),
                    )
                    .at(tenant.place.clone(), "a word of `role:`"),
                );
            } else {
                name("tenant", tenant, MAX_TENANT_NAME, &mut self.report);
            }
            let default = RawTenant::default();
            let raw = raw.as_ref().unwrap_or(&default);
            let own = raw.own.unwrap_or_default();
            let annotation = self.annotation(tenant, raw, own, &names);
            let trusts_other_cluster = self.trusts_other_cluster(tenant, raw, own);
            let secrets = raw
                .secrets
                .as_ref()
                .map(|secrets| self.secrets(tenant, secrets))
                .unwrap_or_default();
            self.tenants.push(TenantSpec {
                name: tenant.value.clone(),
                own,
                annotation,
                trusts_other_cluster,
                secrets,
                denied_by_secret: BTreeMap::new(),
                replicated: BTreeSet::new(),
                boundary: None,
            });
        }
        self.policies();
        // A role's owner is used by being referred to.
        let owners: Vec<usize> = self
            .tenants
            .iter()
            .filter_map(|tenant| match &tenant.annotation {
                RoleAnnotation::Of(owner) => self.tenants.iter().position(|tenant| tenant.name == *owner),
                RoleAnnotation::Own | RoleAnnotation::Absent => None,
            })
            .collect();
        self.used.tenants.extend(owners);
    }

    fn annotation(
        &mut self,
        tenant: &At<String>,
        raw: &RawTenant,
        own: bool,
        names: &[&str],
    ) -> RoleAnnotation {
        let Some(written) = &raw.role else {
            return RoleAnnotation::Own;
        };
        let Some(role) = self.text(written) else {
            return RoleAnnotation::Own;
        };
        let annotation = match role.as_str() {
            "own" => return RoleAnnotation::Own,
            "none" => RoleAnnotation::Absent,
            other if other == tenant.value => {
                self.error(
                    Diagnostic::error(Code::Contradiction, "a tenant's role is its own by default")
                        .at(written.place.clone(), "names the tenant itself")
                        .help("leave `role` out"),
                );
                return RoleAnnotation::Own;
            }
            other if names.contains(&other) => RoleAnnotation::Of(other.to_owned()),
            other => {
                let candidates = names.iter().copied().filter(|name| *name != tenant.value);
                self.error(
                    Diagnostic::error(Code::UnknownTenant, format!("unknown tenant `{other}`"))
                        .at(written.place.clone(), "expected `own`, `none` or another tenant")
                        .did_you_mean(nearest(other, candidates.chain(["own", "none"]))),
                );
                return RoleAnnotation::Own;
            }
        };
        if !own {
            self.error(
                Diagnostic::error(
                    Code::SharedTenantChanged,
                    format!("`{}` is a shared tenant and keeps its own role", tenant.value),
                )
                .at(written.place.clone(), "would change it for every other scenario")
                .at(tenant.place.clone(), "shared")
                .help("add `own: true`: the tenant is then made for this case alone"),
            );
        }
        annotation
    }

    /// Only the trust of roles of Pod Identity names a cluster by its name: that of IRSA names it by its issuer.
    fn trusts_other_cluster(&mut self, tenant: &At<String>, raw: &RawTenant, own: bool) -> bool {
        let Some(written) = raw
            .trusts
            .as_ref()
            .filter(|written| written.value == RawTrusted::Other)
        else {
            return false;
        };
        if self.raw.identity != Some(RawIdentity::PodIdentity) {
            self.error(
                Diagnostic::error(Code::Contradiction, "another cluster is one of Pod Identity's")
                    .at(written.place.clone(), "needs `identity: pod-identity`")
                    .help("add `identity: pod-identity` to the scenario"),
            );
        }
        if !own {
            self.error(
                Diagnostic::error(
                    Code::SharedTenantChanged,
                    format!(
                        "`{}` is a shared tenant and its role trusts its own cluster",
                        tenant.value
                    ),
                )
                .at(written.place.clone(), "would change it for every other scenario")
                .at(tenant.place.clone(), "shared")
                .help("add `own: true`: the tenant is then made for this case alone"),
            );
        }
        true
    }

    fn secrets(&mut self, tenant: &At<String>, secrets: &Ordered<At<RawContent>>) -> Vec<SecretSpec> {
        let mut specs = Vec::new();
        if let Some((secret, _)) = secrets.entries.get(MAX_SECRETS) {
            self.error(
                Diagnostic::error(
                    Code::TooMany,
                    format!(
                        "`{}` has {} secrets, and at most {MAX_SECRETS}",
                        tenant.value,
                        secrets.entries.len()
                    ),
                )
                .at(secret.place.clone(), "the first one too many"),
            );
        }
        for (secret, content) in secrets.entries.iter().take(MAX_SECRETS) {
            self.secret_name(tenant, secret);
            let content = self.content(secret, content);
            specs.push(SecretSpec {
                name: secret.value.clone(),
                content,
            });
        }
        specs
    }

    fn secret_name(&mut self, tenant: &At<String>, secret: &At<String>) {
        let text = secret.value.as_str();
        if text == STANDING_SECRET {
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    format!(
                        "`{}` has a secret `{STANDING_SECRET}` already, as every tenant has",
                        tenant.value
                    ),
                )
                .at(secret.place.clone(), "choose another name"),
            );
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if text.is_empty() || text.len() > MAX_SECRET_NAME || !text.bytes().all(fits) {
            self.error(
                Diagnostic::error(Code::InvalidName, format!("`{text}` cannot be the name of a secret"))
                    .at(secret.place.clone(), "")
                    .help(format!(
                        "Secrets Manager takes letters, digits and /_+=.@-; here {MAX_SECRET_NAME} characters at most"
                    )),
            );
        }
    }

    fn content(&mut self, secret: &At<String>, content: &At<RawContent>) -> Content {
        match &content.value {
            RawContent::Text(bytes) => Content::Text(self.bytes(bytes)),
            RawContent::Binary(bytes) => Content::Binary(self.bytes(bytes)),
            RawContent::Json(keys) => {
                if keys.is_empty() || keys.len() > MAX_JSON_KEYS {
                    self.error(
                        Diagnostic::error(
                            Code::OutOfRange,
                            format!("`{}` has {} keys", secret.value, keys.len()),
                        )
                        .at(secret.place.clone(), format!("expected 1 to {MAX_JSON_KEYS}")),
                    );
                }
                for (index, key) in keys.iter().take(MAX_JSON_KEYS).enumerate() {
                    if let Some(first) = keys[..index].iter().find(|first| first.value == key.value) {
                        self.error(
                            Diagnostic::error(Code::DuplicateKey, format!("`{}` is listed twice", key.value))
                                .at(key.place.clone(), "again here")
                                .at(first.place.clone(), "first here"),
                        );
                    }
                }
                Content::Json(keys.iter().map(|key| key.value.clone()).collect())
            }
        }
    }

    fn bytes(&mut self, written: &At<u32>) -> usize {
        self.within_range("a secret's size", written, 1, MAX_SECRET_BYTES) as usize
    }

    /// The secret that `tenant/name` stands for.
    pub(super) fn secret(&mut self, written: &At<String>) -> Option<SecretRef> {
        let text = self.text(written)?;
        let Some((tenant, secret)) = text.split_once('/') else {
            let spelled = self
                .tenants
                .iter()
                .find(|tenant| tenant.secret_names().any(|name| name == text))
                .map(|tenant| format!("{}/{text}", tenant.name));
            self.error(
                Diagnostic::error(Code::UnknownSecret, format!("`{text}` names no tenant"))
                    .at(written.place.clone(), "expected `tenant/secret`")
                    .did_you_mean(spelled.as_deref()),
            );
            return None;
        };
        let index = self.tenant_named(tenant, &written.place)?;
        let spec = &self.tenants[index];
        if spec.secret_names().any(|name| name == secret) {
            self.used.secrets.insert((index, secret.to_owned()));
            return Some(SecretRef {
                tenant: index,
                secret: secret.to_owned(),
            });
        }
        let diagnostic = spec.unknown_secret(&text, &written.place);
        self.error(diagnostic);
        None
    }
}

impl TenantSpec {
    /// The secrets that it has.
    pub(super) fn secret_names(&self) -> impl Iterator<Item = &str> {
        let declared = self.secrets.iter().map(|secret| secret.name.as_str());
        [STANDING_SECRET].into_iter().chain(declared)
    }

    /// That it has no secret `written`, which may stand there with the tenant's name before it.
    pub(super) fn unknown_secret(&self, written: &str, place: &Place) -> Diagnostic {
        let (before, secret) = match written.split_once('/') {
            Some((_, secret)) => (format!("{}/", self.name), secret),
            None => (String::new(), written),
        };
        let names: Vec<&str> = self.secret_names().collect();
        let meant = nearest(secret, names.iter().copied()).map(|meant| format!("{before}{meant}"));
        Diagnostic::error(Code::UnknownSecret, format!("unknown secret `{written}`"))
            .at(
                place.clone(),
                format!("tenant `{}` has: {}", self.name, names.join(", ")),
            )
            .did_you_mean(meant.as_deref())
    }
}
