//! Identity providers.

use super::*;

#[test]
fn providers() {
    let mut service = Service::new().with_provider();
    let arn = [("OpenIDConnectProviderArn", PROVIDER_ARN)];
    service.ok(
        "AddClientIDToOpenIDConnectProvider",
        &[arn[0], ("ClientID", "second")],
    );
    service.ok(
        "AddClientIDToOpenIDConnectProvider",
        &[arn[0], ("ClientID", "second")],
    );
    service.ok(
        "UpdateOpenIDConnectProviderThumbprint",
        &[arn[0], ("ThumbprintList.member.1", &"aB".repeat(20))],
    );
    let read = service.ok("GetOpenIDConnectProvider", &arn);
    assert_eq!(texts(&read, "Url"), ["127.0.0.1:4430/id/X"]);
    assert_eq!(
        texts(&read, "ClientIDList"),
        ["<member>sts.amazonaws.com</member><member>second</member>"]
    );
    assert_eq!(
        texts(&read, "ThumbprintList"),
        [format!("<member>{}</member>", "aB".repeat(20))]
    );
    assert_eq!(
        texts(&service.ok("ListOpenIDConnectProviders", &[]), "Arn"),
        [PROVIDER_ARN]
    );
    service.ok(
        "RemoveClientIDFromOpenIDConnectProvider",
        &[arn[0], ("ClientID", "second")],
    );
    let provider = service
        .0
        .provider_of_issuer("https://127.0.0.1:4430/id/X")
        .unwrap();
    assert_eq!(provider.client_ids, ["sts.amazonaws.com"]);
    for issuer in [
        "http://127.0.0.1:4430/id/X",
        "127.0.0.1:4430/id/X",
        "https://127.0.0.1:4430/id/",
        "https://127.0.0.1:4430/id/XY",
    ] {
        assert!(service.0.provider_of_issuer(issuer).is_none(), "{issuer}");
    }
    service.refused(
        "CreateOpenIDConnectProvider",
        &[("Url", "https://127.0.0.1:4430/id/X")],
        "EntityAlreadyExists",
        409,
        "Provider with url https://127.0.0.1:4430/id/X already exists.",
    );
    for url in [
        "http://x",
        "x",
        "https://",
        "https:///x",
        "https://:1/",
        "https://x?y",
        "https://u@x",
        "https://x y",
        "https://x#y",
    ] {
        service.refused(
            "CreateOpenIDConnectProvider",
            &[("Url", url)],
            "ValidationError",
            400,
            "Invalid Open ID Connect Provider URL",
        );
    }
    for thumbprint in ["ab", &"zz".repeat(20), &"ab".repeat(21)] {
        assert!(
            service
                .call(
                    "UpdateOpenIDConnectProviderThumbprint",
                    &[arn[0], ("ThumbprintList.member.1", thumbprint)]
                )
                .is_err()
        );
    }
    let six: Vec<(String, String)> = (1..=6)
        .map(|n| (format!("ThumbprintList.member.{n}"), "ab".repeat(20)))
        .collect();
    let mut params: Vec<(&str, &str)> = six
        .iter()
        .map(|(key, text)| (key.as_str(), text.as_str()))
        .collect();
    params.push(arn[0]);
    service.refused(
        "UpdateOpenIDConnectProviderThumbprint",
        &params,
        "InvalidInput",
        400,
        "Thumbprint list must contain fewer than 5 entries.",
    );
    // The second time nothing is there, which is as good.
    service.ok("DeleteOpenIDConnectProvider", &arn);
    service.ok("DeleteOpenIDConnectProvider", &arn);
    service.refused(
        "GetOpenIDConnectProvider",
        &arn,
        "NoSuchEntity",
        404,
        &format!("OpenIDConnect Provider not found for arn {PROVIDER_ARN}"),
    );
}

#[test]
fn a_hundred_client_ids_are_enough() {
    let mut service = Service::new();
    let ids: Vec<(String, String)> = (1..=101)
        .map(|n| (format!("ClientIDList.member.{n}"), format!("id-{n}")))
        .collect();
    let mut params: Vec<(&str, &str)> = ids.iter().map(|(key, id)| (key.as_str(), id.as_str())).collect();
    params.push(("Url", "https://issuer.example"));
    service.refused(
        "CreateOpenIDConnectProvider",
        &params,
        "LimitExceeded",
        409,
        "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100",
    );
    service.ok("CreateOpenIDConnectProvider", &params[1..]);
    let arn = (
        "OpenIDConnectProviderArn",
        "arn:aws:iam::000000000000:oidc-provider/issuer.example",
    );
    assert_eq!(
        service
            .call("AddClientIDToOpenIDConnectProvider", &[arn, ("ClientID", "more")])
            .unwrap_err()
            .kind,
        IamErrorKind::LimitExceeded
    );
}
