//! Expressions of vectors, and which registers their values are in.
//!
//! Numbers and inputs stay in memory until an operation needs them in a register, and often it does not. Where registers are
//! scarce, the value that is needed last of all gives its own up.

use super::{Compare, One, Two, Vectors};

/// What is computed of inputs, one operation after the other; values go by number.
#[derive(Debug, Default)]
pub(crate) struct Expression {
    operations: Vec<Operation>,
    result: usize,
    /// What is in memory, the same for all vectors of a run.
    pub numbers: Vec<Number>,
}

/// What is the same in all lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// These bits.
    Bits(u32),
    /// The input of that number, which stays where it is.
    Still(usize),
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Number(usize),
    Input(usize),
    One(One, usize),
    Two(Two, usize, usize),
    Choose(Compare, [usize; 2], [usize; 2]),
    /// The second where the first is less, or more.
    AtLeast(usize, usize),
    AtMost(usize, usize),
}

impl Operation {
    fn operands(self) -> Vec<usize> {
        match self {
            Operation::Number(_) | Operation::Input(_) => vec![],
            Operation::One(_, x) => vec![x],
            Operation::Two(_, a, b) | Operation::AtLeast(a, b) | Operation::AtMost(a, b) => vec![a, b],
            Operation::Choose(_, [a, b], [yes, no]) => vec![a, b, yes, no],
        }
    }
}

impl Expression {
    /// What `write` makes of inputs: those that move, and those that do not.
    pub fn new(
        moves: impl IntoIterator<Item = bool>,
        write: impl FnOnce(&mut Expression, Vec<usize>) -> Option<usize>,
    ) -> Option<Expression> {
        let mut expression = Expression::default();
        let of_input = |(input, moves): (usize, bool)| match moves {
            true => expression.add(Operation::Input(input)),
            false => expression.number(Number::Still(input)),
        };
        let inputs = moves.into_iter().enumerate().map(of_input).collect();
        expression.result = write(&mut expression, inputs)?;
        Some(expression)
    }

    fn add(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    fn number(&mut self, number: Number) -> usize {
        let known = self.numbers.iter().position(|&known| known == number);
        let place = known.unwrap_or_else(|| {
            self.numbers.push(number);
            self.numbers.len() - 1
        });
        self.add(Operation::Number(place))
    }
}

impl Vectors for Expression {
    type Vector = usize;

    fn bits(&mut self, bits: u32) -> usize {
        self.number(Number::Bits(bits))
    }

    fn one(&mut self, operation: One, x: usize) -> usize {
        self.add(Operation::One(operation, x))
    }

    fn two(&mut self, operation: Two, a: usize, b: usize) -> usize {
        self.add(Operation::Two(operation, a, b))
    }

    fn choose(&mut self, compare: Compare, [a, b]: [usize; 2], [yes, no]: [usize; 2]) -> usize {
        match compare {
            Compare::Less if (yes, no) == (b, a) => self.add(Operation::AtLeast(a, b)),
            Compare::Greater if (yes, no) == (b, a) => self.add(Operation::AtMost(a, b)),
            _ => self.add(Operation::Choose(compare, [a, b], [yes, no])),
        }
    }
}

/// Something in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// The number of that number.
    Number(usize),
    /// A place for values that gave their register up.
    Slot(usize),
}

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Register(usize),
    Memory(Home),
}

/// One or two instructions; without more said, operands are registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An input of one of the vectors that are computed together.
    Input {
        to: usize,
        vector: usize,
        input: usize,
    },
    Load {
        to: usize,
        from: Home,
    },
    Save {
        slot: usize,
        from: usize,
    },
    One {
        operation: One,
        to: usize,
        x: usize,
    },
    Two {
        operation: Two,
        to: usize,
        a: usize,
        b: Source,
    },
    /// Says for the next [`Step::Choose`] where a comparison holds.
    Compare {
        compare: Compare,
        a: usize,
        b: Source,
    },
    Choose {
        to: usize,
        yes: Source,
        no: usize,
    },
    /// `bound` where `x` is less.
    AtLeast {
        to: usize,
        bound: usize,
        x: Source,
    },
    /// `bound` where `x` is more.
    AtMost {
        to: usize,
        bound: usize,
        x: Source,
    },
}

