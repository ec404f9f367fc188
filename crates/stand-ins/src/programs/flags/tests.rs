//! `recorded/` holds what the programs named there print on `--help`, as it was seen. What older ones print is composed of
//! the flags that their tags have.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const DRIVER_1_6_0: &str = include_str!("recorded/driver-1.6.0.txt");
const PROVIDER_3_1_1: &str = include_str!("recorded/provider-3.1.1.txt");

/// Provider 0.3.0 to 0.3.7: no `--qps`.
const PROVIDER_0_3: &str = "\
I1126 04:38:40.104297   28635 main.go:34] Starting secrets-store-csi-driver-provider-aws version 0.3.0
Usage of /bin/secrets-store-csi-driver-provider-aws:
  -driver-writes-secrets
    \tThe driver will do the write instead of the plugin
  -provider-volume string
    \tRendezvous directory for provider socket (default \"/etc/kubernetes/secrets-store-csi-providers\")
";

/// Driver 1.0.0: no `--additional-provider-volume-paths`, no `--version`.
const DRIVER_1_0: &str = "\
Usage of /secrets-store-csi:
  -drivername string
    \tname of the driver (default \"secrets-store.csi.k8s.io\")
  -enable-secret-rotation
    \tEnable secret rotation feature [alpha]
  -endpoint string
    \tCSI endpoint (default \"unix://tmp/csi.sock\")
  -kubeconfig string
    \tPaths to a kubeconfig. Only required if out-of-cluster.
  -metrics-addr string
    \tThe address the metric endpoint binds to (default \":8095\")
  -nodeid string
    \tnode id
  -provider-volume string
    \tVolume path for provider (default \"/etc/kubernetes/secrets-store-csi-providers\")
  -rotation-poll-interval duration
    \tSecret rotation poll interval duration (default 2m0s)
  -v value
    \tnumber for the log level verbosity
";

/// A made-up one on pflag.
const PFLAG: &str = "\
Serves secrets - all of them --really.

Usage:
  provider [flags]

Flags:
      --burst int                Maximum burst for throttle. (default 10)
      --driver-writes-secrets    The driver will do the write
  -p, --provider-volume string   Rendezvous directory
      --qps int                  Maximum query per second, see --burst
      --level string[=\"info\"]    How much to say
";

#[test]
fn flags_are_read_from_every_layout() {
    let cases: [(&str, &str, &[&str], &[&str]); 6] = [
        (
            "driver 1.6.0",
            DRIVER_1_6_0,
            &[
                "endpoint",
                "nodeid",
                "v",
                "version",
                "kubeconfig",
                "log_backtrace_at",
                "additional-provider-volume-paths",
                "rotation-poll-interval",
            ],
            &["qps", "logtostderr=true", "alsologtostderr=true", "driver"],
        ),
        (
            "provider 3.1.1",
            PROVIDER_3_1_1,
            &[
                "burst",
                "qps",
                "driver-writes-secrets",
                "eks-addon-version",
                "pod-identity-http-timeout",
                "provider-volume",
            ],
            &["v", "version", "help", "side"],
        ),
        (
            "provider 0.3",
            PROVIDER_0_3,
            &["driver-writes-secrets", "provider-volume"],
            &["qps", "burst", "pod-identity-http-timeout"],
        ),
        (
            "driver 1.0",
            DRIVER_1_0,
            &["endpoint", "v"],
            &["version", "additional-provider-volume-paths"],
        ),
        (
            "pflag",
            PFLAG,
            &[
                "burst",
                "qps",
                "driver-writes-secrets",
                "provider-volume",
                "level",
            ],
            &["p", "really"],
        ),
        (
            "prose and lists",
            "- one\n  - two\n  --- three\n  -- four\n  -five: six\n--seven\n",
            &[],
            &["one", "two", "three", "four", "five", "seven", ""],
        ),
    ];
    for (program, help, known, unknown) in cases {
        let flags = KnownFlags::read(help);
        for name in known {
            assert!(flags.knows(name), "{program}: {name}");
        }
        for name in unknown {
            assert!(!flags.knows(name), "{program}: {name}");
        }
    }
    let count = |help| KnownFlags::read(help).0.map_or(0, |names| names.len());
    assert_eq!([count(DRIVER_1_6_0), count(PROVIDER_3_1_1)], [30, 6]);
}

#[test]
fn what_a_version_lacks_is_left_out_and_said_unless_nothing_is_lost() {
    let wanted = [
        Wanted::essential("provider-volume", "/p"),
        Wanted::defaulted("driver-writes-secrets", "true", "false", "it writes"),
        Wanted::defaulted("qps", "500", "5", "5 hold"),
        Wanted::defaulted("burst", "10", "10", "10 hold"),
        Wanted::optional("v", "5", "it says less"),
    ];
    let cases: [(&str, &str, &[&str], &[&str]); 3] = [
        (
            "provider 3.1.1",
            PROVIDER_3_1_1,
            &[
                "--provider-volume=/p",
                "--driver-writes-secrets=true",
                "--qps=500",
                "--burst=10",
            ],
            &["this version has no -v=5: it says less"],
        ),
        (
            "provider 0.3",
            PROVIDER_0_3,
            &["--provider-volume=/p", "--driver-writes-secrets=true"],
            &[
                "this version has no --qps=500: 5 hold",
                "this version has no -v=5: it says less",
            ],
        ),
        (
            "one that says nothing",
            "",
            &[
                "--provider-volume=/p",
                "--driver-writes-secrets=true",
                "--qps=500",
                "--burst=10",
                "-v=5",
            ],
            &[],
        ),
    ];
    for (program, help, arguments, left_out) in cases {
        let chosen = choose(&KnownFlags::read(help), &wanted).unwrap();
        assert_eq!(chosen.arguments, arguments, "{program}");
        let said: Vec<String> = chosen.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(said, left_out, "{program}");
    }
}

#[test]
fn a_program_that_lacks_what_it_cannot_do_without_is_another_program() {
    let known = KnownFlags::read("Usage of ls:\n  -l\tlong\n  -a\tall\n");
    assert_eq!(
        choose(&known, &[Wanted::essential("endpoint", "unix://x")]),
        Err("endpoint")
    );
}

proptest! {
    #[test]
    fn every_flag_that_go_prints_is_known_whatever_stands_around_it(
        names in proptest::collection::btree_set("[a-z][a-z0-9_-]{0,20}", 1..20),
        noise in "[^\n]{0,40}",
        kind in "(| string| int| value| duration)",
    ) {
        let mut help = format!("{noise}\nUsage of x:\n");
        for name in &names {
            let _ = writeln!(help, "  -{name}{kind}\n    \t{noise}");
        }
        let known = KnownFlags::read(&help);
        prop_assert!(names.iter().all(|name| known.knows(name)));
    }
}
