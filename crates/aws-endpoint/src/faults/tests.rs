#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use rand::{SeedableRng as _, rngs::StdRng};

use super::*;

const GET: Called<'_> = Called {
    service: "secretsmanager",
    operation: "GetSecretValue",
    region: "eu-west-1",
};

fn faults(text: &str) -> Faults {
    Faults::parse(text).unwrap()
}

fn dice() -> StdRng {
    StdRng::seed_from_u64(7)
}

/// What happens to many calls, with one throw after another.
fn calls(text: &str, call: Called<'_>) -> Vec<Struck> {
    let (faults, mut dice) = (faults(text), dice());
    (0..10_000).map(|_| faults.strike(call, &mut dice)).collect()
}

#[test]
fn every_fault_reads_back_as_it_is_printed() {
    for text in [
        "outage",
        "outage:region:eu-west-1",
        "outage:service:sts",
        "latency:fixed:1s",
        "latency:fixed:250us",
        "latency:lognormal:5ms,0.5",
        "error:secretsmanager:GetSecretValue:ThrottlingException:5%",
        "error:*:*:InternalFailure:0.1%",
        "reset:1%",
        "reset:middle:50%",
        "slow-body:1024B/s",
        "clock-step:1h",
        "clock-step:-5m",
        "eks:cluster:stuck",
        "eks:nodegroup:fails:Ec2SubnetInvalidConfiguration",
        "eks:addon:fails:ConfigurationConflict",
    ] {
        let fault: Fault = text.parse().unwrap();
        assert_eq!(fault.to_string(), text);
    }
    for (text, same) in [
        ("slow-body:1KiB/s", "slow-body:1024B/s"),
        ("latency:fixed:1.5s", "latency:fixed:1500ms"),
        ("reset:before:1%", "reset:1%"),
        (" clock-step:60s ", "clock-step:1m"),
    ] {
        assert_eq!(text.parse::<Fault>().unwrap().to_string(), same);
    }
}

