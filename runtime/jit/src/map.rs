//! Maps: a fused element-wise expression of f32, one pass over memory.
//!
//! The axes of the output are merged as far as every input walks over them evenly; the innermost run is generated code,
//! the others are counted outside. Exact functions give the interpreter's bits.

#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use crate::Jit;
use crate::compile::{Code, Function};
use crate::elementwise::{self, Elementwise, Quarters};
use crate::error::JitError;
use crate::float::Source;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::loops::{load, run, splat_from};
use crate::machine::masks;
use cranelift_codegen::ir::{Value, types};
use cranelift_frontend::FunctionBuilder;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::MAX_MAP_INPUTS;
use twnc_program::scalar::Binary;
use twnc_program::step::MapInstruction;

/// Elements of a run that are a unit of work: few enough to share a layer among threads.
const UNIT: usize = 4096;

/// A map with concrete shapes.
#[derive(Clone, Debug)]
pub struct MapSpec<'a> {
    /// Shape of the output.
    pub output: &'a [usize],
    /// Shape and source of each input; those that are inputs are numbered in this order.
    pub inputs: Vec<(&'a [usize], Source)>,
    /// As in [`twnc_program::step::Map`].
    pub code: &'a [MapInstruction],
}

/// A map of f32.
pub struct MapKernel {
    sources: Vec<Source>,
    /// Outer axes, outermost first.
    outer: Vec<Axis>,
    /// The innermost axis, along which an input moves by one or not at all.
    inner: Axis,
    function: Arc<Function>,
    interface: Interface,
}

/// An axis of the output: its size, and how far an input moves along it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Axis {
    size: usize,
    strides: Vec<usize>,
}

/// `run(inputs, output, numbers, masks)`: the map over a run of the innermost axis, along which inputs move by `strides`, 1 or 0.
/// `inputs` is an address for each input; the output may be in the place of one that moves.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub code: &'a [MapInstruction],
    pub strides: &'a [usize],
    /// Of inputs that are known exponents.
    pub exponents: &'a [Option<Quarters>],
    /// Bytes of a vector.
    pub vector: usize,
}

/// The type of [`Run`]'s function.
pub(crate) type RunFunction = unsafe extern "C" fn(*const *const f32, *mut f32, usize, *const u8);

impl Jit {
    /// The kernel of a map.
    ///
    /// # Errors
    /// [`JitError::Shape`] if an input does not broadcast to the output or a constant does not fit its shape;
    /// [`JitError::Unsupported`] for trigonometric functions and for more than [`MAX_MAP_INPUTS`] inputs.
    pub fn map(&self, spec: &MapSpec<'_>) -> Result<MapKernel, JitError> {
        if spec.inputs.is_empty() || spec.inputs.len() > MAX_MAP_INPUTS {
            return Err(JitError::Unsupported("a map of this many inputs"));
        }
        if !spec.code.iter().all(elementwise::emits) {
            return Err(JitError::Unsupported("a sine, cosine or arc tangent"));
        }
        for (i, instruction) in spec.code.iter().enumerate() {
            let before = |value: u16| usize::from(value) < spec.inputs.len() + i;
            let fits = match *instruction {
                MapInstruction::Unary(_, a) => before(a),
                MapInstruction::Binary(_, a, b) => before(a) && before(b),
            };
            if !fits {
                return Err(JitError::Shape(format!("instruction {i} of a map reads a later value")));
            }
        }
        let mut interface = Interface { outputs: vec![Slot::of_shape(spec.output)?], ..Interface::default() };
        for (shape, source) in &spec.inputs {
            let slot = Slot::of_shape(shape)?;
            match source {
                Source::Input(_) => interface.inputs.push(slot),
                Source::Constant(constant) if constant.len() == slot.len => {}
                Source::Constant(constant) => {
                    return Err(JitError::Shape(format!("{} elements of shape {shape:?}", constant.len())));
                }
            }
        }
        let mut outer = axes(spec)?;
        let inner = outer.pop().unwrap_or(Axis { size: 1, strides: vec![0; spec.inputs.len()] });
        // Nothing else of constants is in the code, so that maps share functions.
        let exponent = |(input, (_, source)): (usize, &(&[usize], Source))| match source {
            Source::Constant(numbers) if numbers.len() == 1 && is_exponent(spec.code, input) => {
                Quarters::of(numbers[0])
            }
            _ => None,
        };
        let exponents: Vec<_> = spec.inputs.iter().enumerate().map(exponent).collect();
        let exponents = if exponents.iter().all(Option::is_none) { &[][..] } else { &exponents };
        Ok(MapKernel {
            sources: spec.inputs.iter().map(|(_, source)| source.clone()).collect(),
            outer,
            function: self.compiler.function(&Run {
                code: spec.code,
                strides: &inner.strides,
                exponents,
                vector: self.isa.bytes(),
            })?,
            inner,
            interface,
        })
    }
}