/// An expression for some vectors together.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub steps: Vec<Step>,
    /// The register of each vector's result.
    pub results: Vec<usize>,
    /// How many places it needs for values.
    pub slots: usize,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not yet computed, or not any more.
    Nowhere,
    Number(usize),
    Input(usize),
    Register(usize),
    Slot(usize),
}

/// A register's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    /// A value of one of the vectors.
    Value(usize, usize),
    /// For the operation at hand.
    Temporary,
}

struct Allocation<'a> {
    operations: &'a [Operation],
    /// By value, which operations still use it, the next one last.
    uses: Vec<Vec<usize>>,
    /// By vector and value.
    places: Vec<Vec<Place>>,
    /// By position among `registers`.
    contents: Vec<Content>,
    registers: &'a [usize],
    /// Registers, by position, that the operation at hand reads or writes.
    pinned: Vec<usize>,
    free_slots: Vec<usize>,
    /// Slots that the operation at hand may still read.
    left_slots: Vec<usize>,
    schedule: Schedule,
}

impl Expression {
    /// For so many vectors together, in these registers; none if they are too few.
    pub fn schedule(&self, vectors: usize, registers: &[usize]) -> Option<Schedule> {
        let mut uses = vec![vec![]; self.operations.len()];
        uses[self.result].push(self.operations.len());
        for (at, operation) in self.operations.iter().enumerate().rev() {
            operation.operands().into_iter().for_each(|operand| uses[operand].push(at));
        }
        let place = |operation: &Operation| match *operation {
            Operation::Number(number) => Place::Number(number),
            Operation::Input(input) => Place::Input(input),
            _ => Place::Nowhere,
        };
        let places: Vec<Place> = self.operations.iter().map(place).collect();
        let mut allocation = Allocation {
            operations: &self.operations,
            uses,
            places: vec![places; vectors],
            contents: vec![Content::Nothing; registers.len()],
            registers,
            pinned: vec![],
            free_slots: vec![],
            left_slots: vec![],
            schedule: Schedule { steps: vec![], results: vec![], slots: 0 },
        };
        for at in 0..self.operations.len() {
            for vector in 0..vectors {
                allocation.operation(vector, at)?;
            }
            for operand in self.operations[at].operands() {
                allocation.uses[operand].pop();
                allocation.forget(operand);
            }
        }
        for vector in 0..vectors {
            let register = allocation.register(vector, self.result)?;
            allocation.schedule.results.push(register);
        }
        Some(allocation.schedule)
    }
}