#[test]
fn what_is_no_fault_is_told_so_with_the_way_to_write_it() {
    for (text, hint) in [
        ("", "faults are"),
        ("latency", "faults are"),
        ("latency:uniform:1s", "latencies are"),
        ("latency:fixed:soon", "250ms"),
        ("latency:fixed:-1s", "250ms"),
        ("latency:fixed:1d", "250ms"),
        ("latency:fixed:1h", "ten minutes"),
        ("latency:lognormal:5ms", "MEDIAN,SIGMA"),
        ("latency:lognormal:5ms,wide", "no number"),
        ("latency:lognormal:5ms,NaN", "from 0 to 10"),
        ("latency:recorded:/does/not/exist", "cannot read"),
        ("error:sts:AssumeRole:5%", "error:SERVICE:OPERATION"),
        ("error:sts:Assume Role:Throttling:5%", "no name"),
        ("error:sts:AssumeRole:Throttling:101%", "no share"),
        ("error:sts:AssumeRole:Throttling:5", "no share"),
        ("reset:never:1%", "moments are"),
        ("slow-body:0B/s", "no rate"),
        ("slow-body:5GiB/s", "no rate"),
        ("slow-body:99999999MiB/s", "no rate"),
        ("outage:planet:earth", "region:NAME"),
        ("outage:region:", "no name"),
        ("clock-step:1000000h", "ten years"),
        ("clock-step:99999999999999999999999h", "clock-step"),
    ] {
        let error = text.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn a_file_has_one_fault_a_line_and_remarks() {
    let text = "# evening\n\nreset:1%\n  outage:region:eu-west-1\n";
    let read = faults(text);
    assert_eq!(read.to_string(), "reset:1%\noutage:region:eu-west-1\n");
    assert_eq!(faults(&read.to_string()), read);
    assert!(faults("# nothing\n").is_empty());
    let wrong = Faults::parse("reset:1%\n# why\n\nrest:1%")
        .unwrap_err()
        .to_string();
    assert!(wrong.starts_with("4: `rest:1%` is no fault"), "{wrong}");
}

#[test]
fn errors_hit_their_share_of_their_operation_and_nothing_else() {
    let text = "error:secretsmanager:GetSecretValue:ThrottlingException:5%";
    let struck = calls(text, GET);
    let hit = struck.iter().filter(|struck| struck.code.is_some()).count();
    assert!((400..=600).contains(&hit), "{hit} of 10,000 at 5 %");
    for struck in struck {
        assert_eq!(struck.code.is_some(), struck.names.is_some());
        if let Some(names) = struck.names {
            assert_eq!(names, text);
            assert_eq!(struck.code.as_deref(), Some("ThrottlingException"));
        }
    }
    let other = Called {
        operation: "PutSecretValue",
        ..GET
    };
    assert!(
        calls(text, other)
            .iter()
            .all(|struck| *struck == Struck::default())
    );
    let other = Called {
        service: "ssm",
        ..GET
    };
    assert!(
        calls(text, other)
            .iter()
            .all(|struck| *struck == Struck::default())
    );
    let all = calls("error:*:*:InternalFailure:100%", other);
    assert!(
        all.iter()
            .all(|struck| struck.code.as_deref() == Some("InternalFailure"))
    );
    assert!(
        calls("error:*:*:InternalFailure:0%", GET)
            .iter()
            .all(|struck| struck.code.is_none())
    );
}

#[test]
fn the_same_seed_gives_the_same_calls_the_same_trouble() {
    let text = "reset:1%\nlatency:lognormal:5ms,0.5\nerror:*:*:Throttling:5%";
    assert_eq!(calls(text, GET), calls(text, GET));
    let mut other = StdRng::seed_from_u64(8);
    let others: Vec<_> = (0..10_000)
        .map(|_| faults(text).strike(GET, &mut other))
        .collect();
    assert_ne!(calls(text, GET), others);
}

#[test]
fn an_outage_reaches_one_region_or_one_service() {
    let cut = |text: &str, call: Called<'_>| faults(text).strike(call, &mut dice()).cut;
    let elsewhere = Called {
        region: "us-east-1",
        ..GET
    };
    let sts = Called {
        service: "sts",
        ..GET
    };
    for (text, call, expected) in [
        ("outage:region:eu-west-1", GET, Some(Cut::Dropped)),
        ("outage:region:eu-west-1", sts, Some(Cut::Dropped)),
        ("outage:region:eu-west-1", elsewhere, None),
        ("outage:service:sts", sts, Some(Cut::Dropped)),
        ("outage:service:sts", GET, None),
        ("outage", elsewhere, Some(Cut::Dropped)),
        ("reset:100%", GET, Some(Cut::Reset)),
        ("reset:0%", GET, None),
        ("reset:middle:100%", GET, None),
    ] {
        assert_eq!(cut(text, call), expected, "{text} {call:?}");
    }
    assert!(faults("outage").outage());
    assert!(!faults("outage:region:eu-west-1").outage());
}

fn waits_of(text: &str) -> Vec<Duration> {
    let mut waits: Vec<_> = calls(text, GET).iter().map(|struck| struck.delay).collect();
    waits.sort();
    waits
}

fn near(is: Duration, wanted_ms: f64) -> bool {
    (is.as_secs_f64() * 1000.0 / wanted_ms - 1.0).abs() < 0.1
}

#[test]
fn lognormal_waits_have_their_median_and_their_spread() {
    let waits = waits_of("latency:lognormal:5ms,0.5");
    assert!(near(waits[5000], 5.0), "{:?}", waits[5000]);
    // exp(0.5 * 2.326)
    assert!(near(waits[9900], 5.0 * 3.2), "{:?}", waits[9900]);
    assert!(near(waits[100], 5.0 / 3.2), "{:?}", waits[100]);
    let widest = waits_of("latency:lognormal:10m,10");
    assert_eq!(widest[9999], latency::LONGEST, "a wait has an end");
}

#[test]
fn latencies_add_up_and_clocks_too() {
    let both = waits_of("latency:fixed:2ms\nlatency:fixed:3ms");
    assert_eq!(
        (both[0], both[9999]),
        (Duration::from_millis(5), Duration::from_millis(5))
    );
    let step = faults("clock-step:1h\nclock-step:-10m").clock_step();
    assert_eq!(step, SignedDuration::from_mins(50));
    assert_eq!(Faults::default().clock_step(), SignedDuration::ZERO);
}

const HGRM: &str = "       Value     Percentile TotalCount 1/(1-Percentile)\n
       1.000 0.000000000000          1           1.00
       2.000 0.500000000000         50           2.00
      10.000 0.900000000000         90          10.00
     100.000 1.000000000000        100
#[Mean    =        1.000, StdDeviation   =        1.000]\n";

fn recorded(name: &'static str, text: &str) -> Result<Fault, FaultError> {
    let read = |path: &str| match path {
        "file" => Ok(text.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    text::parse(&format!("latency:recorded:{name}"), &read)
}

#[test]
fn a_percentile_file_is_drawn_from_as_it_was_measured() {
    let Fault::Latency(latency) = recorded("file", HGRM).unwrap() else {
        panic!("no latency")
    };
    let mut dice = dice();
    let waits: Vec<_> = (0..10_000)
        .map(|_| latency.sample(&mut dice).as_millis())
        .collect();
    let share = |ms: u128| waits.iter().filter(|wait| **wait == ms).count();
    for (ms, wanted) in [(2, 5000), (10, 4000), (100, 1000)] {
        assert!(share(ms).abs_diff(wanted) < 200, "{} of {ms} ms", share(ms));
    }
    assert_eq!(Fault::Latency(latency).to_string(), "latency:recorded:file");
    for (text, hint) in [
        ("", "no values"),
        ("garbage\n", "no row"),
        ("5 0.5 1\n4 0.4 1\n", "out of order"),
        ("5 1.5 1\n", "out of range"),
        ("-5 0.5 1\n", "out of range"),
    ] {
        let error = recorded("file", text).unwrap_err().to_string();
        assert!(error.contains(hint), "{text}: {error}");
    }
    assert!(
        recorded("file#tag", HGRM)
            .unwrap_err()
            .to_string()
            .contains("no tags")
    );
}

#[test]
fn a_histogram_log_is_drawn_from_by_tag() {
    use base64::Engine as _;
    use hdrhistogram::{
        Histogram,
        serialization::{Serializer as _, V2DeflateSerializer},
    };

    let line = |tag: &str, ms: u64| {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.record_n(ms * 1_000_000, 100).unwrap();
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&histogram, &mut bytes)
            .unwrap();
        let payload = base64::prelude::BASE64_STANDARD.encode(bytes);
        format!("{tag}0.000,1.000,9.000,{payload}\n")
    };
    let log = format!(
        "#[Histogram log format version 1.3]\n{}{}{}",
        line("Tag=steady,", 4),
        line("Tag=warm-up,", 900),
        line("Tag=steady,", 6)
    );
    let Fault::Latency(latency) = recorded("file#steady", &log).unwrap() else {
        panic!("no latency")
    };
    let mut dice = dice();
    let waits: Vec<_> = (0..1000).map(|_| latency.sample(&mut dice)).collect();
    assert!(waits.iter().all(|wait| near(*wait, 4.0) || near(*wait, 6.0)));
    let short = waits.iter().filter(|wait| near(**wait, 4.0)).count();
    assert!((400..600).contains(&short), "{short} of 1,000");
    let error = recorded("file", &log).unwrap_err().to_string();
    assert!(error.contains("steady, warm-up"), "{error}");
    assert!(
        recorded("file#other", &log)
            .unwrap_err()
            .to_string()
            .contains("no values")
    );
    assert!(
        recorded("file", &line("", 5)).is_ok(),
        "one histogram needs no tag"
    );
    assert!(recorded("file", "#[Histogram log format version 1.3]\n0,1,2,HISTFAAA\n").is_err());
}
