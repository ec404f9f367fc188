//! PURE: what is on the nodes of a cluster, in rows that every form of a report shows.

use crate::journal::{Installed, InstalledImage, RenderedChart};

/// Each with a word for what it is, such as `driver image`.
pub(super) fn rows(installed: &Installed) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for part in &installed.parts {
        let mut row = |what: &str, said: String| rows.push((format!("{} {what}", part.part), said));
        row("version", format!("{} by {}", part.version, part.origin));
        for (what, said) in part.chart.iter().flat_map(RenderedChart::rows) {
            row(what, said);
        }
        row("DaemonSet", part.daemon_set.clone());
        for image in &part.images {
            row("image", said(image));
        }
        row("flags", part.flags.join(" "));
        row("account", part.account.clone());
        for role in &part.roles {
            row("may", format!("{} ({})", role.rules.join("; "), role.role));
        }
        for remark in &part.remarks {
            row("remark", remark.clone());
        }
    }
    let fields: Vec<String> = installed
        .csi_driver
        .iter()
        .map(|(field, value)| format!("{field}={value}"))
        .collect();
    rows.push(("CSIDriver".to_owned(), fields.join(" ")));
    rows
}

fn said(image: &InstalledImage) -> String {
    let digests = if image.digests.is_empty() {
        "no digest told".to_owned()
    } else {
        image.digests.join(" and ")
    };
    format!("{}: {}, {digests}", image.container, image.image)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::journal::{InstalledPart, InstalledRole};

    #[test]
    fn everything_that_is_installed_is_in_a_row() {
        let installed = Installed {
            parts: vec![InstalledPart {
                part: "driver".to_owned(),
                version: "1.6.0".to_owned(),
                origin: "chart d 1.6.0".to_owned(),
                daemon_set: "kube-system/d".to_owned(),
                images: vec![InstalledImage {
                    container: "c".to_owned(),
                    image: "i:1".to_owned(),
                    digests: vec!["sha256:aa".to_owned(), "sha256:bb".to_owned()],
                }],
                flags: vec!["--a".to_owned(), "--b=c".to_owned()],
                account: "kube-system/a".to_owned(),
                roles: vec![InstalledRole {
                    role: "ClusterRole r".to_owned(),
                    rules: vec!["get pods".to_owned(), "list nodes".to_owned()],
                }],
                remarks: vec!["changed".to_owned()],
                chart: Some(RenderedChart {
                    name: "d".to_owned(),
                    version: "1.6.0".to_owned(),
                    from: "./d".to_owned(),
                    kubernetes: "v1.36.3".to_owned(),
                    values: [("syncSecret.enabled".to_owned(), json!(true))].into(),
                    images: vec!["c: i:0".to_owned()],
                    flags: vec!["--a".to_owned()],
                    objects: vec!["DaemonSet kube-system/d".to_owned()],
                }),
            }],
            csi_driver: [("requiresRepublish".to_owned(), json!(true))].into(),
        };
        let rows: Vec<String> = rows(&installed)
            .into_iter()
            .map(|(what, said)| format!("{what}: {said}"))
            .collect();
        assert_eq!(
            rows,
            [
                "driver version: 1.6.0 by chart d 1.6.0",
                "driver chart: d 1.6.0 from ./d, rendered for Kubernetes v1.36.3",
                "driver values: syncSecret.enabled=true",
                "driver rendered image: c: i:0",
                "driver rendered flags: --a",
                "driver rendered objects: DaemonSet kube-system/d",
                "driver DaemonSet: kube-system/d",
                "driver image: c: i:1, sha256:aa and sha256:bb",
                "driver flags: --a --b=c",
                "driver account: kube-system/a",
                "driver may: get pods; list nodes (ClusterRole r)",
                "driver remark: changed",
                "CSIDriver: requiresRepublish=true",
            ]
        );
    }
}
