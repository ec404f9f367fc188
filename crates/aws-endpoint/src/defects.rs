//! What can be broken on purpose, to test the tester. What tests who copes with trouble is in
//! [`crate::faults`].

use crate::iam::Rules;

/// Defects of the endpoint itself, all off by default. Each must turn a scenario red.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Defects {
    /// The signature of a web-identity token is not checked.
    pub skip_token_signature: bool,
    /// A token for any audience is accepted.
    pub ignore_audience: bool,
    /// Every role is handed out to every token of a known issuer.
    pub ignore_trust_policy: bool,
    /// Every `Resource` element matches.
    pub ignore_resource: bool,
    /// `Resource` patterns are cut one level too early and used as a prefix.
    pub prefix_match: bool,
    /// The signature of a request is not checked.
    pub skip_request_signature: bool,
    /// `GetSecretValue` answers with the value before the last update.
    pub stale_after_put: bool,
    /// `GetSecretValue` answers with the value of another tenant's secret.
    pub other_tenants_secret: bool,
    /// Policies on secrets count for nothing.
    pub ignore_resource_policy: bool,
    /// Permission boundaries limit nothing.
    pub ignore_boundary: bool,
    /// A web-identity token is accepted however long ago it expired.
    pub accept_expired_token: bool,
    /// A request is accepted that was signed for another region than that of the host it is sent to.
    pub accept_any_region: bool,
    /// A pod gets the role of the association of any namespace's `ServiceAccount` of its name.
    pub any_association_counts: bool,
    /// Pod Identity hands out a role whatever its trust policy asks of the cluster (`aws:SourceArn`).
    pub ignore_source_cluster: bool,
    /// Pod Identity hands out a role whatever its trust policy asks of the session's tags (`aws:RequestTag/..`).
    pub ignore_request_tags: bool,
}

impl Defects {
    /// How policies are evaluated: by the rules, but for planted defects.
    pub(crate) fn rules(self) -> Rules {
        Rules {
            ignore_resource: self.ignore_resource,
            prefix_match: self.prefix_match,
            ignore_resource_policy: self.ignore_resource_policy,
            ignore_boundary: self.ignore_boundary,
        }
    }
}
