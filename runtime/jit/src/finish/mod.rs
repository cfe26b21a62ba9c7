//! The code of epilogues, for sums whose neighbours are neighbouring outputs of one channel.
//!
//! Sums of many channels, a tile of positions of each, are finished in a call: the runs of outputs that a tile is ([`Piece`]) are the
//! same for all of them. [`Finishing`] is what kernels do to sums that they still have in registers.

#[cfg(all(target_arch = "x86_64", unix))]
pub(crate) mod wide;

use crate::compile::{Code, Compiler, Function};
use crate::elementwise::Elementwise;
use crate::epilogue::{Before, Epilogue};
use crate::error::JitError;
use crate::kernel::Io;
use crate::loops::{count, flags, load, run, splat_from, store};
use crate::machine::{Element, Isa, MAX_LANES, masks};
use crate::measure::{Lanes, Measured, greatest};
use crate::number::Number;
use bytemuck::{Pod, Zeroable};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::mem::offset_of;
use std::sync::Arc;
use twnc_program::scalar::Unary;

/// Numbers behind the last sum of i16 that are read too, at most.
pub(crate) const SLACK: usize = 8;

/// An epilogue with the code for it.
pub(crate) struct Finish {
    pub epilogue: Epilogue,
    element: Element,
    widened: bool,
    function: Arc<Function>,
}

/// A run of sums and where it goes, in numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Piece {
    /// First of the sums.
    pub from: u32,
    /// First of the outputs.
    pub to: u32,
    /// How many.
    pub count: u32,
}

/// Sums of consecutive channels, and where what is made of them goes.
pub(crate) struct Sums<'a, T> {
    /// Those of the first channel, then of the others, `step` numbers apart; of i16 with [`SLACK`] numbers behind the last piece.
    pub sums: &'a [T],
    /// What was widened off them, likewise; of no meaning where nothing was.
    pub totals: &'a [i32],
    pub step: usize,
    pub pieces: &'a [Piece],
    /// Factor and bias of each channel ([`Epilogue::numbers`]).
    pub numbers: &'a [[f32; 2]],
    /// Where pieces of the first channel are in the output, and how far those of the next are from there.
    pub origin: usize,
    pub stride: usize,
    /// The sample that they are of.
    pub sample: usize,
}

/// `finish(operands)`
///
/// For each channel and each of its pieces: the epilogue of its sums, to its outputs. Sums are of type `element`; what was `widened`
/// off them is in the totals.
#[derive(Debug)]
struct Channels {
    element: Element,
    /// Bytes of a vector.
    vector: usize,
    widened: bool,
    before: Before,
    partial: bool,
    residual: bool,
    finishing: Finishing,
    measured: Option<Measured>,
}

/// What [`Channels`] takes. Where outputs are measured, the vector for that holds zeros.
#[repr(C)]
struct Operands {
    sums: *const u8,
    totals: *const i32,
    residual: *const f32,
    output: *mut f32,
    numbers: *const [f32; 2],
    channels: usize,
    /// Numbers from a channel's sums to the next's, and from its outputs to the next's.
    step: usize,
    stride: usize,
    pieces: *const Piece,
    count: usize,
    lanes: *mut Lanes,
    masks: *const u8,
}

/// The type of [`Channels`]' function.
type ChannelsFunction = unsafe extern "C" fn(*const Operands);

/// The end of an epilogue: a factor, a bias and an activation, each rounded, in this order. `numbers` are the channel's factor and
/// bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finishing {
    pub factor: bool,
    pub bias: bool,
    pub activation: Option<Unary>,
}

impl Finishing {
    fn of(epilogue: &Epilogue) -> Finishing {
        let factor = epilogue.scale.is_some() || epilogue.input_scale.is_some();
        Finishing { factor, bias: epilogue.bias.is_some(), activation: epilogue.activation }
    }

