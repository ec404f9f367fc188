//! What driver and provider wrote to their logs: it is looked at as it was written, and only what is found is told.

use super::{case::Attempt, step::StepError, workload::LiveWorkload};
use crate::verdict::{Judgement, failure, logs};

/// Judges the logs, as far as they have been written by now.
pub(super) async fn clean(attempt: &Attempt<'_>, live: &LiveWorkload) -> Result<Judgement, StepError> {
    let world = attempt.world;
    let programs = world
        .environment
        .logs
        .as_ref()
        .ok_or_else(|| StepError::trouble("the programs' logs cannot be read here"))?;
    let pods = live.pods(world);
    let mut lines = 0;
    for log in programs.logs().await.map_err(StepError::trouble)? {
        // A log that says nothing about the mount proves nothing.
        let told =
            |pod: &&crate::kubernetes::PodView| log.text.contains(&pod.uid) || log.text.contains(&pod.name);
        if let Some(pod) = pods.iter().find(|pod| !told(pod)) {
            return Ok(Judgement::Unknown(failure(format!(
                "the log of the {} says nothing about {}, so that it proves nothing",
                log.name, pod.name
            ))));
        }
        let tokens = logs::tokens(&log.text);
        if let Some(first) = tokens.first() {
            return Ok(Judgement::Broken(
                failure(format!("the log of the {} has a token in it", log.name))
                    .fact("token", format!("of {}, for {}", first.subject, first.audience))
                    .fact("line", first.line.to_string())
                    .fact("tokens", tokens.len().to_string()),
            ));
        }
        if let Some(line) = log.text.lines().position(|line| world.values.are_in(line)) {
            return Ok(Judgement::Broken(
                failure(format!(
                    "the log of the {} has the value of a secret in it",
                    log.name
                ))
                .fact("line", (line + 1).to_string()),
            ));
        }
        lines += log.text.lines().count();
    }
    Ok(Judgement::Holds(
        format!("no token and no value in {lines} lines of both logs").into(),
    ))
}
