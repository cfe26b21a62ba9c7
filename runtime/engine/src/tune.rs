//! Tuning: measures kernels for the accumulations of a model, and chooses those that are faster than the estimate's first.
//!
//! Candidates are timed in turns in the buffers of a run, behind the steps before. What wins there is proposed, and kept if it is faster in runs of
//! the whole model too, in turns with runs by the first choices.

use crate::array::Input;
use crate::backend::{self, Backend};
use crate::bind::{self, Bound, Execution};
use crate::error::Error;
use crate::memory;
use crate::plan::{Given, Plan, Workspace};
use crate::plans::Setup;
use crate::session::Session;
use crate::tuning::{Choice, Tuning};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use twnc_jit::{Jit, Line, Slot};
use twnc_program::{ElementType, StepKind};

/// The ranks that are tried: neighbours are often nearly the same plan, and what is behind the last of these is hardly ever the fastest.
const RANKS: [usize; 16] = [0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64];
/// Candidates that should take so many times as long as the first are not measured.
const HOPELESS: f64 = 1.5;
/// Candidates that have taken so many times as long as the fastest in a few rounds are not measured further.
const BEHIND: f64 = 1.1;
/// How much of the first choice's time another may take, to be chosen.
const ENOUGH: f64 = 0.97;
/// Rounds of measurements, at least.
const ROUNDS: usize = 5;
/// Rounds of measurements, at most: enough for what is short.
const MOST_ROUNDS: usize = 500;
/// Time to measure the candidates of a layer, if it is enough for these rounds.
const LAYER: Duration = Duration::from_millis(200);
/// Time to measure the whole model, by the first choices and by others in turns.
const MODEL: Duration = Duration::from_millis(1500);

/// What [`Session::tune`] has found.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The session's tuning, with the choices for the layers of the model in the place of those that it had for them.
    pub tuning: Tuning,
    /// The model's accumulations that generated code executes, in order.
    pub steps: Vec<TunedStep>,
    /// All steps by the kernels with the least estimates: the sum of the least time of each in several runs.
    pub first: Duration,
    /// All steps by those that were chosen, in runs in turns with the others.
    pub best: Duration,
}

/// What was found for a step.
#[derive(Clone, Debug)]
pub struct TunedStep {
    /// Its number in the program.
    pub step: usize,
    /// Different kernels that were measured for it, or for an earlier step that is alike.
    pub candidates: usize,
    /// The chosen one's place in the order of estimates.
    pub rank: usize,
    /// The chosen one, in words.
    pub kernel: String,
    /// What was expected of the first, in cycles of one thread.
    pub estimate_cycles: Option<f64>,
    /// The step in runs by the kernels with the least estimates: its least time.
    pub first: Duration,
    /// The step in runs by those that were chosen, in turns with the others.
    pub best: Duration,
}

/// A layer whose candidates were measured; steps that are alike are one.
struct Layer {
    key: String,
    steps: Vec<usize>,
    candidates: usize,
    estimate: Option<f64>,
    first: Choice,
    /// What was fastest, if that is not the first.
    proposed: Option<Choice>,
}

impl Session {
    /// Measures several kernels for every accumulation of the model, with these inputs and the session's threads, and chooses: the one with the
    /// least estimate, or another that is 3% faster at least, by itself and in the whole model. Takes a fraction of a second for each
    /// layer and a few seconds for the model. Nothing is chosen where the interpreter runs. The session goes on as it is; another one takes
    /// what was found ([`SessionOptions::tuning`](crate::SessionOptions::tuning)).
    ///
    /// # Errors
    /// As for every run ([`Session`]).
    pub fn tune<'a, I: Into<Input<'a>> + Clone>(&self, inputs: &[(&str, I)]) -> Result<Tuned, Error> {
        let with = |tuning: Tuning| Setup { tuning, ..self.setup.clone() };
        let first = with(Tuning::default());
        let layers = self.with_plan(&first, inputs, Plan::workspace_bytes, false, |plan, workspace, _| {
            self.propose(plan, workspace)
        })?;
        let mut tuning = self.setup.tuning.clone();
        layers.iter().for_each(|layer| tuning.set(&layer.key, layer.proposed.clone()));
        let proposals = layers.iter().filter(|layer| layer.proposed.is_some());
        if proposals.clone().count() > 0 {
            let [before, after] = self.compare([&first, &with(tuning.clone())], inputs)?;
            for layer in proposals {
                let of = |times: &[Duration]| {
                    layer.steps.iter().map(|&step| times[step].as_secs_f64()).sum::<f64>()
                };
                if of(&after) > of(&before) * ENOUGH {
                    tuning.set(&layer.key, None);
                }
            }
        }
        // Once more: what was chosen for its times looks better by them than it is.
        let [before, after] = self.compare([&first, &with(tuning.clone())], inputs)?;
        let steps = layers.iter().flat_map(|layer| {
            let chosen = tuning.choice(&layer.key).unwrap_or(&layer.first);
            layer.steps.iter().map(|&step| TunedStep {
                step,
                candidates: layer.candidates,
                rank: chosen.rank,
                kernel: chosen.kernel.clone(),
                estimate_cycles: layer.estimate,
                first: before[step],
                best: after[step],
            })
        });
        let mut steps: Vec<_> = steps.collect();
        steps.sort_by_key(|step| step.step);
        Ok(Tuned { steps, first: before.iter().sum(), best: after.iter().sum(), tuning })
    }

