//! Steps down a gradient: SGD with momentum, and Adam, as PyTorch defines them; and how their rate changes.

/// How a parameter follows its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `v = momentum·v + g`, `p -= rate·v`.
    Sgd {
        /// 0 to 1.
        momentum: f32,
    },
    /// First and second moments of the gradient decay by 0.9 and 0.999; epsilon is 1e-8.
    Adam,
}

/// How the rate changes over the steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// It does not.
    Constant,
    /// Down to 0, along half a cosine.
    Cosine,
    /// Multiplied by a factor at each of these shares of all steps.
    Steps {
        /// The shares, ascending, each from 0 to 1.
        at: Vec<f64>,
        /// The factor.
        factor: f64,
    },
}

impl Schedule {
    /// By what the rate is multiplied at a step, of some.
    pub fn factor(&self, step: u64, of: u64) -> f32 {
        let share = step as f64 / of.max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * share.min(1.0)).cos())) as f32,
            Schedule::Steps { at, factor } => {
                let passed = at.iter().filter(|&&at| share >= at).count();
                factor.powi(i32::try_from(passed).unwrap_or(i32::MAX)) as f32
            }
        }
    }
}

/// The state of a rule for some parameters.
#[derive(Clone, Debug)]
pub struct Optimiser {
    rule: Rule,
    /// Of each parameter what the rule remembers: velocity, or both moments.
    state: Vec<[Vec<f32>; 2]>,
    steps: u64,
}

const DECAYS: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

impl Optimiser {
    /// For parameters of these sizes.
    pub fn new(rule: Rule, sizes: impl IntoIterator<Item = usize>) -> Optimiser {
        let state = |size| match rule {
            Rule::Sgd { .. } => [vec![0.0; size], vec![]],
            Rule::Adam => [vec![0.0; size], vec![0.0; size]],
        };
        Optimiser { rule, state: sizes.into_iter().map(state).collect(), steps: 0 }
    }

    /// How many steps were made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Begins the next step, in which each parameter is [updated](Optimiser::update) once.
    pub fn begin(&mut self) {
        self.steps += 1;
    }

    /// Moves a parameter, by its number. `decay` times the parameter is added to the gradient.
    pub fn update(&mut self, number: usize, parameter: &mut [f32], gradient: &[f32], rate: f32, decay: f32) {
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let [a, b] = &mut self.state[number];
        let numbers = parameter.iter_mut().zip(gradient);
        match self.rule {
            Rule::Sgd { momentum } => {
                for ((p, &g), v) in numbers.zip(a) {
                    let g = g + decay * *p;
                    *v = momentum * *v + g;
                    *p -= rate * *v;
                }
            }
            Rule::Adam => {
                let [first, second] = DECAYS.map(|decay| 1.0 - decay.powi(steps));
                let (rate, root) = (rate / first, second.sqrt());
                for (((p, &g), m), v) in numbers.zip(a).zip(b) {
                    let g = g + decay * *p;
                    *m += (1.0 - DECAYS[0]) * (g - *m);
                    *v = DECAYS[1] * *v + (1.0 - DECAYS[1]) * g * g;
                    *p -= rate * *m / (v.sqrt() / root + EPSILON);
                }
            }
        }
    }

    /// What is remembered, to be written down.
    pub fn state(&self) -> impl Iterator<Item = &[f32]> {
        self.state.iter().flatten().map(Vec::as_slice)
    }

    /// The same, to be taken up again.
    pub fn state_mut(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.state.iter_mut().flatten()
    }

    /// Sets how many steps were made.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }
}
