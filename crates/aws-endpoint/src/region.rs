//! The names of regions, which every call and every record of one has.

use std::borrow::Cow;

/// Those of AWS's partition (the page "AWS Regions" of the general reference); any other name is a region just
/// the same, and costs a copy.
const KNOWN: [&str; 34] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "af-south-1",
    "ca-central-1",
    "ca-west-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
];

/// A region's name for as long as anybody wants it.
pub(crate) fn named(region: &str) -> Cow<'static, str> {
    match KNOWN.iter().find(|known| **known == region) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(region.to_owned()),
    }
}
