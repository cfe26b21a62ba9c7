//! Validation with shapes: a program and concrete input shapes give the concrete shape of every buffer.
//!
//! This is the boundary behind which the interpreter and generated code trust every size: each buffer's declared shape is what
//! its step makes of its operands' shapes, nothing overflows, and no access leaves a buffer. (Only the indices of a `gather`
//! are data; they are checked when it runs.)

use crate::dim::Dim;
use crate::error::ProgramError;
use crate::program::{BufferId, ConstantId, Program};
use crate::step::{Contraction, Epilogue, Move, MoveKind, Operand, PadMode, Step, StepKind};
use crate::window::Window;

/// The number of elements of a shape; `None` if a tensor of it could not be addressed. Sizes of 0 count as 1 for that, so that no
/// stride and no product of some of the sizes overflows either.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    let extent = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n.max(1)))?;
    (extent <= isize::MAX as usize / 8).then(|| if shape.contains(&0) { 0 } else { extent })
}

/// The concrete shapes of a program's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes {
    /// The value of each symbol, at least 1.
    pub bindings: Vec<i64>,
    /// The shape of each buffer.
    pub buffers: Vec<Vec<usize>>,
}

impl Shapes {
    /// The shape of a buffer.
    pub fn of(&self, buffer: BufferId) -> &[usize] {
        &self.buffers[buffer.index()]
    }

    /// The shape of an operand.
    pub fn operand<'a>(&'a self, program: &'a Program, operand: Operand) -> &'a [usize] {
        match operand {
            Operand::Buffer(buffer) => self.of(buffer),
            Operand::Constant(constant) => &program.constant(constant).shape,
        }
    }

    /// The number of bytes of each buffer.
    pub fn bytes(&self, program: &Program) -> Vec<usize> {
        let sizes = program.buffers.iter().zip(&self.buffers);
        sizes.map(|(b, shape)| shape.iter().product::<usize>() * b.element.size().unwrap_or(1)).collect()
    }
}

impl Program {
    /// The shapes of all buffers for inputs of these shapes. The program must have passed [`Program::validate`].
    ///
    /// # Errors
    /// Inputs that are not those that the program declares, or that bind a symbol to 0 ([`ProgramError::EmptyInput`]); then shapes that do not fit
    /// together or are larger than memory can be.
    pub fn resolve(&self, inputs: &[Vec<usize>]) -> Result<Shapes, ProgramError> {
        let bindings = self.bind(inputs)?;
        let mut total = 0usize;
        let mut buffers = Vec::with_capacity(self.buffers.len());
        for (i, buffer) in self.buffers.iter().enumerate() {
            let sizes = buffer.shape.iter().map(|dim| dim.size(&bindings)).collect::<Result<Vec<_>, _>>();
            let shape =
                sizes.map_err(|source| ProgramError::Dimension { what: format!("buffer b{i}"), source })?;
            let bytes = element_count(&shape).and_then(|n| n.checked_mul(buffer.element.size()?));
            // Room for the alignment of each buffer.
            total = bytes
                .and_then(|bytes| total.checked_add(bytes)?.checked_add(4096))
                .filter(|&total| total <= isize::MAX as usize)
                .ok_or(ProgramError::TooLarge)?;
            buffers.push(shape);
        }
        let shapes = Shapes { bindings, buffers };
        for (index, step) in self.steps.iter().enumerate() {
            Check { program: self, shapes: &shapes }.step(step).map_err(|message| {
                let (name, kind) = (step.name.clone(), step.kind_name());
                ProgramError::Step { index, name, kind, message }
            })?;
        }
        Ok(shapes)
    }

