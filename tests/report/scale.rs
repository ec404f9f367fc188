//! Reports of a hundred tenants: small, and still about what matters.

use mountproof::{
    journal::{Access, Event, EventKind, MountOutcome, Verdict},
    report::{Format, RunSummary, render},
};

use crate::fixture::{Builder, failure};

const TENANTS: usize = 100;

/// Two cases for each tenant; in the given one the neighbour's secret was reached.
fn hundred(reached: Option<usize>) -> Vec<Event> {
    let tenant = |number: usize| format!("ns-{:04}", number % TENANTS + 1);
    let names: Vec<(String, &str)> = ["positive", "cross-namespace-denied"]
        .into_iter()
        .zip(["conformance", "isolation"])
        .flat_map(|(scenario, profile)| {
            (0..TENANTS).map(move |number| (format!("{scenario}[{}]", tenant(number)), profile))
        })
        .collect();
    let cases: Vec<(&str, &str)> = names
        .iter()
        .map(|(case, profile)| (case.as_str(), *profile))
        .collect();
    let mut builder = Builder::new(&cases);
    builder.environment();
    for (place, (case, _)) in cases.iter().enumerate() {
        let number = place % TENANTS;
        let (own, other) = (tenant(number), tenant(number + 1));
        builder.access(case, &own, &own, Access::Allowed, Access::Allowed);
        let breach = place >= TENANTS && reached == Some(number);
        if place >= TENANTS {
            let seen = if breach { Access::Allowed } else { Access::Denied };
            builder.access(case, &own, &other, Access::Denied, seen);
        }
        let (verdict, why) = if breach {
            (
                Verdict::Failed,
                Some(failure("it holds another tenant's value", true)),
            )
        } else {
            (Verdict::Passed, None)
        };
        builder.attempt(case, 1, verdict, "file byte-exact, 0644", why, false);
    }
    builder.mounts("mount-latency.csi", "positive[ns-0001]", "csi", 2_000);
    builder.teardown(0).finish(if reached.is_some() { 4 } else { 0 })
}

fn rendered(events: &[Event], format: Format) -> String {
    render(&RunSummary::of(events).unwrap(), &[format]).remove(0).text
}

#[test]
fn every_form_stays_within_its_bounds() {
    for reached in [None, Some(41)] {
        let events = hundred(reached);
        for (format, most) in [
            (Format::Html, 500_000),
            (Format::Markdown, 16 * 1024),
            (Format::Junit, 500_000),
        ] {
            let size = rendered(&events, format).len();
            assert!(size <= most, "{format:?} has {size} bytes");
        }
    }
}

#[test]
fn cases_that_are_alike_share_a_row() {
    let page = rendered(&hundred(None), Format::Html);
    assert_eq!(page.matches("100 passed. ").count(), 2);
    assert_eq!(page.matches("<details class=\"case folded\"").count(), 2);
    let text = rendered(&hundred(None), Format::Markdown);
    assert!(text.contains("| ✅ passed | `positive` × 100 | | |"), "{text}");
    assert!(!text.contains("positive[ns-0002]"));
}

#[test]
fn what_went_wrong_is_not_lost_among_what_did_not() {
    let page = rendered(&hundred(Some(41)), Format::Html);
    let failures = page.find("What did not pass at once").unwrap();
    assert!(failures < page.find("<h2>Isolation").unwrap());
    assert!(page.contains("<details class=\"case\" open>"));
    assert_eq!(page.matches("REACHED").count(), 1);
    // Only the two tenants of it are in the matrix.
    assert_eq!(page.matches("<th scope=\"row\">").count(), 2);
    assert!(page.contains("99 of 100"));
    let text = rendered(&hundred(Some(41)), Format::Markdown);
    assert!(text.contains("cross-namespace-denied[ns-0042]"), "{text}");
}

/// Whatever goes wrong, and however often: the page stays below a megabyte, and JUnit within what
/// GitLab takes.
#[test]
fn thousands_of_failures_do_not_burst_a_report() {
    let names: Vec<String> = (0..3_000)
        .map(|number| format!("positive[ns-{number:04}]"))
        .collect();
    let cases: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "conformance")).collect();
    let mut builder = Builder::new(&cases);
    builder.environment();
    for (place, (case, _)) in cases.iter().enumerate() {
        let broken = failure("the file is missing", false);
        let (verdict, why) = if place % 2 == 0 {
            (Verdict::Failed, Some(broken))
        } else {
            (Verdict::Passed, None)
        };
        builder.attempt(case, 1, verdict, "seen", why, false);
        builder.leftover(&format!("pod {case}"), "finalizers: kubernetes");
    }
    builder.mounts("mount-latency.csi", "positive[ns-0001]", "csi", 30_000);
    let mut events = builder.teardown(3_000).finish(7);
    for event in &mut events {
        match &mut event.event {
            EventKind::EvidenceCollected(evidence) => evidence.text = "x".repeat(9_000),
            EventKind::MountFinished(mount) => mount.outcome = MountOutcome::Failed,
            _ => {}
        }
    }
    let page = rendered(&events, Format::Html);
    assert!(page.len() <= 1_000_000, "{} bytes", page.len());
    assert!(page.contains(" more cases; results.json has them all."));
    assert!(page.contains("more; results.json has them all."));
    let junit = rendered(&events, Format::Junit);
    assert!(junit.len() <= 25_000_000, "{} bytes", junit.len());
    assert!(rendered(&events, Format::Markdown).len() <= 64 * 1024);
}
