//! The operations of a service: their names, what each is about, and what carries it out.

use serde_json::Value;

/// What a service keeps, and how its operations come to it.
pub(crate) trait Store: Sized + 'static {
    /// A call, without the store it is about.
    type Call<'a>;
    /// What an operation is about, which is what it is authorised on.
    type Target: 'static;
    /// Why a call is refused.
    type Error: From<Unknown>;
}

/// The name of an operation that a service does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown(String);

impl Unknown {
    /// What AWS calls it.
    pub(crate) const CODE: &'static str = "UnknownOperationException";

    pub(crate) fn operation(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// For the caller to read.
    pub(crate) fn message(&self) -> String {
        format!("{} is not an operation of this endpoint", self.0)
    }
}

/// One of the operations of the service that keeps `S`.
pub(crate) struct Operation<S: Store> {
    pub(crate) name: &'static str,
    pub(crate) target: S::Target,
    run: Run<S>,
}

enum Run<S: Store> {
    Reads(Reads<S>),
    Changes(Changes<S>),
}

type Reads<S> = fn(&S, &<S as Store>::Call<'_>) -> Result<Value, <S as Store>::Error>;
type Changes<S> = fn(&mut S, &<S as Store>::Call<'_>) -> Result<Value, <S as Store>::Error>;

impl<S: Store> Operation<S> {
    /// One that changes nothing.
    pub(crate) const fn reading(name: &'static str, target: S::Target, run: Reads<S>) -> Self {
        let run = Run::Reads(run);
        Self { name, target, run }
    }

    pub(crate) const fn changing(name: &'static str, target: S::Target, run: Changes<S>) -> Self {
        let run = Run::Changes(run);
        Self { name, target, run }
    }

    /// Whether it changes nothing, so that many may be carried out at a time.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self.run, Run::Reads(_))
    }

    pub(crate) fn execute(&self, store: &mut S, call: &S::Call<'_>) -> Result<Value, S::Error> {
        match self.run {
            Run::Reads(run) => run(store, call),
            Run::Changes(run) => run(store, call),
        }
    }

    /// Carries out one that [`only_reads`](Self::only_reads); any other counts as unknown.
    pub(crate) fn read(&self, store: &S, call: &S::Call<'_>) -> Result<Value, S::Error> {
        match self.run {
            Run::Reads(run) => run(store, call),
            Run::Changes(_) => Err(Unknown::operation(self.name).into()),
        }
    }
}

/// The operation of this name among `all`.
pub(crate) fn find<S: Store>(
    all: &'static [Operation<S>],
    name: &str,
) -> Result<&'static Operation<S>, S::Error> {
    let known = all.iter().find(|known| known.name == name);
    known.ok_or_else(|| Unknown::operation(name).into())
}