    /// That of an epilogue which is nothing else, if registers suffice for it.
    pub fn alone(epilogue: &Epilogue) -> Option<Finishing> {
        let finishing = Finishing::of(epilogue);
        let fresh = epilogue.before == Before::Nothing && !epilogue.partial;
        (fresh && !epilogue.residual && finishing.is_simple()).then_some(finishing)
    }

    /// Whether its activation is a few instructions.
    fn is_simple(&self) -> bool {
        matches!(
            self.activation,
            None | Some(Unary::Relu | Unary::Clip { .. } | Unary::HardSigmoid { .. } | Unary::HardSwish)
        )
    }

    /// Instructions that multiply a vector, at most.
    pub fn multiplications(&self) -> usize {
        let activation = match self.activation {
            Some(Unary::HardSigmoid { .. }) => 1,
            Some(Unary::HardSwish) => 2,
            _ => 0,
        };
        usize::from(self.factor) + activation
    }

    /// Of a vector, with the factor and the bias in every lane.
    pub fn emit(&self, b: &mut FunctionBuilder<'_>, [factor, bias]: [Value; 2], mut x: Value) -> Value {
        if self.factor {
            x = b.ins().fmul(x, factor);
        }
        if self.bias {
            x = b.ins().fadd(x, bias);
        }
        self.activate(b, x)
    }

    fn activate(&self, b: &mut FunctionBuilder<'_>, x: Value) -> Value {
        match self.activation {
            Some(activation) => Elementwise(b).unary(activation, x),
            None => x,
        }
    }
}

impl Finish {
    /// For sums of `element`; `widened` says whether parts of sums of i16 are in totals.
    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        element: Element,
        widened: bool,
        epilogue: Epilogue,
    ) -> Result<Finish, JitError> {
        let function = compiler.function(&Channels {
            element,
            vector: isa.bytes(),
            widened,
            before: epilogue.before,
            partial: epilogue.partial,
            residual: epilogue.residual,
            finishing: Finishing::of(&epilogue),
            measured: epilogue.measured,
        })?;
        Ok(Finish { epilogue, element, widened, function })
    }

    /// Its function, which multiplies where the epilogue does.
    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Makes outputs of sums.
    ///
    /// # Safety
    /// Nobody else accesses the outputs at the pieces of all channels.
    pub unsafe fn channels<T: Number>(&self, sums: &Sums<'_, T>, io: &Io<'_>) {
        let &Sums { sums, totals, step, pieces, numbers, origin, stride, sample } = sums;
        let Some(last) = numbers.len().checked_sub(1).filter(|_| !pieces.is_empty()) else { return };
        let reach = |first: fn(&Piece) -> u32| {
            pieces.iter().map(|p| first(p) as usize + p.count as usize).max().unwrap_or(0)
        };
        let slack = if self.element == Element::I16 { SLACK } else { 0 };
        let end = last * step + reach(|p| p.from);
        assert!(T::ELEMENT == self.element && end + slack <= sums.len(), "sums of every piece");
        assert!(!self.widened || end <= totals.len(), "totals of every piece");
        let outputs = origin..origin + last * stride + reach(|p| p.to);
        let residual = io.residual.map_or(&[][..], |residual| &residual[outputs.clone()]);
        let mut lanes = [0.0; MAX_LANES];
        let operands = Operands {
            sums: sums.as_ptr().cast(),
            totals: totals.as_ptr(),
            residual: residual.as_ptr(),
            output: io.output_start(outputs),
            numbers: numbers.as_ptr(),
            channels: numbers.len(),
            step,
            stride,
            pieces: pieces.as_ptr(),
            count: pieces.len(),
            lanes: &mut lanes,
            masks: masks(),
        };
        // SAFETY: the function was emitted for exactly this type; `entry()` is its start. Every piece lies within the sums, the
        // outputs and, if there is one, the residual (checked above); only the pieces are written, which are the caller's.
        unsafe {
            let finish = std::mem::transmute::<*const u8, ChannelsFunction>(self.function.entry());
            finish(&operands);
        }
        if self.epilogue.measured.is_some() {
            io.raise(1, sample, greatest(lanes));
        }
    }
}

