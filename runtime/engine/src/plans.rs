//! The plans of a module, kept for the next run with inputs of the same shapes.
//!
//! All sessions of a module share them. Their number is bounded: the one not used for longest goes first, and is freed when no run works with
//! it any more. Threads that miss the same plan at once make one: the first makes it while the others wait; who needs another plan
//! waits for nobody.

use crate::backend::Backend;
use crate::error::Error;
use crate::plan::Plan;
use crate::tuning::Tuning;
use std::sync::{Arc, Mutex, PoisonError};

/// How many plans a module keeps.
const MAX_PLANS: usize = 8;

/// What a plan depends on beside the module and the shapes of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) backend: Backend,
    pub(crate) threads: usize,
    pub(crate) tuning: Tuning,
    /// Whether tensors between kernels lie as those want them, or are not there at all. Nobody else can read them then.
    pub(crate) layouts: bool,
}

/// The plans that a module has, most recently used last.
#[derive(Debug, Default)]
pub(crate) struct Plans(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    setup: Setup,
    inputs: Vec<Vec<usize>>,
    slot: Slot,
}

/// The place of a plan; locked while the plan is made, empty if it could not be.
type Slot = Arc<Mutex<Option<Arc<Plan>>>>;

impl Plans {
    /// The plan for a setup and the inputs' shapes, which `fits` recognises and `shapes` gives; `make` makes it if there is none.
    /// Allocates nothing if there is one.
    pub(crate) fn get(
        &self,
        setup: &Setup,
        fits: impl Fn(&[Vec<usize>]) -> bool,
        shapes: impl Fn() -> Vec<Vec<usize>>,
        make: impl FnOnce(&[Vec<usize>]) -> Result<Plan, Error>,
    ) -> Result<Arc<Plan>, Error> {
        let slot = self.slot(setup, fits, &shapes);
        // A panic elsewhere leaves a slot as it was: a plan is put there whole.
        let mut place = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = &*place {
            return Ok(Arc::clone(plan));
        }
        match make(&shapes()) {
            Ok(plan) => Ok(Arc::clone(place.insert(Arc::new(plan)))),
            Err(error) => {
                drop(place);
                // What cannot be planned must not drive out what can.
                self.entries().retain(|entry| !Arc::ptr_eq(&entry.slot, &slot));
                Err(error)
            }
        }
    }

    fn slot(
        &self,
        setup: &Setup,
        fits: impl Fn(&[Vec<usize>]) -> bool,
        shapes: impl Fn() -> Vec<Vec<usize>>,
    ) -> Slot {
        let mut entries = self.entries();
        if let Some(at) = entries.iter().position(|entry| entry.setup == *setup && fits(&entry.inputs)) {
            entries[at..].rotate_left(1);
        } else {
            if entries.len() >= MAX_PLANS {
                entries.remove(0);
            }
            entries.push(Entry { setup: setup.clone(), inputs: shapes(), slot: Slot::default() });
        }
        entries.last().map(|entry| Arc::clone(&entry.slot)).unwrap_or_default()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Module, SessionOptions};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use twnc_program::interpret::Functions;
    use twnc_program::{Buffer, BufferId, Dim, ElementType, Port, Program, SymbolId};

    /// With the interpreter.
    fn setup(threads: usize) -> Setup {
        Setup { backend: Backend::Interpreter, threads, tuning: Tuning::default(), layouts: true }
    }

    /// A program of no steps, `[N]` to itself.
    pub(crate) fn module() -> Module {
        let port = |name: &str| Port { name: name.into(), buffer: BufferId(0) };
        let program = Program {
            symbols: vec!["N".into()],
            buffers: vec![Buffer { element: ElementType::F32, shape: vec![Dim::Symbol(SymbolId(0))] }],
            inputs: vec![port("x")],
            outputs: vec![port("y")],
            ..Program::default()
        };
        Module::new(program, Functions::default()).expect("the program is valid")
    }

    /// The plan of a module for `[n]`, counted in `made` if it is made.
    fn get(
        module: &Module,
        setup: &Setup,
        n: usize,
        limit: usize,
        made: &AtomicUsize,
    ) -> Result<Arc<Plan>, Error> {
        let (inner, shapes) = (&*module.inner, vec![vec![n]]);
        inner.plans.get(
            setup,
            |inputs| inputs == shapes,
            || shapes.clone(),
            |inputs| {
                made.fetch_add(1, Ordering::Relaxed);
                Plan::new(inner, inputs, setup, limit)
            },
        )
    }

    #[test]
    fn threads_that_miss_at_once_make_one_plan() {
        let (module, made, barrier) = (module(), AtomicUsize::new(0), Barrier::new(4));
        let plans = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    get(&module, &setup(1), 7, usize::MAX, &made).expect("a plan")
                })
            });
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert!(plans.iter().all(|plan| Arc::ptr_eq(plan, &plans[0])));
        assert_eq!(module.inner.plans.entries().len(), 1);
    }

    #[test]
    fn plans_are_kept_by_what_they_depend_on_and_up_to_a_bound() {
        let (module, made) = (module(), AtomicUsize::new(0));
        let made_for = |setup: &Setup, n: usize| {
            let before = made.load(Ordering::Relaxed);
            get(&module, setup, n, usize::MAX, &made).expect("a plan");
            made.load(Ordering::Relaxed) - before
        };
        let (one, two) = (&setup(1), &setup(2));
        assert_eq!([made_for(one, 1), made_for(one, 1), made_for(one, 2)], [1, 0, 1]);
        // Tunings count by what they say.
        let tuned = || {
            let tuning = "twnc tuning 1\navx2 | a layer | 1 | a kernel\n".parse().expect("a tuning");
            Setup { tuning, ..setup(1) }
        };
        assert_eq!([made_for(&tuned(), 1), made_for(one, 1), made_for(&tuned(), 1)], [1, 0, 0]);
        assert_eq!([made_for(two, 1), made_for(one, 1), made_for(two, 1)], [1, 0, 0]);
        // The one used last stays, the one not used for longest goes.
        (10..10 + MAX_PLANS - 1).for_each(|n| assert_eq!(made_for(one, n), 1));
        assert_eq!(module.inner.plans.entries().len(), MAX_PLANS);
        assert_eq!([made_for(two, 1), made_for(one, 1)], [0, 1]);
    }

    #[test]
    fn what_cannot_be_planned_drives_nothing_out() {
        let (module, made) = (module(), AtomicUsize::new(0));
        get(&module, &setup(1), 1, usize::MAX, &made).expect("a plan");
        for n in 2..100 {
            assert!(matches!(get(&module, &setup(1), n, 1, &made), Err(Error::Memory { .. })));
        }
        assert_eq!(module.inner.plans.entries().len(), 1);
        // A plan that another session may use is refused to one that may not.
        let session = module.session(SessionOptions::default().backend(Backend::Interpreter).max_memory(1));
        let error = session.and_then(|session| session.plan(&[vec![1]])).expect_err("more than a byte");
        assert!(matches!(error, Error::Memory { .. }), "{error}");
    }
}
