//! A lock for what is held for microseconds.

use std::{
    fmt,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A lock that counts how often somebody had to wait for it. Who panicked under it left nothing half done that
/// others could not go on from.
#[derive(Default)]
pub(crate) struct Lock<T> {
    inner: RwLock<T>,
    waits: AtomicU64,
}

impl<T> Lock<T> {
    pub(crate) fn new(inside: T) -> Self {
        Self {
            inner: RwLock::new(inside),
            waits: AtomicU64::new(0),
        }
    }

    /// For those who only look, of whom there may be many at a time.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.inner.try_read() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waits.fetch_add(1, Ordering::Relaxed);
                self.inner.read().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.inner.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waits.fetch_add(1, Ordering::Relaxed);
                self.inner.write().unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// How often somebody had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}

impl<T: fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn it_counts_those_who_wait_and_nobody_else() {
        let lock = Lock::new(0);
        let one = lock.read();
        drop(lock.read());
        drop(one);
        *lock.write() += 1;
        assert_eq!((*lock.read(), lock.waits()), (1, 0));

        let (held, is_held) = mpsc::channel();
        thread::scope(|scope| {
            let lock = &lock;
            scope.spawn(move || {
                let guard = lock.write();
                held.send(()).expect("the other waits for it");
                // Until the other has begun to wait.
                while lock.waits() == 0 {
                    thread::yield_now();
                }
                drop(guard);
            });
            is_held.recv().expect("the other says so");
            assert_eq!(*lock.read(), 1);
        });
        assert_eq!(lock.waits(), 1);
    }
}
