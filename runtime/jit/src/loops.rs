//! The words in which kernels are emitted: counted loops, loads and stores, and runs of numbers four at a time.
//!
//! Vectors are 128 bits, [`LANES`] numbers wide.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

/// Numbers in a vector.
pub(crate) const LANES: usize = 4;
/// Bytes of a vector.
pub(crate) const VECTOR: usize = 16;

/// A loop that runs `times` over `state`; the body maps one state to the next. Returns the last.
///
/// The test is at the head, so that each result of the body has one use, the jump back: Cranelift folds a load into an
/// instruction only if nothing, however indirectly, uses the result twice.
pub(crate) fn count(
    b: &mut FunctionBuilder<'_>,
    times: Value,
    state: &[Value],
    body: impl FnOnce(&mut FunctionBuilder<'_>, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let (head, turn, exit) = (b.create_block(), b.create_block(), b.create_block());
    b.append_block_param(head, types::I64);
    for &value in state {
        let ty = b.func.dfg.value_type(value);
        b.append_block_param(head, ty);
    }
    jump(b, head, times, state);
    b.switch_to_block(head);
    let parameters = b.block_params(head).to_vec();
    let again = b.ins().icmp_imm_s(IntCC::NotEqual, parameters[0], 0);
    b.ins().brif(again, turn, &[], exit, &[]);
    b.switch_to_block(turn);
    let next = body(b, &parameters[1..]);
    let left = b.ins().iadd_imm_s(parameters[0], -1);
    jump(b, head, left, &next);
    b.switch_to_block(exit);
    parameters[1..].to_vec()
}

fn jump(b: &mut FunctionBuilder<'_>, to: ir::Block, first: Value, rest: &[Value]) {
    let arguments: Vec<ir::BlockArg> = [first].iter().chain(rest).map(|&v| v.into()).collect();
    b.ins().jump(to, &arguments);
}

/// Which numbers of a run a turn of [`run`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The next four.
    Vector,
    /// The next one, in the first lane of a vector.
    Single,
}

impl Part {
    /// How many numbers.
    fn numbers(self) -> usize {
        match self {
            Part::Vector => LANES,
            Part::Single => 1,
        }
    }

    /// The i16 at an address, as i32.
    pub fn load_i16(self, b: &mut FunctionBuilder<'_>, address: Value) -> Value {
        match self {
            Part::Vector => b.ins().sload16x4(flags(), address, 0),
            Part::Single => {
                let number = b.ins().sload16(types::I32, flags(), address, 0);
                b.ins().splat(types::I32X4, number)
            }
        }
    }

    /// The i32 at an address.
    pub fn load_i32(self, b: &mut FunctionBuilder<'_>, address: Value) -> Value {
        match self {
            Part::Vector => load(b, types::I32X4, address, 0),
            Part::Single => {
                let number = load(b, types::I32, address, 0);
                b.ins().splat(types::I32X4, number)
            }
        }
    }

    /// The numbers at an address, as a vector.
    pub fn load(self, b: &mut FunctionBuilder<'_>, address: Value) -> Value {
        match self {
            Part::Vector => load(b, types::F32X4, address, 0),
            Part::Single => splat_from(b, address),
        }
    }

    /// Writes the numbers.
    pub fn store(self, b: &mut FunctionBuilder<'_>, value: Value, address: Value) {
        let value = match self {
            Part::Vector => value,
            Part::Single => b.ins().extractlane(value, 0u8),
        };
        store(b, value, address, 0);
    }
}

/// A loop over `numbers` numbers: turns of four, then turns of one. `body` gets the addresses, which advance by so many bytes
/// for each number.
pub(crate) fn run(
    b: &mut FunctionBuilder<'_>,
    numbers: Value,
    addresses: &[(Value, usize)],
    body: impl Fn(&mut FunctionBuilder<'_>, Part, &[Value]),
) {
    let vectors = b.ins().ushr_imm_u(numbers, LANES.ilog2() as i64);
    let singles = b.ins().band_imm_u(numbers, LANES as i64 - 1);
    let mut state: Vec<Value> = addresses.iter().map(|(address, _)| *address).collect();
    for (part, turns) in [(Part::Vector, vectors), (Part::Single, singles)] {
        state = count(b, turns, &state, |b, state| {
            body(b, part, state);
            let steps = addresses.iter().map(|(_, bytes)| (bytes * part.numbers()) as i64);
            state.iter().zip(steps).map(|(&address, step)| b.ins().iadd_imm_s(address, step)).collect()
        });
    }
}

/// A vector of zeros.
pub(crate) fn zero(b: &mut FunctionBuilder<'_>, ty: Type) -> Value {
    let constant = b.func.dfg.constants.insert(vec![0u8; VECTOR].into());
    b.ins().vconst(ty, constant)
}

/// A number in every lane.
pub(crate) fn splat(b: &mut FunctionBuilder<'_>, number: f32) -> Value {
    let bytes: Vec<u8> = std::iter::repeat_n(number.to_bits().to_le_bytes(), LANES).flatten().collect();
    let constant = b.func.dfg.constants.insert(bytes.into());
    b.ins().vconst(types::F32X4, constant)
}

/// The number at an address, in every lane.
pub(crate) fn splat_from(b: &mut FunctionBuilder<'_>, address: Value) -> Value {
    let number = load(b, types::F32, address, 0);
    b.ins().splat(types::F32X4, number)
}

/// A vector's bytes as a vector of another type.
pub(crate) fn bytes(b: &mut FunctionBuilder<'_>, value: Value, ty: Type) -> Value {
    b.ins().bitcast(ty, MemFlagsData::new().with_endianness(ir::Endianness::Little), value)
}

/// Never traps; may be unaligned, since taps displace.
pub(crate) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

pub(crate) fn load(b: &mut FunctionBuilder<'_>, ty: Type, address: Value, offset: usize) -> Value {
    b.ins().load(ty, flags(), address, displacement(offset))
}

pub(crate) fn store(b: &mut FunctionBuilder<'_>, value: Value, address: Value, offset: usize) {
    b.ins().store(flags(), value, address, displacement(offset));
}

fn displacement(bytes: usize) -> Offset32 {
    Offset32::new(i32::try_from(bytes).expect("tables are kilobytes"))
}
