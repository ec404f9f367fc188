//! The files of a pod's mount, and what is to be said of them.

use std::time::{Duration, Instant};

use super::{
    case::Attempt,
    step::StepError,
    workload::{LOOK, LiveWorkload, unreadable},
    world::World,
};
use crate::verdict::{
    Judgement, failure,
    files::{ExpectedFile, SeenFile, differences, only_on_their_way},
};

/// Longest time that a provider may take between a new file's first byte and its place.
const REPLACED: Duration = Duration::from_secs(1);

/// The files of a pod's mount; where one of them is just being replaced, what there is after that.
pub(super) async fn settled(
    world: &World,
    uid: &str,
    expected: &[ExpectedFile],
) -> Result<Vec<SeenFile>, StepError> {
    let until = Instant::now() + REPLACED;
    loop {
        let seen = LiveWorkload::mount_point(world, uid)
            .files()
            .map_err(unreadable)?;
        if !only_on_their_way(expected, &seen) || Instant::now() >= until {
            return Ok(seen);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Judges files against what they must be; another tenant's value is a breach of isolation.
pub(super) fn holds(
    attempt: &Attempt<'_>,
    tenant: &str,
    target: &str,
    expected: &[ExpectedFile],
    seen: &[SeenFile],
) -> Judgement {
    let wrong = differences(expected, seen);
    let Some(first) = wrong.first() else {
        return Judgement::Holds("".into());
    };
    let foreign = seen.iter().find_map(|file| {
        let owner = attempt.world.values.owner_of(&file.content)?;
        (owner.tenant != tenant
            && !expected
                .iter()
                .any(|wanted| wanted.content.matches(file.content.expose())))
        .then_some((file, owner))
    });
    let mut broken = match foreign {
        Some((file, owner)) => failure(format!(
            "{tenant} mounted {target}, but {} holds the value of {owner}",
            file.name
        ))
        .breach(),
        None => failure(format!("{tenant} mounted {target}: {}", first.brief())),
    };
    for difference in &wrong {
        broken = broken.fact("difference", difference.0.clone());
    }
    Judgement::Broken(broken)
}
