//! PURE. How much of a session's token its policies and tags take up.
//!
//! AWS packs both into a binary form that it does not document, and says how full it is in percent. What reports
//! say fits a plain count of the tags' characters and two more for each, of 456: nine tags of 252 characters are
//! "498%". Of policies it is documented only that they are packed, and that 2,048 characters may be too many when
//! tags and ARNs come with them: here each character of an inline policy without its blanks, and each of an ARN,
//! takes its part of 2,048. Unverified beyond that.

use crate::iam::store::Tag;

/// What tags may take up.
const TAGS: usize = 456;
/// What policies may take up.
const POLICIES: usize = 2048;

/// The packed size in percent; an error is AWS's text for more than there is room for.
pub(super) fn size(inline: Option<&str>, arns: &[&str], tags: &[Tag]) -> Result<Option<usize>, String> {
    if inline.is_none() && arns.is_empty() && tags.is_empty() {
        return Ok(None);
    }
    let inline: usize = inline.map_or(0, |text| {
        text.chars().filter(|char| !char.is_whitespace()).count()
    });
    let arns: usize = arns.iter().map(|arn| arn.chars().count()).sum();
    let each = |tag: &Tag| tag.key.chars().count() + tag.value.chars().count() + 2;
    let of_tags = percent(tags.iter().map(each).sum(), TAGS);
    if of_tags > 100 {
        return Err(format!(
            "Packed size of session tags consumes {of_tags}% of allotted space."
        ));
    }
    let all = of_tags + percent(inline + arns, POLICIES);
    if all > 100 {
        return Err(format!(
            "Packed policy consumes {all}% of allotted space, please use smaller policy."
        ));
    }
    Ok(Some(all))
}

/// Rounded up: what is there takes up something.
fn percent(part: usize, whole: usize) -> usize {
    (part * 100).div_ceil(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: usize, length: usize) -> Vec<Tag> {
        let tag = |number| Tag {
            key: format!("T{number}"),
            value: "a".repeat(length),
        };
        (1..=count).map(tag).collect()
    }

    #[test]
    fn what_is_given_takes_up_its_part() {
        let policy = "x ".repeat(1024);
        for (inline, arns, tags, expected) in [
            (None, &[][..], tags(0, 0), Ok(None)),
            (Some("{}"), &[], tags(0, 0), Ok(Some(1))),
            (Some(policy.as_str()), &[], tags(0, 0), Ok(Some(50))),
            (Some(&policy), &[], tags(1, 224), Ok(Some(100))),
            (
                Some(&policy),
                &["arn"],
                tags(1, 224),
                Err("Packed policy consumes 101% of allotted space, please use smaller policy."),
            ),
            // As reported of AWS, but for the last digit.
            (
                None,
                &[],
                tags(9, 250),
                Err("Packed size of session tags consumes 502% of allotted space."),
            ),
        ] {
            assert_eq!(size(inline, arns, &tags), expected.map_err(str::to_owned));
        }
    }
}