    fn bind(&self, inputs: &[Vec<usize>]) -> Result<Vec<i64>, ProgramError> {
        if inputs.len() != self.inputs.len() {
            return Err(ProgramError::InputCount { expected: self.inputs.len(), found: inputs.len() });
        }
        let mut bindings: Vec<Option<i64>> = vec![None; self.symbols.len()];
        for (port, found) in self.inputs.iter().zip(inputs) {
            let declared = &self.buffers[port.buffer.index()].shape;
            let fits = declared.len() == found.len()
                && declared.iter().zip(found).all(|(dim, &n)| {
                    let Ok(n) = i64::try_from(n) else { return false };
                    match dim {
                        Dim::Symbol(symbol) => *bindings[symbol.index()].get_or_insert(n) == n,
                        dim => *dim == Dim::Fixed(n),
                    }
                });
            if !fits {
                let expected = self.describe_shape(declared);
                return Err(ProgramError::InputShape {
                    name: port.name.clone(),
                    expected,
                    found: found.clone(),
                });
            }
            // The compiler has simplified expressions for sizes of at least 1: with 0 they would come out wrong, not only empty.
            let empty =
                declared.iter().zip(found).position(|(dim, &n)| n == 0 && matches!(dim, Dim::Symbol(_)));
            if let Some(axis) = empty {
                let (name, dim) = (port.name.clone(), self.describe_dim(&declared[axis]));
                return Err(ProgramError::EmptyInput { name, axis, dim });
            }
        }
        // `validate` has seen that an input binds each.
        Ok(bindings.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// A declared shape as people write it: `[N, 1, 28, 28]`.
    pub fn describe_shape(&self, shape: &[Dim]) -> String {
        let sizes: Vec<_> = shape.iter().map(|dim| self.describe_dim(dim)).collect();
        format!("[{}]", sizes.join(", "))
    }

    fn describe_dim(&self, dim: &Dim) -> String {
        match dim {
            Dim::Fixed(n) => n.to_string(),
            Dim::Symbol(symbol) => self.symbols.get(symbol.index()).cloned().unwrap_or_default(),
            _ => "?".to_owned(),
        }
    }
}

struct Check<'a> {
    program: &'a Program,
    shapes: &'a Shapes,
}

impl<'a> Check<'a> {
    fn step(&self, step: &Step) -> Result<(), String> {
        match &step.kind {
            StepKind::Accumulate(s) => {
                let output = self.shapes.of(s.output);
                for (term, plane) in
                    s.terms.iter().flat_map(|term| term.planes.iter().map(move |p| (term, p)))
                {
                    let (input, weight) = (self.shapes.of(plane.input), self.constant(plane.weight));
                    let (mut expected, channels) = match &plane.contraction {
                        Contraction::Window { window, groups } => {
                            (convolved(input, weight, window, *groups)?, weight[0])
                        }
                        Contraction::MatMul if term.parts > 1 => {
                            (multiplied(input, weight)?, weight[0] * weight[2])
                        }
                        Contraction::MatMul => (multiplied(input, weight)?, weight[1]),
                    };
                    match &plane.contraction {
                        _ if term.parts == 1 => {}
                        Contraction::Window { .. } => expected[1] /= term.parts,
                        // The axes of the parts and of a row of one, which are added up.
                        Contraction::MatMul => {
                            let parts = expected.len() - 3;
                            let added: Vec<usize> = expected.drain(parts..parts + 2).collect();
                            if input.len() < 4 || input[parts] != term.parts || added != [term.parts, 1] {
                                return Err(format!("an input {input:?} for {} parts", term.parts));
                            }
                        }
                    }
                    same("output", output, &expected)?;
                    if let Some(scales) = term.input_scale
                        && self.shapes.of(scales).iter().product::<usize>() != output[0]
                    {
                        return Err("it has not one scale of the input for each sample".into());
                    }
                    self.scale(term.scale, channels)?;
                }
                let axis = if matches!(s.terms[0].planes[0].contraction, Contraction::MatMul) {
                    output.len() - 1
                } else {
                    1
                };
                self.epilogue(&s.epilogue, output, axis)
            }
            StepKind::Quantize(s) => {
                let (input, [integers, scales]) = (self.shapes.of(s.input), s.outputs);
                same("output", self.shapes.of(integers), input)?;
                match self.shapes.of(scales).iter().product::<usize>() == input[0] {
                    true => Ok(()),
                    false => Err("it has not one scale for each sample".into()),
                }
            }
            StepKind::Conv(s) => {
                let (input, weight) = (self.shapes.of(s.input), self.operand(s.weight));
                let output = self.shapes.of(s.output);
                same("output", output, &convolved(input, weight, &s.window, s.groups)?)?;
                self.epilogue(&s.epilogue, output, 1)
            }
            StepKind::MatMul(s) => {
                let output = self.shapes.of(s.output);
                same("output", output, &multiplied(self.operand(s.left), self.operand(s.right))?)?;
                self.epilogue(&s.epilogue, output, output.len() - 1)
            }
            StepKind::Map(s) => {
                let output = self.shapes.of(s.output);
                s.inputs.iter().try_for_each(|&input| broadcasts(self.operand(input), output))
            }
            StepKind::Pool(s) => {
                let (input, output) = (self.shapes.of(s.input), self.shapes.of(s.output));
                if input.len() != s.window.rank() + 2 {
                    let (rank, spatial) = (input.len(), s.window.rank());
                    return Err(format!("an input of {rank} axes for a window of {spatial}"));
                }
                same("output", output, &slid(input, input[1], &s.window, s.ceil)?)?;
                self.scale(s.scale, output[1])?;
                self.epilogue(&s.epilogue, output, 1)
            }
            StepKind::Reduce(s) => {
                let (input, output) = (self.shapes.of(s.input), self.shapes.of(s.output));
                let with = |keep: bool| {
                    let sizes =
                        input.iter().enumerate().filter_map(|(axis, &n)| match s.axes.contains(&axis) {
                            true => keep.then_some(1),
                            false => Some(n),
                        });
                    sizes.collect::<Vec<_>>()
                };
                same("output", output, &with(output.len() == input.len()))
            }
            StepKind::Softmax(s) => same("output", self.shapes.of(s.output), self.shapes.of(s.input)),
            StepKind::Move(s) => self.movement(s),
            StepKind::Cast(s) => same("output", self.shapes.of(s.output), self.operand(s.input)),
            StepKind::Dims(s) => {
                s.values.iter().try_for_each(|dim| {
                    dim.eval(&self.shapes.bindings).map(drop).map_err(|e| e.to_string())
                })?;
                same("output", self.shapes.of(s.output), &[s.values.len()])
            }
            StepKind::Iota(_) => Ok(()),
            StepKind::Scatter(s) => {
                let (data, indices) = (self.operand(s.data), self.operand(s.indices));
                same("output", self.shapes.of(s.output), data)?;
                same("updates", self.operand(s.updates), &[indices, &data[1..]].concat())
            }
            StepKind::Cumulative(s) => same("output", self.shapes.of(s.output), self.operand(s.input)),
            StepKind::TopK(s) => {
                let [values, indices] = s.outputs.map(|output| self.shapes.of(output));
                let mut expected = self.operand(s.input).to_vec();
                let size = expected[s.axis];
                expected[s.axis] = values.get(s.axis).copied().unwrap_or(0);
                if expected[s.axis] > size {
                    return Err(format!("{} elements of an axis of {size}", expected[s.axis]));
                }
                same("output", values, &expected)?;
                same("output", indices, &expected)
            }
            // The function checks what it is given; every buffer has the size that its shape says.
            StepKind::Custom(_) => Ok(()),
        }
    }