impl Code for Run<'_> {
    fn parameters(&self) -> usize {
        4
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[inputs, output, numbers, _] = arguments else { return };
        let Run { code, strides, exponents, .. } = *self;
        let sources: Vec<Value> = (0..strides.len()).map(|i| load(b, types::I64, inputs, i * 8)).collect();
        let still: Vec<Value> = sources.iter().map(|&address| splat_from(b, address)).collect();
        let mut moving: Vec<(Value, usize)> =
            sources.into_iter().zip(strides.iter().map(|stride| stride * 4)).collect();
        moving.push((output, 4));
        run(b, numbers, &moving, |b, part, addresses| {
            let mut values = still.clone();
            for ((value, &address), &stride) in values.iter_mut().zip(addresses).zip(strides) {
                if stride == 1 {
                    *value = part.load(b, address);
                }
            }
            if let (Some(result), Some(&output)) =
                (Elementwise(b).code(code, values, exponents), addresses.last())
            {
                part.store(b, result, output);
            }
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::run(self)
    }
}

impl MapKernel {
    /// Units of one row.
    fn chunks(&self) -> usize {
        self.inner.size.div_ceil(UNIT)
    }
}

impl sealed::Execute for MapKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, _: &mut [Line]) {
        // SAFETY: the function was emitted for exactly this type; `entry()` is its start.
        let map = unsafe { std::mem::transmute::<*const u8, RunFunction>(self.function.entry()) };
        for unit in units {
            let (row, start) = (unit / self.chunks(), unit % self.chunks() * UNIT);
            let count = UNIT.min(self.inner.size - start);
            let mut addresses = [std::ptr::null(); MAX_MAP_INPUTS];
            for (i, (source, address)) in self.sources.iter().zip(&mut addresses).enumerate() {
                let (mut rest, mut offset) = (row, 0);
                for axis in self.outer.iter().rev() {
                    offset += rest % axis.size * axis.strides[i];
                    rest /= axis.size;
                }
                let elements = source.elements(io);
                let stride = self.inner.strides[i];
                let from = offset + start * stride;
                *address = elements[from..=from + (count - 1) * stride].as_ptr();
            }
            let to = row * self.inner.size + start;
            // SAFETY: the caller's promise: these elements are this unit's.
            let output = unsafe { io.output(to..to + count) };
            // SAFETY: there is an address for each input, of `count` numbers or of one that is still, and `output` has `count`.
            unsafe { map(addresses.as_ptr(), output.as_mut_ptr(), count, masks()) };
        }
    }
}

impl Kernel for MapKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        self.interface.outputs[0].len / self.inner.size.max(1) * self.chunks()
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.function.clone()]
    }

    fn describe(&self) -> String {
        format!("map: runs of {}", self.inner.size)
    }
}

/// Whether an input is what a number is raised to.
fn is_exponent(code: &[MapInstruction], input: usize) -> bool {
    let raises = |i: &MapInstruction| matches!(*i, MapInstruction::Binary(Binary::Pow, _, b) if usize::from(b) == input);
    code.iter().any(raises)
}

/// The axes of the output, each merged with the next if no input has a break between them; without those of size 1.
fn axes(spec: &MapSpec<'_>) -> Result<Vec<Axis>, JitError> {
    let mut axes: Vec<Axis> = Vec::new();
    let mut distances = vec![1; spec.inputs.len()];
    for (from_end, &size) in spec.output.iter().rev().enumerate() {
        let mut strides = Vec::with_capacity(spec.inputs.len());
        for ((shape, _), distance) in spec.inputs.iter().zip(&mut distances) {
            let own = shape.len().checked_sub(from_end + 1).map_or(1, |axis| shape[axis]);
            if shape.len() > spec.output.len() || (own != 1 && own != size) {
                return Err(JitError::Shape(format!("{shape:?} does not broadcast to {:?}", spec.output)));
            }
            strides.push(if own == 1 { 0 } else { *distance });
            *distance *= own;
        }
        match axes.last_mut() {
            _ if size == 1 => {}
            Some(inner) if inner.strides.iter().map(|s| s * inner.size).eq(strides.iter().copied()) => {
                inner.size *= size;
            }
            _ => axes.push(Axis { size, strides }),
        }
    }
    axes.reverse();
    Ok(axes)
}