impl Code for Channels {
    fn parameters(&self) -> usize {
        1
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[operands] = arguments else { return };
        let mut field = |offset: usize| load(b, types::I64, operands, offset);
        let sums = field(offset_of!(Operands, sums));
        let totals = field(offset_of!(Operands, totals));
        let residual = field(offset_of!(Operands, residual));
        let output = field(offset_of!(Operands, output));
        let numbers = field(offset_of!(Operands, numbers));
        let channels = field(offset_of!(Operands, channels));
        let step = field(offset_of!(Operands, step));
        let stride = field(offset_of!(Operands, stride));
        let pieces = field(offset_of!(Operands, pieces));
        let length = field(offset_of!(Operands, count));
        let lanes = field(offset_of!(Operands, lanes));
        let bytes = self.element.bytes();
        count(b, channels, &[sums, totals, residual, output, numbers], |b, state| {
            let &[sums, totals, residual, output, numbers] = state else { return vec![] };
            let factor = splat_from(b, numbers);
            let bias = b.ins().iadd_imm_s(numbers, 4);
            let bias = splat_from(b, bias);
            count(b, length, &[pieces], |b, state| {
                let piece = state[0];
                let [from, to, numbers] = [0, 4, 8].map(|offset| b.ins().uload32(flags(), piece, offset));
                let places = [(sums, from, bytes), (output, to, 4), (residual, to, 4), (totals, from, 4)];
                let streams = places.map(|(start, first, bytes)| {
                    let offset = b.ins().ishl_imm_u(first, bytes.ilog2() as i64);
                    (b.ins().iadd(start, offset), bytes)
                });
                run(b, numbers, &streams, |b, part, addresses| {
                    let &[sums, output, residual, totals] = addresses else { return };
                    let mut x = match self.element {
                        Element::F32 => part.load(b, sums),
                        Element::I16 => {
                            let mut sum = part.load_i16(b, sums);
                            if self.widened {
                                let total = part.load_i32(b, totals);
                                sum = b.ins().iadd(sum, total);
                            }
                            if self.before == Before::Sum {
                                let before = part.load_i32(b, output);
                                sum = b.ins().iadd(before, sum);
                            }
                            if self.partial {
                                return part.store(b, sum, output);
                            }
                            b.ins().fcvt_from_sint(types::F32X4, sum)
                        }
                    };
                    if self.before == Before::Sum && self.element == Element::F32 {
                        let before = part.load(b, output);
                        x = b.ins().fadd(before, x);
                    }
                    if self.finishing.factor {
                        x = b.ins().fmul(x, factor);
                    }
                    if self.before == Before::Value {
                        let before = part.load(b, output);
                        x = b.ins().fadd(before, x);
                    }
                    if self.finishing.bias {
                        x = b.ins().fadd(x, bias);
                    }
                    if self.residual {
                        let residual = part.load(b, residual);
                        x = b.ins().fadd(x, residual);
                    }
                    x = self.finishing.activate(b, x);
                    part.store(b, x, output);
                    if let Some(measured) = self.measured {
                        let so_far = load(b, types::F32X4, lanes, 0);
                        let largest = Elementwise(b).largest_finite(so_far, x, measured);
                        store(b, largest, lanes, 0);
                    }
                });
                vec![b.ins().iadd_imm_s(piece, size_of::<Piece>() as i64)]
            });
            let advance = |b: &mut FunctionBuilder<'_>, address, numbers, bytes: usize| {
                let offset = b.ins().ishl_imm_u(numbers, bytes.ilog2() as i64);
                b.ins().iadd(address, offset)
            };
            vec![
                advance(b, sums, step, bytes),
                advance(b, totals, step, 4),
                advance(b, residual, stride, 4),
                advance(b, output, stride, 4),
                b.ins().iadd_imm_s(numbers, 8),
            ]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        if self.finishing.is_simple() { wide::channels(self) } else { None }
    }
}
