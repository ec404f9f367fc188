//! What charts come to, for whoever reads a plan: they are rendered as for a run, and nothing is made.

use mountproof_releases::Part;

use super::{InstallationOptions, chart::Chart, options::PartSource, prepare::TRIED_WITH};

/// Every chart that is asked for, a line for each thing that there is to say of it; why there is nothing, where one cannot be
/// had.
pub async fn charts(options: &InstallationOptions) -> Vec<String> {
    let mut lines = Vec::new();
    for part in Part::ALL {
        let PartSource::Chart(source) = &options.of(part).source else {
            continue;
        };
        let folder = match tempfile::tempdir() {
            Ok(folder) => folder,
            Err(error) => return vec![format!("no folder for charts: {error}")],
        };
        let helm = options.helm.as_deref();
        let chart = Chart::fetch(part, source, helm, options.rotation, folder.path()).await;
        let rendered = match chart {
            Ok(chart) => chart.render(TRIED_WITH).await,
            Err(error) => Err(error),
        };
        match rendered {
            Ok((_, rendered)) => {
                let rows = rendered.rows().into_iter();
                lines.extend(rows.map(|(what, said)| format!("{part} {what}: {said}")));
            }
            Err(error) => lines.push(format!("{part}: {error}")),
        }
    }
    lines
}