    fn movement(&self, step: &Move) -> Result<(), String> {
        let (input, output) = (self.operand(step.inputs[0]), self.shapes.of(step.output));
        let mut expected = input.to_vec();
        match &step.kind {
            MoveKind::Reshape => {
                return match input.iter().product::<usize>() == output.iter().product::<usize>() {
                    true => Ok(()),
                    false => Err(format!("{input:?} has not as many elements as {output:?}")),
                };
            }
            MoveKind::Transpose { perm } => expected = perm.iter().map(|&axis| input[axis]).collect(),
            MoveKind::Concat { axis } => {
                let mut total = 0usize;
                for &operand in &step.inputs {
                    let mut shape = self.operand(operand).to_vec();
                    let size = *shape.get(*axis).ok_or("an input has too few axes")?;
                    total = total.checked_add(size).ok_or("a size overflows")?;
                    shape[*axis] = input[*axis];
                    same("input", &shape, input)?;
                }
                expected[*axis] = total;
            }
            MoveKind::Slice { axis, start, step } => {
                let count = *output.get(*axis).ok_or("the output has too few axes")?;
                let start = start.eval(&self.shapes.bindings).map_err(|e| e.to_string())?;
                let last = i64::try_from(count)
                    .ok()
                    .and_then(|n| n.checked_sub(1)?.checked_mul(*step)?.checked_add(start));
                let inside = |i: i64| usize::try_from(i).is_ok_and(|i| i < input[*axis]);
                if count > 0 && !(inside(start) && last.is_some_and(inside)) {
                    return Err(format!(
                        "{count} elements from {start} by {step} leave an axis of {}",
                        input[*axis]
                    ));
                }
                expected[*axis] = count;
            }
            MoveKind::Pad { begin, end, mode } => {
                for (axis, size) in expected.iter_mut().enumerate() {
                    let widest = begin[axis].max(end[axis]);
                    let source = match mode {
                        PadMode::Constant(_) => true,
                        PadMode::Reflect => widest < *size || widest == 0,
                        PadMode::Edge => *size > 0 || widest == 0,
                    };
                    if !source {
                        return Err(format!("an axis of {size} has nothing to pad {widest} elements with"));
                    }
                    let padded = size.checked_add(begin[axis]).and_then(|n| n.checked_add(end[axis]));
                    *size = padded.ok_or("a size overflows")?;
                }
            }
            MoveKind::Broadcast => return broadcasts(input, output),
            MoveKind::Gather { axis } => {
                let indices = self.operand(step.inputs[1]);
                expected = [&input[..*axis], indices, &input[axis + 1..]].concat();
            }
        }
        same("output", output, &expected)
    }

