//! The promises, one function each.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use tempfile::TempDir;

use crate::{
    NOT_CONFINED,
    inside::machine_folders,
    machine::{NEST, Namespace, Outer, User, binary, child_of, mounts_of, shared_folder, until},
};

/// A promise by its name, tried as a user.
type Confined = (&'static str, fn(User));
/// A promise by its name.
type Nested = (&'static str, fn());

pub(crate) const CONFINED: &[Confined] = &[
    ("loopback_is_the_only_network", loopback_is_the_only_network),
    ("without_ipv6_a_note_says_so", without_ipv6_a_note_says_so),
    ("files_are_made_inside_only", files_are_made_inside_only),
    ("exit_codes_are_handed_through", exit_codes_are_handed_through),
    ("signals_reach_the_inner_process", signals_reach_the_inner_process),
    (
        "a_killed_outer_process_leaves_nothing",
        a_killed_outer_process_leaves_nothing,
    ),
    (
        "an_inner_process_that_hangs_is_cut_off",
        an_inner_process_that_hangs_is_cut_off,
    ),
    (
        "whoever_is_killed_inside_leaves_nothing",
        whoever_is_killed_inside_leaves_nothing,
    ),
    ("orphans_are_collected", orphans_are_collected),
];

/// In a user namespace of the test's, where the machine can be made another.
pub(crate) const NESTED: &[Nested] = &[
    ("outside_nothing_is_entered", outside_nothing_is_entered),
    (
        "of_the_hosts_run_only_what_is_kept_is_seen",
        of_the_hosts_run_only_what_is_kept_is_seen,
    ),
    (
        "without_unshare_its_package_is_named",
        without_unshare_its_package_is_named,
    ),
    (
        "where_user_namespaces_are_forbidden_root_goes_without",
        where_user_namespaces_are_forbidden_root_goes_without,
    ),
    (
        "where_user_namespaces_are_forbidden_users_are_told_the_setting",
        where_user_namespaces_are_forbidden_users_are_told_the_setting,
    ),
];

/// A word that no other process or mount has.
fn token() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "confined-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

fn loopback_is_the_only_network(user: User) {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let (status, lines, errors) = Outer::start(user, &["network", &port]).end();
    assert!(status.success(), "{errors}");
    assert_eq!(
        lines,
        [
            "device=lo",
            "host=ConnectionRefused",
            "ipv4=NetworkUnreachable",
            "ipv6=NetworkUnreachable",
            "127.0.0.1=reached",
            "::1=reached",
            "169.254.170.23=reached",
            "fd00:ec2::23=reached",
            "named=127.0.0.1:443",
        ]
    );
}

fn without_ipv6_a_note_says_so(user: User) {
    let (status, lines, errors) = Outer::start(user, &["without-ipv6", "1"]).end();
    assert!(status.success(), "{errors}");
    let note = "note=IPv6 is off in this kernel: nothing can listen on fd00:ec2::23";
    assert!(lines.iter().any(|line| line == note), "{lines:?}");
    assert!(
        lines.iter().any(|line| line == "169.254.170.23=reached"),
        "{lines:?}"
    );
}

fn files_are_made_inside_only(user: User) {
    let token = token();
    let count = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
    let (etc, certificates) = (count("/etc"), count("/etc/ssl/certs"));
    let covered = || ["/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"].map(|file| fs::read(file).ok());
    let before = covered();
    let (status, lines, errors) = Outer::start(user, &["files", &token]).end();
    assert!(status.success(), "{errors}");
    for folder in machine_folders() {
        let file = folder.join(&token);
        assert!(lines.contains(&format!("made={}", file.display())), "{lines:?}");
        assert!(!file.exists(), "{} is on the host", file.display());
    }
    assert!(
        before == covered(),
        "the host's hosts or certificates are others now"
    );
    for expected in [
        "/etc/hosts=127.0.0.1 localhost secretsmanager.eu-central-1.amazonaws.com".to_owned(),
        "/etc/ssl/certs/ca-certificates.crt=ours".to_owned(),
        "/var/run/secrets/kubernetes.io/serviceaccount/token=a token".to_owned(),
        format!("passwd={}", fs::metadata("/etc/passwd").unwrap().len()),
        "entries of /run=secrets secrets-store-csi-providers".to_owned(),
    ] {
        assert!(lines.contains(&expected), "no {expected} in {lines:?}");
    }
    // Our own may or may not have been on the host: hosts, kubernetes, ssl and the file of this test.
    let seen = |folder: &str| {
        let start = format!("entries of {folder}=");
        lines
            .iter()
            .find_map(|line| line.strip_prefix(&start)?.parse::<usize>().ok())
            .unwrap()
    };
    assert!((etc + 1..=etc + 4).contains(&seen("/etc")), "{etc}, {lines:?}");
    assert!(
        (certificates..=certificates + 1).contains(&seen("/etc/ssl/certs")),
        "{certificates}, {lines:?}"
    );
}

fn exit_codes_are_handed_through(user: User) {
    for (inner, code, said) in [
        (&["exit", "0"][..], 0, ""),
        (&["exit", "7"][..], 7, ""),
        (&["die"][..], 137, "the inner process was killed by signal 9"),
    ] {
        let (status, _, errors) = Outer::start(user, inner).end();
        assert_eq!((status.code(), errors.trim()), (Some(code), said), "{inner:?}");
    }
}

/// To whom a signal goes.
type Send = fn(Pid, Signal) -> rustix::io::Result<()>;

fn signals_reach_the_inner_process(user: User) {
    let cases: [(Signal, Send, &str, i32); 4] = [
        (Signal::INT, kill_process, "Interrupt", 41),
        (Signal::TERM, kill_process, "Terminate", 42),
        (Signal::HUP, kill_process, "Hangup", 43),
        // As a terminal does for Ctrl-C: who is not in the outer process's group gets it from there only.
        (Signal::INT, kill_process_group, "Interrupt", 41),
    ];
    for (sent, send, name, code) in cases {
        let stay = Stay::start(user, "stay");
        send(stay.outer.pid(), sent).unwrap();
        let (status, lines, errors) = stay.outer.end();
        assert_eq!(
            (status.code(), lines),
            (Some(code), vec![format!("signal=Some({name})")]),
            "{errors}"
        );
        assert_nothing_left(&stay.token, &stay.namespace);
    }
}

fn a_killed_outer_process_leaves_nothing(user: User) {
    let stay = Stay::start(user, "stay");
    kill_process(stay.outer.pid(), Signal::KILL).unwrap();
    // The inner process ends in order: it has the time to write this.
    let diary = stay.folder.path().join("diary");
    until("the inner process is told", || {
        fs::read_to_string(&diary).is_ok_and(|said| said == "Some(OuterGone)")
    });
    assert_nothing_left(&stay.token, &stay.namespace);
    assert_eq!(stay.outer.end().0.signal(), Some(Signal::KILL.as_raw()));
}

fn an_inner_process_that_hangs_is_cut_off(user: User) {
    let stay = Stay::start(user, "stay-deaf");
    kill_process(stay.outer.pid(), Signal::KILL).unwrap();
    assert_nothing_left(&stay.token, &stay.namespace);
}

fn whoever_is_killed_inside_leaves_nothing(user: User) {
    for (who, generation, code, said) in [
        ("unshare", 1, NOT_CONFINED, "error: what ran inside was cut off"),
        ("init", 2, NOT_CONFINED, "error: what ran inside was cut off"),
        (
            "the inner process",
            3,
            137,
            "the inner process was killed by signal 9",
        ),
    ] {
        let stay = Stay::start(user, "stay");
        let victim = (0..generation).fold(stay.outer.pid(), |pid, _| child_of(pid));
        // The kernel's doing: the outer process cannot help.
        kill_process(stay.outer.pid(), Signal::STOP).unwrap();
        kill_process(victim, Signal::KILL).unwrap();
        assert_nothing_left(&stay.token, &stay.namespace);
        kill_process(stay.outer.pid(), Signal::CONT).unwrap();
        let (status, _, errors) = stay.outer.end();
        assert_eq!(status.code(), Some(i32::from(code)), "{who}: {errors}");
        assert!(errors.contains(said), "{who}: {errors}");
    }
}

fn orphans_are_collected(user: User) {
    let (status, lines, errors) = Outer::start(user, &["orphan"]).end();
    assert!(status.success(), "{errors}");
    assert_eq!(lines, ["orphans of init=1", "left=0"]);
}

/// A confinement in which something is mounted, and somebody does not listen to signals.
struct Stay {
    outer: Outer,
    token: String,
    namespace: Namespace,
    /// What the inner process writes on the host's file system.
    folder: TempDir,
}

impl Stay {
    fn start(user: User, role: &str) -> Self {
        let (token, folder) = (token(), shared_folder());
        let diary = folder.path().join("diary");
        let mut outer = Outer::start(user, &[role, &token, diary.to_str().unwrap()]);
        outer.wait_for(&format!("ready={token}"));
        let namespace = Namespace::made_by(child_of(outer.pid()));
        // unshare, init, the inner process, and who does not listen; the pause of that one comes and goes.
        assert!(namespace.members().len() >= 4, "{:?}", namespace.members());
        assert_eq!(mounts_of(&token), [""; 0], "seen from the host");
        Self {
            outer,
            token,
            namespace,
            folder,
        }
    }
}

fn assert_nothing_left(token: &str, namespace: &Namespace) {
    until("nobody is left inside", || namespace.members().is_empty());
    assert_eq!(mounts_of(token), [""; 0]);
}

fn outside_nothing_is_entered() {
    // In a lest a broken check covers the host's folders.
    for word in ["", "--inside-confinement "] {
        let script = format!(
            "{} {word}stray; code=$?; [ ! -e /run/secrets ] && exit $code",
            binary().display()
        );
        let output = nested(&script).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(if word.is_empty() { 0 } else { 101 }),
            "{output:?}"
        );
    }
}

fn of_the_hosts_run_only_what_is_kept_is_seen() {
    let host = "mount -t tmpfs host /run && mkdir /run/reports && echo shown > /run/file && echo hidden > /run/other";
    let script = format!(
        "{host} && {} outer kept && cat /run/reports/report && ls /run",
        binary().display()
    );
    let output = nested(&script).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "file=shown",
            "entries of /run=file reports secrets secrets-store-csi-providers",
            "made inside",
            "file",
            "other",
            "reports"
        ],
        "{output:?}"
    );
}

