//! The files of a pod's mount, and what is to be said of them.

use std::time::{Duration, Instant};

use super::{case::Attempt, mounted::Mounted, step::StepError, workload::LOOK, world::World};
use crate::kubernetes::PodView;
use crate::verdict::{
    Judgement, failure,
    files::{ExpectedFile, ExpectedPrint, SeenPrint, differences_of_prints, only_on_their_way},
};

/// Longest time that a provider may take between a new file's first byte and its place.
const REPLACED: Duration = Duration::from_secs(1);

/// The files of a pod's mount; where one of them is just being replaced, what there is after that.
pub(super) async fn settled(
    world: &World,
    pod: &PodView,
    expected: &[ExpectedFile],
) -> Result<Vec<SeenPrint>, StepError> {
    let until = Instant::now() + REPLACED;
    let mounted = Mounted::of(world, pod);
    let expected = prints(expected);
    loop {
        let seen = mounted.files().await?;
        if !only_on_their_way(&expected, &seen) || Instant::now() >= until {
            return Ok(seen);
        }
        tokio::time::sleep(mounted.pause(LOOK)).await;
    }
}

/// Judges files against what they must be; another tenant's value is a breach of isolation.
pub(super) fn holds(
    attempt: &Attempt<'_>,
    tenant: &str,
    target: &str,
    expected: &[ExpectedFile],
    seen: &[SeenPrint],
) -> Judgement {
    let expected = prints(expected);
    let wrong = differences_of_prints(&expected, seen);
    let Some(first) = wrong.first() else {
        return Judgement::Holds("".into());
    };
    let foreign = seen.iter().find_map(|file| {
        let owner = attempt.world.values.owner_of(&file.print)?;
        (owner.tenant != tenant && !expected.iter().any(|wanted| wanted.print == file.print))
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

fn prints(expected: &[ExpectedFile]) -> Vec<ExpectedPrint> {
    expected.iter().map(ExpectedPrint::from).collect()
}
