//! A page of help for each code: what it means, why it matters, what to write instead.

use super::code::Code;

/// The page, without the code's title.
#[must_use]
pub fn page(code: Code) -> &'static str {
    match code {
        Code::Unreadable => {
            "The path does not exist, is no file, or may not be read. The operating system's own words
are in the message.

`lint` looks at files, and at folders with everything below them that ends in .yaml or .yml."
        }
        Code::TooLarge => {
            "A scenario has a few kilobytes. A file of more than 1 MiB is not read at all, so that a
wrong path costs neither time nor memory."
        }
        Code::NotUtf8 => {
            "Scenario files are UTF-8. The message says at which byte the file stops being so; the
snippet shows a replacement character there.

A file that starts with FF FE or FE FF is UTF-16, as some Windows programs write it."
        }
        Code::Empty => {
            "There is nothing in the file, or only comments. A scenario at its smallest:

    apiVersion: mountproof.dev/v1alpha1
    kind: Scenario
    metadata: { name: positive, profile: conformance }
    description: A pod mounts its own tenant's secret.
    tenants: { red: {} }
    steps:
      - mount: { tenant: red, secret: red/secret }"
        }
        Code::SeveralDocuments => {
            "A line `---` separates documents in YAML. Here each scenario has a file of its own:
reports, filters and diagnostics then have one name and one place for it."
        }
        Code::NotYaml => {
            "The YAML reader could not go on at the place shown. Common causes:

  - a tab in the indentation: YAML wants spaces
  - a quote or bracket that is not closed, often some lines above
  - `: ` inside a text: put the text into quotes
  - a text that begins with `*`, `&`, `!`, `%`, `@` or a backtick: put it into quotes

Nothing behind that place is checked, so there may be more to find afterwards."
        }
        Code::Aliases => {
            "`&name` marks a part of a file, `*name` repeats it. An alias inside its own anchor would
contain itself without end; aliases of aliases multiply until they fill the memory (the \"billion
laughs\"). Both are refused before anything is built from them.

To try a scenario with several values, use `matrix`."
        }
        Code::ByteOrderMark => {
            "The file begins with the bytes EF BB BF. They are skipped here, but other YAML tools take
them for a part of the first key. Save the file as UTF-8 without a byte order mark."
        }
        Code::TooDeep => {
            "No scenario needs mappings and lists inside each other to this depth. Most often a
bracket is missing somewhere above."
        }
        Code::UnknownTenant => {
            "Steps speak of tenants by the names that the scenario gives them under `tenants`:

    tenants:
      red: {}            # one of the run's shared tenants
      thief:             # made for this case alone
        own: true
        role: red        # its ServiceAccount names red's role

Which tenants of the run they become is decided when the scenario is bound; `mountproof list` shows it."
        }
        Code::UnknownWorkload => {
            "`expect`, `delete` and `control` name a workload that an earlier step made with
`as: <name>`. Without `as`, a workload is called by its step's kind and number, such as `mount-1`.

A denied workload is gone when its step ends, and a deleted one is gone too: the only thing that can
be expected of that one is `files: none`."
        }
        Code::UnknownSecret => {
            "Secrets are written `tenant/name`. Every tenant has one called `secret`; others are
declared where the tenant is:

    tenants:
      red:
        secrets:
          rotating: { text: 48 }         # printable text of 48 bytes
          key: { binary: 32 }            # bytes, stored as SecretBinary
          login: { json: [user, pass] }  # a JSON object, for jmesPath

Their values are random and made by the run. A scenario never contains one."
        }
        Code::ImpossibleControl => {
            "A mount can fail for a hundred reasons that have nothing to do with IAM: a wrong path, a
driver that is not there, a region without an endpoint. A denial is believed only beside a control: an
earlier `mount` in the same case, of the same shape, that succeeded. Same shape means the same kind of
workload, the same kind of class, the same number of objects, named the same way, with the same
parameters. What differs is whose secret is asked for, or by whom:

    - mount: { as: blue-own, tenant: blue, secret: blue/secret }
    - deny:
        tenant: blue
        secret: red/secret
        control: blue-own
        because: { error: AccessDeniedException, action: \"secretsmanager:GetSecretValue\" }"
        }
        Code::UnknownCapability => {
            "A capability is something that some environments can do and others cannot. It is probed
when the environment stands, and a scenario that requires a missing one is `not-supported`.

    iam-enforcement  the AWS endpoint verifies tokens and evaluates IAM
    call-log         the AWS endpoint's call log can be read
    rotation         mounted files follow a secret's new value
    csi-socket       the driver's socket can be reached
    expired-tokens   a genuine service-account token can be had whose time is over
    workload-controllers
                     Deployments get pods
    aws-faults       AWS can be made slow, and well again
    program-control  driver and provider can be killed and started anew"
        }
        Code::UnknownAxis => {
            "`${matrix.<axis>}` stands for a value of the matrix:

    matrix:
      form: [name, arn]
    steps:
      - mount: { tenant: red, secret: red/secret, by: \"${matrix.form}\" }

The scenario becomes a case for each combination of values: `it[form=name]` and `it[form=arn]`."
        }
        Code::MatrixCycle => {
            "A value of one axis may refer to another axis, but two cannot wait for each other, and
none can wait for itself:

    matrix:
      user: [\"${matrix.group}-1\"]
      group: [\"${matrix.user}-2\"]   # a circle

Write one of them out."
        }
        Code::UnknownField => {
            "The field does not exist here. Often it is a slip of the hand, or it belongs one level
higher or lower; the help line lists the fields that exist here.

A first line in the file gives completion and the same check in editors:

    # yaml-language-server: $schema=../../schemas/scenario.json"
        }
        Code::DuplicateKey => {
            "The same key, or the same entry of a list that must be distinct, is written twice. YAML
readers differ in which of two values they take, so neither is taken."
        }
        Code::MissingField => {
            "A field without a default is missing, or says nothing. The help line says what it is for."
        }
        Code::WrongType => {
            "The value is of another type than the field: a list where text is expected, text where a
number is expected, a YAML tag where there is none to have.

Numbers and booleans stand without quotes. `true` and `false` are the only booleans; `yes`, `no`, `on`
and `off` are text."
        }
        Code::UnknownValue => {
            "The field takes one of a few values, or a text of a certain form, and this is none of
them. The label at the place says which there are.

Two error codes look alike and are not: STS says `AccessDenied`, Secrets Manager and SSM say
`AccessDeniedException`.

An `impostor` is refused with codes of its form: a token by STS with `InvalidIdentityToken`, an expired
one with `ExpiredTokenException`, a request by the service with `InvalidSignatureException`
(`SignatureDoesNotMatch` in older protocols). Any other code would count a refusal for another reason as
proof. Where the matrix says `with`, one list serves all its forms, each counts only the codes that it
can have, and each must have one."
        }
        Code::NotOneKey => {
            "A step is a mapping with exactly one key, which says what it does. A second `- ` is easily
forgotten:

    steps:
      - mount: { as: app, tenant: red, secret: red/secret }
      - delete: { workload: app }

The same holds for `load` and for what a secret contains."
        }
        Code::WrongKind => {
            "The first two fields say which language the file is written in:

    apiVersion: mountproof.dev/v1alpha1
    kind: Scenario

Another version would be another language, and a file of another kind is not meant for us."
        }
        Code::InvalidName => {
            "Names of scenarios, tenants and workloads become names of namespaces, pods, roles and
files, which all take lower-case letters, digits and `-` between them. Lengths are limited because AWS
allows 64 characters for a role's name, most of which are the cluster's.

Names of secrets take what Secrets Manager takes. `own` and `none` are words of `role:` and cannot be
tenants."
        }
        Code::DuplicateScenario => {
            "Reports, filters and `cargo test` know a scenario by its name alone, whatever file or
profile it stands in. Two of one name would be one row with two verdicts."
        }
        Code::WrongFolder => {
            "A profile is a folder: scenarios/isolation/ holds the scenarios of the profile
`isolation`. A scenario that says otherwise would be run by one and looked for in the other."
        }
        Code::DuplicateName => {
            "Two workloads of a case, two secrets of a tenant, or two files of a workload have one
name. Names of workloads last for the whole case, also after `delete`: evidence is filed under them."
        }
        Code::DenialWithoutEnforcement => {
            "Some AWS endpoints, LocalStack's open edition among them, do not evaluate IAM: they hand
over every secret to anyone. A scenario whose `deny` or `impostor` AWS must refuse says so:

    requires: [iam-enforcement]

Where the environment does not enforce IAM, it is then `not-supported` instead of failed, and never
passed by accident."
        }
        Code::DisturbsOthers => {
            "The `secret` of a shared tenant is mounted by every scenario that is bound to it, many of
them at the same time. A scenario that updates a secret declares one of its own:

    tenants:
      red:
        secrets:
          rotating: { text: 48 }
    steps:
      - mount: { as: app, tenant: red, secret: red/rotating }
      - update: { secret: red/rotating }

A tenant with `own: true` belongs to the case alone, and so does its `secret`."
        }
        Code::SharedTenantChanged => {
            "Shared tenants serve all scenarios of a run at once; another role on one, a permissions
boundary on its role or a policy on its `secret` would change what the others prove. `own: true` makes a
tenant for this case alone:

    tenants:
      thief: { own: true, role: red }
      bounded: { own: true, boundary: [secret] }

A secret that the scenario declares is its own, whoever's it is, and can have a policy:

    tenants:
      red:
        secrets:
          shut: { text: 64 }
        resourcePolicies:
          shut: { deny: [red] }"
        }
        Code::EachWithoutTenant => {
            "`each: tenant` binds the scenario once for each shared tenant of the run. That tenant
becomes the scenario's first; the next ones of the run, in a ring, become its others. So the first
tenant must be a shared one."
        }
        Code::Contradiction => {
            "Fields that exclude each other stand together, or fields that need each other do not:

  - a workload mounts exactly one of `secret`, `objects`, `class`
  - a reason is `error` with `action`, and perhaps `reason`; or `event` alone
  - an expectation is one of `files`, `event`, `podStatus`, at one of `now`, `eventually`, `holds`
  - fetches are paced by `inFlight` or by `perSecond`
  - `trusts: other` is of a scenario with `identity: pod-identity`
  - `files: previous` needs an `update` before it"
        }
        Code::NoSteps => "A scenario without steps would always pass and prove nothing.",
        Code::CannotSucceed => {
            "The mount asks for what Kubernetes or IAM refuse by design: another tenant's secret,
another namespace's class, a secret that its own policy denies or a permissions boundary leaves out, or
anything at all without the own role. As a `mount` it would always fail.

To prove that it is refused, write `deny`; to watch what becomes of it, `create` and `expect`."
        }
        Code::CannotFail => {
            "The denial asks for the tenant's own secret with the tenant's own role. AWS would allow
it, and the scenario would always fail. Ask for another tenant's secret, make a tenant whose
ServiceAccount names another role (`{ own: true, role: red }`), whose role has a `boundary` without the
secret or trusts another cluster, or give the secret a policy that denies the tenant:
`resourcePolicies: { shut: { deny: [red] } }`."
        }
        Code::CapabilityNotRequired => {
            "The step needs something that some environments cannot do, and would be an error of the
harness there instead of `not-supported`. A token whose time is over needs the issuer's key, as
Kubernetes gives out none for less than ten minutes:

    requires: [iam-enforcement, expired-tokens]"
        }
        Code::InvalidDuration => {
            "Durations are a whole number and a unit: `250ms`, `3s`, `2m`, `1h`; a day at most. A
number alone is refused, because half of all readers would take it for milliseconds."
        }
        Code::ImpossibleDeadline => {
            "`within` bounds a whole step, `deadline` a whole attempt at the scenario. A step that holds
or measures for 30 s cannot end within 20 s, and steps that take 70 s cannot end within a minute.

Counted are the times that the file states; a step without `within` counts only with what it holds or
measures. Deadlines bound waiting and cost nothing when things are faster: be generous."
        }
        Code::OutOfRange => {
            "The number is outside of what makes sense: a load of no pods, a rate of nothing or less, a
hold of no time (a denial that is not held proves little), an impostor that no error code counts
against, a secret of more than the 65,536 bytes that Secrets Manager takes. The label at the place
says what is expected."
        }
        Code::TooMany => {
            "More than a scenario may have: 100 steps, 8 tenants with 50 secrets each, 64 combinations. Split
it; smaller claims fail more clearly, too."
        }
        Code::UnusedTenant => {
            "The scenario declares a tenant and never speaks of it. It is provisioned all the same, and
a run needs that many tenants to bind the scenario. Remove it, or look for the step that forgot it."
        }
        Code::UnusedSecret => {
            "The scenario declares a secret that no step mounts or updates. Remove it, or look for the
step that forgot it."
        }
        Code::UnusedAxis => {
            "The scenario has a case for each value of this axis, and all of them do the same. Write
`${matrix.<axis>}` where the value should stand."
        }
        Code::MoreProblems => {
            "At most 100 problems of a file are shown. Mend the first ones; they often cause the rest."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page() {
        for code in Code::ALL {
            let page = page(*code);
            assert!(page.len() > 50 && page != code.title(), "{code}");
            for line in page.lines() {
                assert!(line.chars().count() <= 110, "{code}: {line}");
                assert_eq!(line.trim_end(), line, "{code}");
            }
        }
    }
}
