use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn each_way_of_naming_a_program_is_told_by_its_text_alone() {
    let program = |path: &str| Source::Program(path.into());
    let archive = |path: &str| Source::Archive(path.into());
    let cases = [
        ("/usr/bin/driver", program("/usr/bin/driver")),
        ("./driver", program("./driver")),
        ("../a b/driver:v1", program("../a b/driver:v1")),
        ("./driver.tar", archive("./driver.tar")),
        ("/tmp/driver.tar.gz", archive("/tmp/driver.tar.gz")),
        ("../driver.tgz", archive("../driver.tgz")),
        ("./layout/", archive("./layout/")),
    ];
    for (text, expected) in cases {
        assert_eq!(Source::parse(Part::Driver, text), Ok(expected), "{text}");
    }
    let images = [
        (
            "registry.k8s.io/csi-secrets-store/driver:v1.6.0",
            "registry.k8s.io",
            Some("v1.6.0"),
            None,
        ),
        ("localhost/driver:1", "localhost", Some("1"), None),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000", Some("1"), None),
    ];
    for (text, registry, tag, digest) in images {
        let Ok(Source::Image(image)) = Source::parse(Part::Driver, text) else {
            panic!("{text} is an image")
        };
        assert_eq!(
            (image.registry(), image.tag(), image.digest()),
            (registry, tag, digest),
            "{text}"
        );
    }
    let by_digest = format!("public.ecr.aws/x/y@{DIGEST}");
    let Ok(Source::Image(image)) = Source::parse(Part::Provider, &by_digest) else {
        panic!("an image")
    };
    assert_eq!(image.digest(), Some(DIGEST));
}

#[test]
fn a_text_that_may_mean_two_things_is_refused_with_both() {
    let cases = [
        ("", "names no driver"),
        ("  ", "names no driver"),
        ("driver", "say ./driver for the file"),
        ("target/driver:1", "begin the image with its registry"),
        ("driver.tar", "say ./driver.tar for the file"),
        ("1.6.0", "say --driver-version 1.6.0"),
        ("v1.6.0", "say --driver-version v1.6.0"),
        ("docker://registry.k8s.io/driver:v1", "has a scheme"),
        ("registry.k8s.io/driver", "neither tag nor digest"),
        ("registry.k8s.io/Driver:v1", "is not an image reference"),
        ("registry.k8s.io/driver:", "is not an image reference"),
        ("registry.k8s.io/a/../b:v1", "is not an image reference"),
        ("registry.k8s.io/driver@sha256:abc", "is not an image reference"),
    ];
    for (text, expected) in cases {
        let error = Source::parse(Part::Driver, text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_version_names_the_official_image_or_the_mirrors() {
    let official = Repositories::default();
    let mirror = Repositories {
        driver: Some("mirror.example/k8s/driver/".to_owned()),
        provider: Some("localhost:5000/ascp".to_owned()),
    };
    let cases = [
        (
            Part::Driver,
            "1.6.0",
            &official,
            "registry.k8s.io/csi-secrets-store/driver:v1.6.0",
        ),
        (
            Part::Driver,
            "v1.6.0",
            &official,
            "registry.k8s.io/csi-secrets-store/driver:v1.6.0",
        ),
        (
            Part::Provider,
            "r1",
            &official,
            "public.ecr.aws/aws-secrets-manager/secrets-store-csi-driver-provider-aws:r1",
        ),
        (Part::Driver, "1.5.6", &mirror, "mirror.example/k8s/driver:v1.5.6"),
        (Part::Provider, "3.1.1", &mirror, "localhost:5000/ascp:3.1.1"),
    ];
    for (part, version, repositories, expected) in cases {
        let source = Source::parse_version(part, version).expect(version);
        let image = source
            .image(part, repositories)
            .expect("a reference")
            .expect("an image");
        assert_eq!(image.to_string(), expected);
    }
    let broken = Repositories {
        driver: Some("not a repository".to_owned()),
        provider: None,
    };
    let source = Source::Version("1.6.0".to_owned());
    assert!(matches!(
        source.image(Part::Driver, &broken),
        Err(SourceError::NotAReference { .. })
    ));
}

#[test]
fn what_cannot_be_a_tag_is_not_a_version() {
    for text in [
        "",
        "v",
        "1.6.0:2",
        "../1",
        "1/2",
        "1 2",
        "@sha256:1",
        "-1",
        &"1".repeat(101),
    ] {
        let error = Source::parse_version(Part::Driver, text)
            .expect_err(text)
            .to_string();
        assert!(error.contains("give one such as 1.6.0"), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_one_of_four_or_refused_with_what_to_do(text in ".{0,60}") {
        for part in Part::ALL {
            if let Err(error) = Source::parse(part, &text) {
                prop_assert!(error.to_string().contains(": "), "{error}");
            }
        }
    }

    #[test]
    fn a_path_that_begins_as_one_is_never_asked_for_in_a_registry(start in "(/|\\./|\\.\\./)", rest in ".{0,40}") {
        let source = Source::parse(Part::Driver, &format!("{start}{rest}"));
        prop_assert!(matches!(source, Ok(Source::Program(_) | Source::Archive(_))));
    }

    #[test]
    fn an_image_reads_back_as_itself(
        registry in "([a-z]{1,8}\\.[a-z]{2,4}|localhost|127\\.0\\.0\\.1)(:[1-9][0-9]{1,3})?",
        name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}",
        tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
    ) {
        let text = format!("{registry}/{name}:{tag}");
        // A name of Docker Hub is completed, which is not this law's.
        prop_assume!(!text.starts_with("docker.io"));
        let source = Source::parse(Part::Provider, &text).expect("an image");
        prop_assert_eq!(source.to_string(), text);
    }

    #[test]
    fn a_version_never_leaves_its_repository(version in ".{1,30}") {
        if let Ok(source) = Source::parse_version(Part::Provider, &version) {
            let image = source.image(Part::Provider, &Repositories::default()).expect("a reference").expect("an image");
            let whole = format!("{}/{}", image.registry(), image.repository());
            prop_assert_eq!(whole, Part::Provider.official_repository());
        }
    }
}
