//! The inner process: enters, does one thing, and says on standard output what it saw.

#![expect(clippy::print_stdout, reason = "the test reads it")]

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs, io,
    net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use mountproof_confinement::{POD_IDENTITY_AGENT, SERVICE_ACCOUNT, Signal, Signals, View, enter};
use rustix::{
    mount::{MountFlags, mount},
    process::{Pid, Signal as Kill, getpid, kill_process},
};

use crate::machine::{DEADLINE, processes};

pub(crate) async fn play(role: &str, arguments: &[&str]) -> ExitCode {
    if role == "without-ipv6" {
        fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    }
    let entered = enter(&View {
        hosts: vec!["127.0.0.1 localhost secretsmanager.eu-central-1.amazonaws.com".to_owned()],
        files: vec![
            (
                PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
                b"ours".to_vec(),
            ),
            (Path::new(SERVICE_ACCOUNT).join("token"), b"a token".to_vec()),
        ],
        keep: if role == "kept" {
            vec!["/run/reports".into(), "/run/file".into()]
        } else {
            Vec::new()
        },
        ..View::default()
    })
    .unwrap();
    for note in &entered.notes {
        say("note", note);
    }
    match (role, arguments) {
        ("network" | "without-ipv6", [port]) => network(port.parse().unwrap()),
        ("files", [token]) => files(token),
        ("kept", []) => kept(),
        ("exit", [code]) => return ExitCode::from(code.parse::<u8>().unwrap()),
        ("die", []) => kill_process(getpid(), Kill::KILL).unwrap(),
        ("orphan", []) => orphan(),
        ("stay", [token, diary]) => return stay(token, diary, false).await,
        ("stay-deaf", [token, diary]) => return stay(token, diary, true).await,
        _ => panic!("no role {role} {arguments:?}"),
    }
    ExitCode::SUCCESS
}

fn say(what: &str, value: impl Display) {
    println!("{what}={value}");
}

fn network(port_of_host: u16) {
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    for device in devices
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
    {
        say("device", device);
    }
    say("host", kind(&TcpStream::connect(("127.0.0.1", port_of_host))));
    // TEST-NET-1 and its like of IPv6: where they are routed somebody may be reached, or nobody.
    say("ipv4", kind(&TcpStream::connect("192.0.2.1:443")));
    say("ipv6", kind(&TcpStream::connect("[2001:db8::1]:443")));
    let local = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    for address in local
        .into_iter()
        .chain(POD_IDENTITY_AGENT.map(|(address, _)| address))
    {
        say(&address.to_string(), kind(&there_and_back(address)));
    }
    let named = ("secretsmanager.eu-central-1.amazonaws.com", 443).to_socket_addrs();
    say("named", named.unwrap().next().unwrap());
}

fn there_and_back(address: IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((address, 0))?;
    TcpStream::connect(listener.local_addr()?)?;
    listener.accept()?;
    Ok(())
}

fn kind<T>(result: &io::Result<T>) -> String {
    result
        .as_ref()
        .map_or_else(|error| format!("{:?}", error.kind()), |_| "reached".to_owned())
}

fn files(token: &str) {
    entries_of_run();
    for folder in machine_folders() {
        fs::write(folder.join(token), "made inside").unwrap();
        say("made", folder.join(token).display());
    }
    fs::create_dir(format!("/run/mountproof-{token}")).unwrap();
    for file in [
        "/etc/hosts",
        "/etc/ssl/certs/ca-certificates.crt",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
    ] {
        say(file, fs::read_to_string(file).unwrap().trim());
    }
    // Who else is in the certificates' folder, and beside it, is still there.
    say("passwd", fs::read("/etc/passwd").unwrap().len());
    for folder in ["/etc", "/etc/ssl", "/etc/ssl/certs"] {
        say(
            &format!("entries of {folder}"),
            fs::read_dir(folder).map_or(0, Iterator::count),
        );
    }
}

fn entries_of_run() {
    let entries = fs::read_dir("/run")
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<String> = entries.map(|name| name.into_string().unwrap()).collect();
    say("entries of /run", names.into_iter().collect::<Vec<_>>().join(" "));
}

fn kept() {
    say("file", fs::read_to_string("/run/file").unwrap().trim());
    fs::write("/run/reports/report", "made inside\n").unwrap();
    entries_of_run();
}

/// Where a driver, a provider or the harness writes.
pub(crate) fn machine_folders() -> [PathBuf; 5] {
    [
        "/run",
        "/etc",
        "/etc/kubernetes/secrets-store-csi-providers",
        "/var/run/secrets-store-csi-providers",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    ]
    .map(PathBuf::from)
}

/// A process whose parent leaves before it, and that ends when it is told to.
fn orphan() {
    let orphan = "until [ -e /run/go ]; do sleep 0.01; done";
    let parent = Command::new("sh")
        .args(["-c", &format!("sh -c '{orphan}' & exit 0")])
        .stdin(Stdio::null())
        .status();
    assert!(parent.unwrap().success());
    let of_init = || {
        let all = processes()
            .into_iter()
            .filter(|process| process.parent == Some(Pid::INIT));
        all.filter(|process| process.pid != getpid()).count()
    };
    say("orphans of init", of_init());
    fs::write("/run/go", "").unwrap();
    let end = Instant::now() + DEADLINE;
    while of_init() > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    say("left", of_init());
}

/// Makes a mount, starts somebody who does not listen to signals, and ends at the first signal; each has its exit code.
async fn stay(token: &str, diary: &str, deaf: bool) -> ExitCode {
    let mut signals = Signals::listen().unwrap();
    let mount_point = format!("/run/{token}");
    fs::create_dir(&mount_point).unwrap();
    mount(token, &mount_point, c"tmpfs", MountFlags::empty(), None).unwrap();
    let stubborn = "trap '' TERM INT HUP; while :; do sleep 1; done";
    Command::new("sh")
        .args(["-c", &format!("sh -c \"{stubborn}\" &")])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    say("ready", token);
    let signal = signals.next().await;
    fs::write(diary, format!("{signal:?}")).unwrap();
    say("signal", format!("{signal:?}"));
    if deaf {
        // Stands for one that hangs in its teardown.
        std::future::pending::<()>().await;
    }
    ExitCode::from(match signal {
        Some(Signal::Interrupt) => 41,
        Some(Signal::Terminate) => 42,
        Some(Signal::Hangup) => 43,
        Some(Signal::OuterGone) | None => 44,
    })
}
