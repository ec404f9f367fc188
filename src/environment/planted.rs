//! Plants, as the parts take them.

use mountproof_aws_endpoint::Defects;
use mountproof_stand_ins::defects::{AgentDefects, DriverDefects, ProviderDefects};

use super::{AgentDefect, Defect, DriverDefect, EndpointDefect, Plant, ProviderDefect};

pub(super) fn endpoint_defects(plants: &[Plant]) -> Defects {
    let mut defects = Defects::default();
    for plant in plants {
        if let Defect::Endpoint(defect) = plant.defect() {
            *match defect {
                EndpointDefect::SkipTokenSignature => &mut defects.skip_token_signature,
                EndpointDefect::IgnoreAudience => &mut defects.ignore_audience,
                EndpointDefect::IgnoreTrustPolicy => &mut defects.ignore_trust_policy,
                EndpointDefect::IgnoreResource => &mut defects.ignore_resource,
                EndpointDefect::PrefixMatch => &mut defects.prefix_match,
                EndpointDefect::SkipRequestSignature => &mut defects.skip_request_signature,
                EndpointDefect::StaleAfterPut => &mut defects.stale_after_put,
                EndpointDefect::OtherTenantsSecret => &mut defects.other_tenants_secret,
                EndpointDefect::IgnoreResourcePolicy => &mut defects.ignore_resource_policy,
                EndpointDefect::IgnoreBoundary => &mut defects.ignore_boundary,
                EndpointDefect::AcceptExpiredToken => &mut defects.accept_expired_token,
                EndpointDefect::AcceptAnyRegion => &mut defects.accept_any_region,
                EndpointDefect::AnyAssociationCounts => &mut defects.any_association_counts,
                EndpointDefect::IgnoreSourceCluster => &mut defects.ignore_source_cluster,
                EndpointDefect::IgnoreRequestTags => &mut defects.ignore_request_tags,
            } = true;
        }
    }
    defects
}

pub(super) fn driver_defects(plants: &[Plant]) -> DriverDefects {
    let mut defects = DriverDefects::default();
    for plant in plants {
        if let Defect::Driver(defect) = plant.defect() {
            *match defect {
                DriverDefect::EmptyMount => &mut defects.empty_mount,
                DriverDefect::FileLeftAfterUnmount => &mut defects.file_left_after_unmount,
                DriverDefect::NoPodStatus => &mut defects.no_pod_status,
                DriverDefect::NeverAnswers => &mut defects.never_answers,
                DriverDefect::RewritesSyncedSecret => &mut defects.rewrites_synced_secret,
                DriverDefect::RewritesSyncedAtEveryPublish => &mut defects.rewrites_synced_at_every_publish,
                DriverDefect::UnlimitedRotation => &mut defects.unlimited_rotation,
                DriverDefect::TokensInLog => &mut defects.tokens_in_log,
                DriverDefect::StaleSyncedSecret => &mut defects.stale_synced_secret,
                DriverDefect::FreshFolderIsDone => &mut defects.fresh_folder_is_done,
                DriverDefect::MountedFolderIsDone => &mut defects.mounted_folder_is_done,
                DriverDefect::ProviderSocketIsKept => &mut defects.provider_socket_is_kept,
            } = true;
        }
    }
    defects
}

pub(super) fn provider_defects(plants: &[Plant]) -> ProviderDefects {
    let mut defects = ProviderDefects::default();
    for plant in plants {
        if let Defect::Provider(defect) = plant.defect() {
            *match defect {
                ProviderDefect::WrongMode => &mut defects.wrong_mode,
                ProviderDefect::StaleAfterRotation => &mut defects.stale_after_rotation,
                ProviderDefect::OtherTenantsSecret => &mut defects.other_tenants_secret,
                ProviderDefect::IgnoresDenial => &mut defects.ignores_denial,
                ProviderDefect::IgnoresVersion => &mut defects.ignores_version,
                ProviderDefect::IgnoresPermission => &mut defects.ignores_permission,
                ProviderDefect::RefusesSecretTwice => &mut defects.refuses_secret_twice,
                ProviderDefect::FailoverAfterDenial => &mut defects.failover_after_denial,
                ProviderDefect::FetchesTwice => &mut defects.fetches_twice,
            } = true;
        }
    }
    defects
}

pub(super) fn agent_defects(plants: &[Plant]) -> AgentDefects {
    let mut defects = AgentDefects::default();
    for plant in plants {
        if let Defect::Agent(defect) = plant.defect() {
            *match defect {
                AgentDefect::OtherPodsCredentials => &mut defects.other_pods_credentials,
            } = true;
        }
    }
    defects
}

/// How often a part's defects may show, as [`Shared::set_for`](mountproof_stand_ins::defects::Shared::set_for)
/// takes it: once when any of them is to show once.
pub(super) fn times(plants: &[Plant], of_part: impl Fn(Defect) -> bool) -> u32 {
    let once = plants.iter().any(|plant| plant.once() && of_part(plant.defect()));
    if once { 1 } else { u32::MAX }
}
