//! What stands between a tenant and a secret of its own: the secret's resource policy, and the
//! permissions boundary of the tenant's role. And what may lead round them: the secret's replica.

use super::{
    super::{
        at::At,
        capability,
        code::Code,
        diagnostic::Diagnostic,
        model::{Denied, RoleAnnotation, SecretRef},
        raw::RawTenant,
    },
    Resolver,
    tenants::STANDING_SECRET,
};

impl Resolver<'_> {
    /// Fills in policies and boundaries, once every tenant that they may speak of is known.
    pub(super) fn policies(&mut self) {
        let Some(tenants) = &self.raw.tenants else { return };
        for (index, (tenant, raw)) in tenants.entries.iter().take(self.tenants.len()).enumerate() {
            let Some(raw) = raw else { continue };
            self.resource_policies(index, tenant, raw);
            self.boundary(index, tenant, raw);
            self.replicated(index, tenant, raw);
        }
    }

    fn resource_policies(&mut self, index: usize, tenant: &At<String>, raw: &RawTenant) {
        for (secret, policy) in raw
            .resource_policies
            .iter()
            .flat_map(|policies| &policies.entries)
        {
            if !self.has_secret(index, secret) {
                continue;
            }
            if !self.may_change(
                index,
                tenant,
                secret,
                ["has no policy", "give that one the policy"],
            ) {
                continue;
            }
            if policy.deny.value.is_empty() {
                self.error(
                    Diagnostic::error(Code::OutOfRange, "the policy denies nobody")
                        .at(policy.deny.place.clone(), "expected a tenant"),
                );
            }
            let mut denied = Vec::new();
            for name in &policy.deny.value {
                if let Some(tenant) = self.tenant(name)
                    && self.is_new(&tenant, &denied, name)
                {
                    denied.push(tenant);
                }
            }
            let denied = Denied {
                tenants: denied,
                primary_region_only: policy.primary_region_only.is_some(),
            };
            self.tenants[index]
                .denied_by_secret
                .insert(secret.value.clone(), denied);
        }
    }

    fn replicated(&mut self, index: usize, tenant: &At<String>, raw: &RawTenant) {
        let Some(replicated) = &raw.replicated else { return };
        self.needs(
            capability::FAILOVER_REGION,
            &replicated.place,
            "AWS has to have a second region",
        );
        let mut there = Vec::new();
        for secret in &replicated.value {
            if !self.has_secret(index, secret) || !self.is_new(&secret.value, &there, secret) {
                continue;
            }
            if !self.may_change(index, tenant, secret, ["is in one region", "replicate that one"]) {
                continue;
            }
            there.push(secret.value.clone());
        }
        self.tenants[index].replicated = there.into_iter().collect();
    }

    fn boundary(&mut self, index: usize, tenant: &At<String>, raw: &RawTenant) {
        let Some(boundary) = &raw.boundary else { return };
        if !self.tenants[index].own {
            self.error(
                Diagnostic::error(
                    Code::SharedTenantChanged,
                    format!(
                        "`{}` is a shared tenant, and its role has no boundary",
                        tenant.value
                    ),
                )
                .at(boundary.place.clone(), "would change it for every other scenario")
                .at(tenant.place.clone(), "shared")
                .help("add `own: true`: the tenant is then made for this case alone"),
            );
        }
        if boundary.value.is_empty() {
            self.error(
                Diagnostic::error(Code::OutOfRange, "the boundary lets nothing through")
                    .at(boundary.place.clone(), "expected a secret of the tenant's")
                    .help("the control of a denial mounts what the boundary does let through"),
            );
        }
        let mut within = Vec::new();
        for secret in &boundary.value {
            if self.has_secret(index, secret) && self.is_new(&secret.value, &within, secret) {
                within.push(secret.value.clone());
            }
        }
        self.tenants[index].boundary = Some(within);
    }

    /// Reports a change to the secret that every tenant has, where other scenarios share the tenant. `words` say how that
    /// secret is, and what to do with one of the scenario's own.
    fn may_change(
        &mut self,
        index: usize,
        tenant: &At<String>,
        secret: &At<String>,
        [how, instead]: [&str; 2],
    ) -> bool {
        let shared = secret.value == STANDING_SECRET && !self.tenants[index].own;
        if shared {
            self.error(
                Diagnostic::error(
                    Code::SharedTenantChanged,
                    format!(
                        "`{}` is a shared tenant, and its `{STANDING_SECRET}` {how}",
                        tenant.value
                    ),
                )
                .at(secret.place.clone(), "would change it for every other scenario")
                .at(tenant.place.clone(), "shared")
                .help(format!(
                    "declare a secret for this scenario under `secrets`, and {instead}"
                )),
            );
        }
        !shared
    }

    /// Reports a secret that the tenant does not have.
    fn has_secret(&mut self, index: usize, secret: &At<String>) -> bool {
        let tenant = &self.tenants[index];
        let known = tenant.secret_names().any(|name| name == secret.value);
        if !known {
            let diagnostic = tenant.unknown_secret(&secret.value, &secret.place);
            self.error(diagnostic);
        }
        known
    }

    fn is_new<T: PartialEq>(&mut self, entry: &T, before: &[T], written: &At<String>) -> bool {
        let new = !before.contains(entry);
        if !new {
            self.error(
                Diagnostic::error(Code::DuplicateKey, format!("`{}` is listed twice", written.value))
                    .at(written.place.clone(), "again here"),
            );
        }
        new
    }

    /// The policy, beside identity policies, that keeps a tenant's role from the tenant's own secret.
    pub(super) fn policy_against(&self, tenant: usize, secret: &SecretRef) -> Option<String> {
        let reader = &self.tenants[tenant];
        if reader.annotation != RoleAnnotation::Own {
            return None;
        }
        let owner = &self.tenants[secret.tenant];
        if owner
            .denied_by_secret
            .get(&secret.secret)
            .is_some_and(|denied| denied.tenants.contains(&tenant))
        {
            return Some(format!("the secret's own policy denies `{}`", reader.name));
        }
        let left_out = reader
            .boundary
            .as_ref()
            .is_some_and(|within| secret.tenant != tenant || !within.contains(&secret.secret));
        left_out.then(|| format!("the boundary of `{}` leaves it out", reader.name))
    }
}
