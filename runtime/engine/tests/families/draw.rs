//! Programs of a layer or two, drawn from a seed, with inputs for them.

use ndarray::{ArrayD, ArrayViewD};
use twnc_program::scalar::Unary;
use twnc_program::step::{Epilogue, Quantize};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Port, Program, Step, StepKind,
    Trits,
};

/// A small generator, the same on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// From `low` to `high`.
    pub fn of(&mut self, low: usize, high: usize) -> usize {
        low + self.next() as usize % (high - low + 1)
    }

    pub fn flip(&mut self) -> bool {
        self.of(0, 1) == 1
    }

    /// A number in -1..=1.
    fn float(&mut self) -> f32 {
        self.of(0, 2000) as f32 / 1000.0 - 1.0
    }

    /// One of many kinds of number.
    fn any(&mut self) -> f32 {
        const SPECIAL: [f32; 9] =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 3.0e38, 1.0, -1.0];
        if self.of(0, 15) == 0 { SPECIAL[self.of(0, 8)] } else { self.float() * 8.0 }
    }
}

/// How near generated code comes to the interpreter.
#[derive(Clone, Copy, Debug)]
pub enum Agreement {
    /// The same bits; of NaN any.
    Bits,
    /// The same numbers: of zeros of both signs either may be it.
    Numbers,
    /// Sums of f32, of so many terms at most.
    Sums { terms: usize },
    /// So many units in the last place.
    Units(u8),
}

impl Agreement {
    /// Whether what the interpreter gives depends on nothing of the machine.
    pub fn is_the_same_everywhere(self) -> bool {
        !matches!(self, Agreement::Units(_))
    }
}

/// A program, its inputs, and how it is run.
#[derive(Clone)]
pub struct Case {
    pub program: Program,
    pub inputs: Vec<ArrayD<f32>>,
    pub agreement: Agreement,
    pub threads: usize,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} on {} threads: {:?}", self.agreement, self.threads, self.program.steps)?;
        write!(
            f,
            ", shapes {:?}",
            self.program.buffers.iter().map(|buffer| &buffer.shape).collect::<Vec<_>>()
        )
    }
}

impl Case {
    /// The inputs by their names.
    pub fn named(&self) -> Vec<(&str, ArrayViewD<'_, f32>)> {
        let names = self.program.inputs.iter().map(|port| port.name.as_str());
        names.zip(self.inputs.iter().map(|x| x.view())).collect()
    }

    /// The program whose outputs are sums of the magnitudes of this one's terms.
    pub fn magnitudes(&self) -> Case {
        let mut case = self.clone();
        case.inputs.iter_mut().for_each(|input| input.mapv_inplace(f32::abs));
        for constant in &mut case.program.constants {
            match &mut constant.data {
                ConstantData::F32(list) => *list = list.iter().map(|x| x.abs()).collect(),
                ConstantData::Ternary(trits) => {
                    let magnitudes: Vec<i8> = trits.unpack().into_iter().map(i8::abs).collect();
                    *trits = Trits::pack(&magnitudes).expect("trits");
                }
                other => panic!("{other:?}"),
            }
        }
        for step in &mut case.program.steps {
            match &mut step.kind {
                StepKind::Accumulate(s) => s.epilogue.activation = None,
                StepKind::Conv(s) => s.epilogue.activation = None,
                StepKind::MatMul(s) => s.epilogue.activation = None,
                StepKind::Pool(s) => s.epilogue.activation = None,
                _ => {}
            }
        }
        case
    }
}

/// A program on the way.
pub struct Draft<'r> {
    pub random: &'r mut Random,
    program: Program,
    inputs: Vec<ArrayD<f32>>,
}

impl Draft<'_> {
    pub fn new(random: &mut Random) -> Draft<'_> {
        Draft { random, program: Program::default(), inputs: vec![] }
    }

    pub fn buffer(&mut self, element: ElementType, shape: &[usize]) -> BufferId {
        let shape = shape.iter().map(|&n| Dim::from(n)).collect();
        self.program.buffers.push(Buffer { element, shape });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub fn f32(&mut self, shape: &[usize]) -> BufferId {
        self.buffer(ElementType::F32, shape)
    }

    /// An input of numbers in -1..=1, or of any.
    pub fn input(&mut self, shape: &[usize], any: bool) -> BufferId {
        let buffer = self.f32(shape);
        let random = &mut *self.random;
        let numbers = ArrayD::from_shape_fn(shape, |_| if any { random.any() } else { random.float() });
        self.program.inputs.push(Port { name: format!("x{}", self.inputs.len()), buffer });
        self.inputs.push(numbers);
        buffer
    }

    /// Integers of random bits of a buffer, and the scale of each sample.
    pub fn quantized(&mut self, input: BufferId, shape: &[usize]) -> [BufferId; 2] {
        let outputs = [self.buffer(ElementType::I16, shape), self.f32(&shape[..1])];
        let (bits, signed) = (self.random.of(2, 9) as u32, self.random.flip());
        let scale = self.random.flip().then_some(1.0 / 64.0);
        self.push(StepKind::Quantize(Quantize { input, bits, signed, scale, outputs }));
        outputs
    }

    fn constant(&mut self, shape: &[usize], data: ConstantData) -> ConstantId {
        self.program.constants.push(Constant { name: String::new(), shape: shape.to_vec(), data });
        ConstantId(self.program.constants.len() as u32 - 1)
    }

    pub fn floats(&mut self, shape: &[usize]) -> ConstantId {
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| self.random.float()).collect();
        self.constant(shape, ConstantData::F32(numbers.into()))
    }

    pub fn trits(&mut self, shape: &[usize]) -> ConstantId {
        let trits: Vec<i8> = (0..shape.iter().product()).map(|_| self.random.of(0, 2) as i8 - 1).collect();
        self.constant(shape, ConstantData::Ternary(Trits::pack(&trits).expect("trits")))
    }

    /// No factor, one, or one for each of so many outputs.
    pub fn scale(&mut self, outputs: usize) -> Option<ConstantId> {
        match self.random.of(0, 2) {
            0 => None,
            1 => Some(self.floats(&[1])),
            _ => Some(self.floats(&[outputs])),
        }
    }

    /// An epilogue with what there may be of it, of an output of some shape and so many channels.
    pub fn epilogue(&mut self, shape: &[usize], channels: usize) -> Epilogue {
        let activations = [None, Some(Unary::Relu), Some(Unary::Clip { min: -0.5, max: 6.0 })];
        Epilogue {
            bias: self.random.flip().then(|| self.floats(&[channels])),
            residual: self.random.flip().then(|| self.input(shape, false)),
            activation: activations[self.random.of(0, 2)],
        }
    }

    pub fn push(&mut self, kind: StepKind) {
        self.program.steps.push(Step { name: "layer".into(), kind });
    }

    /// The program with these outputs.
    pub fn end(mut self, outputs: &[BufferId], agreement: Agreement) -> Case {
        let ports = outputs.iter().enumerate();
        self.program.outputs = ports.map(|(i, &buffer)| Port { name: format!("y{i}"), buffer }).collect();
        let threads = self.random.of(1, 2);
        Case { program: self.program, inputs: self.inputs, agreement, threads }
    }
}
