//! The threads that compute beside the caller's. They are started once and stay.
//!
//! A step takes as little as some microseconds, and a run is many of them, so threads that wait do not sleep at once: they look for
//! work for some 0.2 ms, longer than the pauses between the steps of a run, then they park. The caller computes too, and does not
//! wait for a thread that has not begun: it takes back what it offered and does that itself. Nothing is allocated once threads run.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::{Builder, JoinHandle, park, yield_now};

/// Threads that share work with whoever calls [`Threads::run`]. `Send + Sync`; dropping it ends them.
/// The default is the caller's alone.
#[derive(Debug, Default)]
pub struct Threads {
    workers: Vec<Worker>,
    /// Held by the caller that the workers serve.
    serving: Mutex<()>,
}

/// What a thread is asked to do: called with its number.
type Job<'a> = &'a (dyn Fn(usize) + Sync);

#[derive(Debug)]
struct Worker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where a worker is given jobs.
#[derive(Debug, Default)]
struct Desk {
    /// One of the states below.
    state: AtomicU32,
    job: UnsafeCell<Option<*const (dyn Fn(usize) + Sync)>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// It looks for a job; only the caller changes this.
const IDLE: u32 = 0;
/// It is parked, or about to be; whoever changes this unparks it.
const PARKED: u32 = 1;
/// There is a job; whoever changes this, the worker or the caller, does it.
const OFFERED: u32 = 2;
/// It does the job; only the worker changes this.
const BUSY: u32 = 3;
/// It ends.
const ENDED: u32 = 4;

/// Rounds of looking for a job before a worker parks, and looks in a round; a round takes about 2 µs.
const ROUNDS: usize = 100;
const LOOKS: usize = 32;

// SAFETY: `job` is written only by the one caller that holds `serving`, while the worker is idle or parked, and read only by
// the worker after it has seen `OFFERED`, which the caller stores later; the job is `Sync`. Everything else is `Sync`.
unsafe impl Sync for Desk {}
// SAFETY: the pointer is only followed as described above.
unsafe impl Send for Desk {}

impl Threads {
    /// So many threads in all; the caller is one of them, so one (or 0) starts none.
    ///
    /// # Errors
    /// What the system says if it starts no more.
    pub fn new(count: usize) -> std::io::Result<Threads> {
        let mut threads = Threads { workers: Vec::new(), serving: Mutex::new(()) };
        for number in 1..count {
            let desk = Arc::new(Desk::default());
            let own = desk.clone();
            let thread = Builder::new().name(format!("twnc {number}")).spawn(move || own.work(number))?;
            threads.workers.push(Worker { desk, thread: Some(thread) });
        }
        Ok(threads)
    }

    /// How many, the caller's included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job` once with each number below [`Threads::count`], the calling thread with 0, the others with theirs or, if they are late or
    /// serve another caller, the calling thread too. When it returns all calls have.
    ///
    /// # Panics
    /// If the job does.
    pub fn run(&self, job: Job<'_>) {
        let serving = match self.serving.try_lock() {
            Ok(serving) => serving,
            // Nothing panics while it is held.
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return (0..self.count()).for_each(job),
        };
        for worker in &self.workers {
            worker.offer(job);
        }
        let mut panic = catch_unwind(AssertUnwindSafe(|| job(0))).err();
        for (number, Worker { desk, .. }) in (1..).zip(&self.workers) {
            desk.finish(number, job, panic.is_none());
            // Each is taken, so that none is left for another caller.
            let own = desk.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            panic = panic.or(own);
        }
        drop(serving);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if worker.desk.state.swap(ENDED, Ordering::AcqRel) == PARKED {
                worker.unpark();
            }
            // It has caught what jobs panicked with, so it ends well.
            let _ended = worker.thread.take().map(JoinHandle::join);
        }
    }
}

impl Worker {
    fn offer(&self, job: Job<'_>) {
        // SAFETY: only the lifetime changes. `run` returns or unwinds only behind `finish`, and then the worker has done the
        // job, or has not begun and never will.
        let job = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(job)
        };
        // SAFETY: `serving` is held and the worker is idle or parked, so it does not read.
        unsafe { *self.desk.job.get() = Some(job) };
        if self.desk.state.swap(OFFERED, Ordering::AcqRel) == PARKED {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Desk {
    /// Looks at the state for a while; whether it is such a state.
    fn look(&self, such: impl Fn(u32) -> bool) -> bool {
        (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            such(self.state.load(Ordering::Acquire))
        })
    }

    /// Sees to it that the worker does not have the job any more: waits until it is done, or takes it back and does it here if it `needs` doing.
    fn finish(&self, number: usize, job: Job<'_>, needs: bool) {
        if self.state.compare_exchange(OFFERED, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            if needs {
                self.perform(number, job);
            }
            return;
        }
        while !self.look(|state| state != BUSY) {
            yield_now();
        }
    }

    /// Does a job and keeps what it panics with.
    fn perform(&self, number: usize, job: Job<'_>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(number))) {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    /// What a worker does until it is told to end.
    fn work(&self, number: usize) {
        let swap = |from, to| self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        let mut rounds = 0;
        loop {
            match self.state.load(Ordering::Acquire) {
                ENDED => return,
                OFFERED if swap(OFFERED, BUSY).is_ok() => {
                    // SAFETY: the caller wrote it before it offered it, and neither writes again nor lets the job end while the
                    // worker is busy.
                    if let Some(job) = unsafe { (*self.job.get()).map(|job| &*job) } {
                        self.perform(number, job);
                    }
                    // Nobody else changes it while the worker is busy.
                    self.state.store(IDLE, Ordering::Release);
                    rounds = 0;
                }
                PARKED => park(),
                IDLE if rounds == ROUNDS => {
                    rounds = 0;
                    // If there is a job by now, or the end, that is seen next.
                    let _parked = swap(IDLE, PARKED);
                }
                _ => {
                    rounds += 1;
                    if !self.look(|state| state != IDLE) {
                        yield_now();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    /// How often a job is called with each number.
    fn calls(threads: &Threads, job: impl Fn(usize) + Sync) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..threads.count() + 1).map(|_| AtomicUsize::new(0)).collect();
        threads.run(&|number| {
            counts[number].fetch_add(1, Ordering::Relaxed);
            job(number);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_number_is_called_once() {
        for count in [0, 1, 2, 3, 8] {
            let threads = Threads::new(count).expect("threads start");
            let mut once = vec![1; count.max(1)];
            once.push(0);
            for round in 0..200 {
                assert_eq!(calls(&threads, |_| ()), once);
                // So long that workers park.
                if round % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn callers_at_the_same_time_are_all_served() {
        let threads = Threads::new(3).expect("threads start");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..300).for_each(|_| assert_eq!(calls(&threads, |_| ()), [1, 1, 1, 0])));
            }
        });
    }

    #[test]
    fn a_job_that_runs_on_these_threads_may_use_them() {
        let threads = Threads::new(2).expect("threads start");
        calls(&threads, |_| assert_eq!(calls(&threads, |_| ()), [1, 1, 0]));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_spoils_nothing() {
        let threads = Threads::new(3).expect("threads start");
        for wrong in [&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]] {
            for _ in 0..50 {
                let run = || {
                    calls(&threads, |number| {
                        // Time for the others to begin.
                        std::thread::sleep(Duration::from_micros(100));
                        assert!(!wrong.contains(&number), "as it should");
                    })
                };
                assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
                assert_eq!(calls(&threads, |_| ()), [1, 1, 1, 0]);
            }
        }
    }
}
