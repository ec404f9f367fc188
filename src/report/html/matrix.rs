//! PURE: who reached whose secret.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::{
    journal::{Access, AccessChecked},
    report::{figure, summary::RunSummary},
};

/// Tenants a side; more would be no picture.
const MOST_TENANTS: usize = 16;

/// What a cell comes to over all its checks; the worst wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Denied,
    Allowed,
    Unknown,
    /// Refused where it should have been allowed.
    Refused,
    /// Allowed where it should have been denied.
    Reached,
}

impl Cell {
    fn of(access: &AccessChecked) -> Self {
        match (access.expected, access.seen) {
            (Access::Allowed, Access::Allowed) => Self::Allowed,
            (Access::Denied, Access::Denied) => Self::Denied,
            (Access::Denied, Access::Allowed) => Self::Reached,
            (Access::Allowed, Access::Denied) => Self::Refused,
            _ => Self::Unknown,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Allowed => "allowed",
            Self::Unknown => "not shown",
            Self::Refused => "refused",
            Self::Reached => "REACHED",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Denied | Self::Allowed => "good-tone",
            Self::Unknown => "warn-tone",
            Self::Refused | Self::Reached => "bad-tone",
        }
    }
}

pub(super) fn section(summary: &RunSummary) -> Markup {
    if summary.accesses.is_empty() {
        return html! {};
    }
    let mut cells: BTreeMap<(&str, &str), Vec<&AccessChecked>> = BTreeMap::new();
    for access in &summary.accesses {
        cells
            .entry((&access.tenant, &access.owner))
            .or_default()
            .push(access);
    }
    let tenants = tenants(summary, &cells);
    let shown = shown(&tenants, &cells);
    let hidden = tenants.len() - shown.len();
    let of = |expected: Access| {
        let checked = summary
            .accesses
            .iter()
            .filter(move |access| access.expected == expected);
        let right = checked.clone().filter(move |access| access.seen == expected);
        let [right, checked] = [right.count(), checked.count()].map(|number| figure::count(number as u64));
        html! { b class=(if right == checked { "" } else { "wrong" }) { (right) " of " (checked) } }
    };
    html! {
        section {
            h2 { "Isolation" }
            div class="card" {
                div class="figures" {
                    div { (of(Access::Allowed)) span { "permitted reads allowed" } }
                    div { (of(Access::Denied)) span { "forbidden reads denied, each with its proof" } }
                }
                @if !shown.is_empty() {
                    p class="small soft" {
                        "A row asks, a column owns. A tenant may read its own secrets, with its own role, and no others."
                    }
                    div class="scroll" {
                        table class="matrix" {
                            thead { tr { td {} @for owner in &shown { th scope="col" { (owner) } } } }
                            tbody {
                                @for tenant in &shown {
                                    tr {
                                        th scope="row" { (tenant) }
                                        @for owner in &shown { (cell(cells.get(&(*tenant, *owner)), tenant, owner)) }
                                    }
                                }
                            }
                        }
                    }
                }
                @if hidden > 0 {
                    p class="small soft" {
                        (figure::count(hidden as u64)) " tenants "
                        @if shown.is_empty() { "are too many for a table, and nothing is wrong with any of them" }
                        @else { "more are not shown" }
                        "; results.json has every check."
                    }
                }
            }
        }
    }
}

/// All tenants where they fit, else those with something wrong.
fn shown<'a>(tenants: &[&'a str], cells: &BTreeMap<(&'a str, &'a str), Vec<&AccessChecked>>) -> Vec<&'a str> {
    if tenants.len() <= MOST_TENANTS {
        return tenants.to_vec();
    }
    let wrong = |tenant: &str| {
        cells.iter().any(|((who, owner), checks)| {
            (*who == tenant || *owner == tenant) && checks.iter().any(|check| check.expected != check.seen)
        })
    };
    let wrong = tenants.iter().copied().filter(|tenant| wrong(tenant));
    wrong.take(MOST_TENANTS).collect()
}

/// Every tenant that was checked, in the order of the run.
fn tenants<'a>(
    summary: &'a RunSummary,
    cells: &BTreeMap<(&'a str, &'a str), Vec<&AccessChecked>>,
) -> Vec<&'a str> {
    let mut tenants: Vec<&str> = Vec::new();
    let seen = summary
        .accesses
        .iter()
        .flat_map(|access| [&access.tenant, &access.owner]);
    for tenant in summary.run.tenants.iter().chain(seen) {
        let checked = cells.keys().any(|(who, owner)| who == tenant || owner == tenant);
        if checked && !tenants.contains(&tenant.as_str()) {
            tenants.push(tenant);
        }
    }
    tenants
}

fn cell(checks: Option<&Vec<&AccessChecked>>, tenant: &str, owner: &str) -> Markup {
    let Some(checks) = checks else {
        return html! { td class="soft" title={ "Not checked: " (tenant) " reading " (owner) "'s secret" } { "–" } };
    };
    let worst = checks
        .iter()
        .map(|check| Cell::of(check))
        .max()
        .unwrap_or(Cell::Unknown);
    let cases: Vec<&str> = checks.iter().map(|check| check.case.as_str()).collect();
    html! {
        td class=(worst.class()) title={ (tenant) " reading " (owner) "'s secret: " (cases.join(", ")) } {
            (worst.word())
            @if checks.len() > 1 { span class="soft small" { " ×" (checks.len()) } }
        }
    }
}