fn without_unshare_its_package_is_named() {
    let output = Command::new(binary())
        .args(["outer", "exit", "0"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(i32::from(NOT_CONFINED)));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "error: there is no `unshare` on the PATH: install the package util-linux\n"
    );
}

fn where_user_namespaces_are_forbidden_root_goes_without() {
    let output = nested(&format!(
        "{FORBID}; {0} probe && exec {0} outer files {1}",
        binary().display(),
        token()
    ))
    .output()
    .unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        output.status.success()
            && said.starts_with("AsRoot\n")
            && said.contains("/etc/ssl/certs/ca-certificates.crt=ours"),
        "{output:?}"
    );
}

fn where_user_namespaces_are_forbidden_users_are_told_the_setting() {
    let output = nested(&format!(
        "{FORBID}; exec setpriv --bounding-set -all --inh-caps -all {} outer exit 0",
        binary().display()
    ))
    .output()
    .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(i32::from(NOT_CONFINED)), "{said}");
    assert!(
        said.starts_with("error: the kernel refuses user namespaces here (unshare: ")
            && said.ends_with("user.max_user_namespaces is 0: change that, or run as root\n"),
        "{said}"
    );
}

const FORBID: &str = "echo 0 > /proc/sys/user/max_user_namespaces || exit 98";

/// A shell that is root in a user namespace of its own.
fn nested(script: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(NEST).args(["sh", "-c", script]);
    unshare
}