    fn epilogue(&self, epilogue: &Epilogue, output: &[usize], axis: usize) -> Result<(), String> {
        if let Some(bias) = epilogue.bias {
            same("bias", self.constant(bias), &[output[axis]])?;
        }
        match epilogue.residual {
            Some(residual) => same("residual", self.shapes.of(residual), output),
            None => Ok(()),
        }
    }

    fn scale(&self, scale: Option<ConstantId>, channels: usize) -> Result<(), String> {
        match scale.map(|scale| self.constant(scale)[0]) {
            Some(scales) if scales != 1 && scales != channels => {
                Err(format!("{scales} scales for {channels} channels"))
            }
            _ => Ok(()),
        }
    }

    fn constant(&self, id: ConstantId) -> &'a [usize] {
        &self.program.constant(id).shape
    }

    fn operand(&self, operand: Operand) -> &'a [usize] {
        self.shapes.operand(self.program, operand)
    }
}

fn convolved(
    input: &[usize],
    weight: &[usize],
    window: &Window,
    groups: usize,
) -> Result<Vec<usize>, String> {
    if input.len() != weight.len() {
        return Err(format!("a weight of shape {weight:?} for an input of shape {input:?}"));
    }
    same("kernel", &window.kernel, &weight[2..])?;
    if weight[1].checked_mul(groups) != Some(input[1]) || !weight[0].is_multiple_of(groups) {
        return Err(format!(
            "{groups} groups of a weight of shape {weight:?} do not fit {} channels",
            input[1]
        ));
    }
    slid(input, weight[0], window, false)
}

fn multiplied(left: &[usize], right: &[usize]) -> Result<Vec<usize>, String> {
    let fail = || format!("{left:?} and {right:?} do not multiply");
    let (&[.., rows, inner], &[.., other, columns]) = (left, right) else { return Err(fail()) };
    if inner != other {
        return Err(fail());
    }
    let (left_outer, right_outer) = (&left[..left.len() - 2], &right[..right.len() - 2]);
    let rank = left_outer.len().max(right_outer.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let mut output = (0..rank)
        .map(|axis| match (at(left_outer, axis), at(right_outer, axis)) {
            (1, n) | (n, 1) => Ok(n),
            (a, b) if a == b => Ok(a),
            _ => Err(fail()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    output.extend([rows, columns]);
    Ok(output)
}

/// The shape of what a window gives that slides over `[N, C, spatial...]`, with its padding, to give `channels`.
fn slid(input: &[usize], channels: usize, window: &Window, ceil: bool) -> Result<Vec<usize>, String> {
    let mut output = vec![input[0], channels];
    let mut padded = input.to_vec();
    for (axis, &size) in input[2..].iter().enumerate() {
        let count = window.output_size(axis, size, ceil).ok_or_else(|| {
            let kernel = window.kernel[axis];
            format!("a window of {kernel} does not fit into {size} elements along spatial axis {axis}")
        })?;
        output.push(count);
        padded[axis + 2] = size + window.pads_begin[axis] + window.pads_end[axis];
    }
    // Kernels may lay their input out with its padding.
    match element_count(&padded) {
        Some(_) => Ok(output),
        None => Err(format!("a padded input of shape {padded:?} is larger than memory can be")),
    }
}

fn broadcasts(from: &[usize], to: &[usize]) -> Result<(), String> {
    let aligned = from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1);
    match aligned && from.len() <= to.len() {
        true => Ok(()),
        false => Err(format!("{from:?} does not broadcast to {to:?}")),
    }
}

fn same(what: &str, found: &[usize], expected: &[usize]) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} of shape {found:?}, not {expected:?}")),
    }
}