impl Allocation<'_> {
    /// Computes a value of a vector.
    fn operation(&mut self, vector: usize, at: usize) -> Option<()> {
        let step = match self.operations[at] {
            Operation::Number(_) | Operation::Input(_) => return Some(()),
            _ if self.uses[at].is_empty() => return Some(()),
            Operation::One(operation, x) => {
                let x = self.register(vector, x)?;
                Step::One { operation, to: self.result(vector, at)?, x }
            }
            Operation::Two(operation, a, b) => {
                let commutes = !matches!(operation, Two::Subtract | Two::Divide | Two::SubtractIntegers);
                let (a, b) = match self.in_memory(vector, a) && commutes {
                    true => (b, a),
                    false => (a, b),
                };
                let (a, b) = (self.register(vector, a)?, self.source(vector, b)?);
                Step::Two { operation, to: self.result(vector, at)?, a, b }
            }
            Operation::Choose(compare, [a, b], [yes, no]) => {
                let a = self.register(vector, a)?;
                let b = self.source(vector, b)?;
                let no = self.register(vector, no)?;
                let yes = self.source(vector, yes)?;
                let to = self.result(vector, at)?;
                self.schedule.steps.push(Step::Compare { compare, a, b });
                Step::Choose { to, yes, no }
            }
            Operation::AtLeast(x, bound) => {
                let (bound, x) = (self.register(vector, bound)?, self.source(vector, x)?);
                Step::AtLeast { to: self.result(vector, at)?, bound, x }
            }
            Operation::AtMost(x, bound) => {
                let (bound, x) = (self.register(vector, bound)?, self.source(vector, x)?);
                Step::AtMost { to: self.result(vector, at)?, bound, x }
            }
        };
        self.schedule.steps.push(step);
        self.pinned.clear();
        self.free_slots.append(&mut self.left_slots);
        for content in self.contents.iter_mut().filter(|content| **content == Content::Temporary) {
            *content = Content::Nothing;
        }
        Some(())
    }

    /// Whether an operation can take a value from memory, or must.
    fn in_memory(&self, vector: usize, value: usize) -> bool {
        matches!(self.places[vector][value], Place::Number(_) | Place::Slot(_))
    }

    /// A value where it is, but for inputs.
    fn source(&mut self, vector: usize, value: usize) -> Option<Source> {
        Some(match self.places[vector][value] {
            Place::Number(number) => Source::Memory(Home::Number(number)),
            Place::Slot(slot) => Source::Memory(Home::Slot(slot)),
            _ => Source::Register(self.register(vector, value)?),
        })
    }

    /// The register that a value is in, or comes into.
    fn register(&mut self, vector: usize, value: usize) -> Option<usize> {
        let position = match self.places[vector][value] {
            Place::Register(position) => {
                self.pinned.push(position);
                return Some(self.registers[position]);
            }
            Place::Nowhere => return None,
            _ => self.take()?,
        };
        let to = self.registers[position];
        let content = Content::Value(vector, value);
        let (step, content) = match self.places[vector][value] {
            Place::Number(number) => (Step::Load { to, from: Home::Number(number) }, Content::Temporary),
            Place::Slot(slot) => {
                self.left_slots.push(slot);
                (Step::Load { to, from: Home::Slot(slot) }, content)
            }
            Place::Input(input) => (Step::Input { to, vector, input }, content),
            Place::Register(_) | Place::Nowhere => return None,
        };
        self.schedule.steps.push(step);
        self.contents[position] = content;
        if content != Content::Temporary {
            self.places[vector][value] = Place::Register(position);
        }
        Some(to)
    }

    /// A register for a value that is about to be.
    fn result(&mut self, vector: usize, value: usize) -> Option<usize> {
        let position = self.take()?;
        self.contents[position] = Content::Value(vector, value);
        self.places[vector][value] = Place::Register(position);
        Some(self.registers[position])
    }

    /// A register for the operation at hand, by position; the value that is needed last gives its own up.
    fn take(&mut self) -> Option<usize> {
        let position = match self.contents.iter().position(|content| *content == Content::Nothing) {
            Some(position) => position,
            None => {
                let next = |position: usize| match self.contents[position] {
                    Content::Value(vector, value) if !self.pinned.contains(&position) => {
                        Some((self.uses[value].last().copied(), position, vector, value))
                    }
                    _ => None,
                };
                let (_, position, vector, value) = (0..self.contents.len()).filter_map(next).max()?;
                self.places[vector][value] = match self.operations[value] {
                    Operation::Input(input) => Place::Input(input),
                    _ => {
                        let slot = self.free_slots.pop().unwrap_or_else(|| {
                            self.schedule.slots += 1;
                            self.schedule.slots - 1
                        });
                        self.schedule.steps.push(Step::Save { slot, from: self.registers[position] });
                        Place::Slot(slot)
                    }
                };
                position
            }
        };
        self.contents[position] = Content::Temporary;
        self.pinned.push(position);
        Some(position)
    }

    /// A value that nothing uses any more leaves its places.
    fn forget(&mut self, value: usize) {
        if !self.uses[value].is_empty() {
            return;
        }
        for places in &mut self.places {
            match std::mem::replace(&mut places[value], Place::Nowhere) {
                Place::Register(position) => self.contents[position] = Content::Nothing,
                Place::Slot(slot) => self.free_slots.push(slot),
                Place::Nowhere | Place::Number(_) | Place::Input(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::Elementwise;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use twnc_program::scalar::Unary;

    /// What the results are, each value by the number of how it came about.
    fn run(expression: &Expression, schedule: &Schedule, known: &mut HashMap<String, usize>) -> Vec<usize> {
        let mut value = |text: String| {
            let next = known.len();
            *known.entry(text).or_insert(next)
        };
        let (mut registers, mut slots, mut holds) = (HashMap::new(), HashMap::new(), 0);
        for step in &schedule.steps {
            let mut source = |source: Source| match source {
                Source::Register(register) => registers[&register],
                Source::Memory(Home::Number(n)) => value(format!("{:?}", expression.numbers[n])),
                Source::Memory(Home::Slot(slot)) => slots[&slot],
            };
            let (to, text) = match *step {
                Step::Input { to, vector, input } => (to, format!("x{vector}.{input}")),
                Step::Load { to, from } => {
                    let from = source(Source::Memory(from));
                    registers.insert(to, from);
                    continue;
                }
                Step::Save { slot, from } => {
                    slots.insert(slot, registers[&from]);
                    continue;
                }
                Step::One { operation, to, x } => (to, format!("{operation:?}({})", registers[&x])),
                Step::Two { operation, to, a, b } => {
                    let mut operands = [registers[&a], source(b)];
                    if !matches!(operation, Two::Subtract | Two::Divide | Two::SubtractIntegers) {
                        operands.sort_unstable();
                    }
                    (to, format!("{operation:?}{operands:?}"))
                }
                Step::Compare { compare, a, b } => {
                    let text = format!("{compare:?}({}, {})", registers[&a], source(b));
                    holds = value(text);
                    continue;
                }
                Step::Choose { to, yes, no } => {
                    (to, format!("{holds} ? {} : {}", source(yes), registers[&no]))
                }
                Step::AtLeast { to, bound, x } => {
                    (to, format!("AtLeast({}, {})", source(x), registers[&bound]))
                }
                Step::AtMost { to, bound, x } => {
                    (to, format!("AtMost({}, {})", source(x), registers[&bound]))
                }
            };
            registers.insert(to, value(text));
        }
        schedule.results.iter().map(|result| registers[result]).collect()
    }

    proptest! {
        /// With few registers the same comes about as with as many as there are values.
        #[test]
        fn values_survive_with_few_registers(
            moves in prop::collection::vec(any::<bool>(), 1..5),
            code in prop::collection::vec((any::<[u16; 4]>(), 0..10usize), 1..12),
            vectors in 1..3usize,
        ) {
            let write = |expression: &mut Expression, mut values: Vec<usize>| {
                for &(operands, kind) in &code {
                    let [a, b, c, d] = operands.map(|operand| values[usize::from(operand) % values.len()]);
                    values.push(match kind {
                        0 => expression.two(Two::Subtract, a, b),
                        1 => expression.two(Two::Smaller, a, b),
                        2 => expression.two(Two::Multiply, a, b),
                        3 => expression.one(One::Root, a),
                        4 => Elementwise(expression).unary(Unary::Erf, a),
                        5 => Elementwise(expression).unary(Unary::Clip { min: -1.0, max: 2.0 }, a),
                        _ => expression.choose(Compare::Less, [a, b], [c, d]),
                    });
                }
                values.pop()
            };
            let expression = Expression::new(moves.iter().copied(), write).unwrap();
            let many: Vec<usize> = (0..expression.operations.len() * vectors + 4).collect();
            let want = expression.schedule(vectors, &many).unwrap();
            prop_assert_eq!(want.slots, 0);
            let few = expression.schedule(vectors, &[9, 3, 4, 7, 1]).unwrap();
            let mut known = HashMap::new();
            let [few, want] = [few, want].map(|schedule| run(&expression, &schedule, &mut known));
            prop_assert_eq!(few, want);
        }
    }
}