    /// Runs a plan of first choices, and measures the candidates of each layer where it has come to it.
    fn propose(&self, plan: &Plan, workspace: &mut Workspace) -> Result<Vec<Layer>, Error> {
        let program = &self.inner.program;
        let Backend::Generated(isa) = self.setup.backend else { return Ok(vec![]) };
        let unavailable = |reason| Error::Backend { name: isa.name(), reason };
        let jit = backend::generator(isa).map_err(unavailable)?;
        let ranges = bind::ranges(program);
        let layouts = if plan.layouts { bind::Layouts::new(program) } else { bind::Layouts::default() };
        let mut layers: Vec<Layer> = vec![];
        let mut places: HashMap<String, usize> = HashMap::new();
        for (number, step) in program.steps.iter().enumerate() {
            if let StepKind::Accumulate(s) = &step.kind
                && !plan.runs_ahead(number)
                && let Ok(accumulation) =
                    bind::accumulation(program, &plan.shapes, &ranges, &layouts, s, self.setup.threads)
            {
                let key = accumulation.key(jit);
                match places.get(&key) {
                    Some(&place) => layers[place].steps.push(number),
                    None => {
                        if let Some(layer) = self.measure(jit, plan, workspace, accumulation, number)? {
                            places.insert(key, layers.len());
                            layers.push(layer);
                        }
                    }
                }
            }
            plan.run_step(&self.inner, &self.threads, workspace, &Given::default(), &mut [], number)?;
        }
        Ok(layers)
    }

    /// Measures the candidates of a step; `None` if there is no kernel for it.
    fn measure(
        &self,
        jit: &Jit,
        plan: &Plan,
        workspace: &mut Workspace,
        mut accumulation: bind::Accumulation<'_>,
        number: usize,
    ) -> Result<Option<Layer>, Error> {
        let mut candidates: Vec<(Choice, Bound)> = vec![];
        let mut least = None;
        for rank in RANKS {
            let execution = accumulation.bind(jit, rank)?;
            let (kernel, estimate) = (execution.describe(), execution.estimate());
            let Execution::Kernel(bound) = execution else { break };
            if rank == 0 {
                least = estimate;
            }
            if estimate.zip(least).is_some_and(|(estimate, least)| estimate > least * HOPELESS) {
                break;
            }
            let new = candidates.iter().all(|(choice, _)| choice.kernel != kernel);
            let mut room = || {
                let scratch = bound.kernel.interface().scratch;
                workspace.reserve(scratch, self.setup.threads, self.max_memory)
            };
            if new && room().is_ok() {
                candidates.push((Choice { rank, kernel }, bound));
            }
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        let fastest = if candidates.len() > 1 { self.race(plan, workspace, &candidates)? } else { 0 };
        let first = candidates[0].0.clone();
        Ok(Some(Layer {
            key: accumulation.key(jit),
            steps: vec![number],
            candidates: candidates.len(),
            estimate: least,
            proposed: (fastest != 0).then(|| candidates[fastest].0.clone()),
            first,
        }))
    }

    /// Runs candidates in turns; gives the one with the least time, or the first if that is not slower by enough.
    fn race(
        &self,
        plan: &Plan,
        workspace: &mut Workspace,
        candidates: &[(Choice, Bound)],
    ) -> Result<usize, Error> {
        // Candidates want the same integers in different layouts. They read others in their place; the time does not depend on them.
        let bytes = |slot: &Slot| (slot.element == ElementType::I16).then_some(slot.len * size_of::<i16>());
        let slots = candidates.iter().flat_map(|(_, bound)| &bound.kernel.interface().inputs);
        let most = slots.filter_map(bytes).max().unwrap_or(0);
        let instead: Box<[Line]> = memory::zeroed(most.div_ceil(size_of::<Line>()))?;
        let instead: &[u8] = bytemuck::cast_slice(&instead);
        let mut least = vec![Duration::MAX; candidates.len()];
        let start = Instant::now();
        for round in 0..MOST_ROUNDS {
            let fastest = least.iter().min().map_or(0.0, Duration::as_secs_f64);
            for (i, ((_, bound), least)) in candidates.iter().zip(&mut least).enumerate() {
                if i > 0 && round >= ROUNDS && least.as_secs_f64() > fastest * BEHIND {
                    continue;
                }
                let start = Instant::now();
                let given = |id| {
                    let input = bound.inputs.iter().position(|&input| input == id)?;
                    Some(&instead[..bytes(bound.kernel.interface().inputs.get(input)?)?])
                };
                plan.execute(&self.inner, &self.threads, bound, workspace, &given, &mut [])?;
                *least = start.elapsed().min(*least);
            }
            if round >= ROUNDS && start.elapsed() > LAYER {
                break;
            }
        }
        let fastest = (0..least.len()).min_by_key(|&i| least[i]).unwrap_or(0);
        let enough = least[fastest].as_secs_f64() <= least[0].as_secs_f64() * ENOUGH;
        Ok(if enough { fastest } else { 0 })
    }

    /// The least time of each step, by its number, in runs by two setups in turns. Other work on the machine makes times longer, never shorter.
    fn compare<'a, I: Into<Input<'a>> + Clone>(
        &self,
        setups: [&Setup; 2],
        inputs: &[(&str, I)],
    ) -> Result<[Vec<Duration>; 2], Error> {
        // Plans are made, and memory is touched.
        setups.iter().try_for_each(|setup| self.profile_of(setup, inputs).map(drop))?;
        let mut least = [(); 2].map(|()| vec![Duration::MAX; self.inner.program.steps.len()]);
        let start = Instant::now();
        for round in 0..MOST_ROUNDS {
            for (setup, least) in setups.iter().zip(&mut least) {
                let times = self.profile_of(setup, inputs)?;
                least.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least));
            }
            if round >= ROUNDS && start.elapsed() > MODEL {
                break;
            }
        }
        Ok(least)
    }
}
