//! Which buffers share memory: offsets in one arena by liveness.
//!
//! A buffer lives from the step that writes it (an input: from before the first step) to the last step that reads it (an
//! output: to the end). Two buffers whose lives overlap never overlap in memory. A `reshape` moves nothing: its output
//! is its input's memory, and they live as one. The layout depends on the program and its shapes alone.

use std::ops::Range;
use twnc_program::step::{Move, MoveKind};
use twnc_program::{BufferId, Operand, Program, StepKind};

/// Every buffer starts at a multiple of this many bytes, a cache line and the widest vector.
pub(crate) const ALIGNMENT: usize = 64;

/// Where each buffer lies in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The bytes of each buffer, by its number.
    pub(crate) ranges: Vec<Range<usize>>,
    /// The bytes of the arena.
    pub(crate) size: usize,
}

/// Buffers that are one piece of memory, and when they live.
struct Group {
    bytes: usize,
    /// First and last step, both included; a step's number plus one, so that inputs live from 0.
    life: (usize, usize),
}

/// Lays out the buffers of a program, given the size of each in bytes.
pub(crate) fn plan(program: &Program, bytes: &[usize]) -> Layout {
    let owner = alias_owners(program);
    let mut groups: Vec<Option<Group>> = bytes.iter().map(|_| None).collect();
    let mut touch = |buffer: BufferId, time: usize| {
        let group = groups[owner[buffer.index()]].get_or_insert(Group { bytes: 0, life: (time, time) });
        group.bytes = group.bytes.max(bytes[buffer.index()]);
        group.life = (group.life.0.min(time), group.life.1.max(time));
    };
    program.inputs.iter().for_each(|port| touch(port.buffer, 0));
    for (number, step) in program.steps.iter().enumerate() {
        let read = step.operands().into_iter().filter_map(|operand| match operand {
            Operand::Buffer(buffer) => Some(buffer),
            Operand::Constant(_) => None,
        });
        step.outputs().iter().copied().chain(read).for_each(|buffer| touch(buffer, number + 1));
    }
    program.outputs.iter().for_each(|port| touch(port.buffer, program.steps.len() + 1));

    let (offsets, size) = place(&groups);
    let range = |buffer: usize| {
        let start = offsets[owner[buffer]];
        start..start + bytes[buffer]
    };
    Layout { ranges: (0..bytes.len()).map(range).collect(), size }
}

/// Whether a step is nothing but another view of its input's memory.
pub(crate) fn is_alias(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::Move(Move { kind: MoveKind::Reshape, inputs, .. }) if matches!(inputs[..], [Operand::Buffer(_)])
    )
}

/// For each buffer the one whose memory it is: its own number, or that of the buffer it is a reshape of.
fn alias_owners(program: &Program) -> Vec<usize> {
    let mut owner: Vec<usize> = (0..program.buffers.len()).collect();
    for step in program.steps.iter().filter(|step| is_alias(&step.kind)) {
        if let StepKind::Move(Move { inputs, output, .. }) = &step.kind
            && let [Operand::Buffer(input)] = inputs[..]
        {
            owner[output.index()] = owner[input.index()];
        }
    }
    owner
}

/// Offsets by the rule "largest first, at the lowest place where it fits", which comes close to the least possible size.
fn place(groups: &[Option<Group>]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; groups.len()];
    let mut order: Vec<(usize, &Group)> =
        groups.iter().enumerate().filter_map(|(i, g)| Some((i, g.as_ref()?))).collect();
    order.sort_by_key(|(i, group)| (std::cmp::Reverse(group.bytes), *i));
    let mut placed: Vec<(usize, &Group)> = vec![];
    let mut size = 0;
    for (i, group) in order {
        // What overlaps in time, by place; the first gap that is wide enough is taken.
        let overlaps = |other: &Group| other.life.0 <= group.life.1 && group.life.0 <= other.life.1;
        let mut busy: Vec<Range<usize>> = placed
            .iter()
            .filter(|(_, other)| overlaps(other))
            .map(|(j, other)| offsets[*j]..offsets[*j] + other.bytes)
            .collect();
        busy.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in busy {
            if start + group.bytes <= range.start {
                break;
            }
            start = start.max(range.end.next_multiple_of(ALIGNMENT));
        }
        offsets[i] = start;
        size = size.max(start + group.bytes);
        placed.push((i, group));
    }
    (offsets, size.next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twnc_program::scalar::Unary;
    use twnc_program::step::{Map, MapInstruction};
    use twnc_program::{Buffer, Dim, ElementType, Port, Step};

    /// A chain of maps over `n` buffers, each reading the one before, with reshapes where `alias` says so.
    fn chain(n: u32, alias: &[u32]) -> Program {
        let buffer = Buffer { element: ElementType::F32, shape: vec![Dim::Fixed(16)] };
        let port = |name: &str, buffer| Port { name: name.into(), buffer: BufferId(buffer) };
        let step = |i: u32| {
            let (inputs, output) = (vec![Operand::Buffer(BufferId(i))], BufferId(i + 1));
            let kind = if alias.contains(&(i + 1)) {
                StepKind::Move(Move { kind: MoveKind::Reshape, inputs, output })
            } else {
                StepKind::Map(Map { inputs, code: vec![MapInstruction::Unary(Unary::Relu, 0)], output })
            };
            Step { name: String::new(), kind }
        };
        Program {
            buffers: vec![buffer; n as usize],
            steps: (0..n - 1).map(step).collect(),
            inputs: vec![port("x", 0)],
            outputs: vec![port("y", n - 1)],
            ..Program::default()
        }
    }

    #[test]
    fn a_chain_needs_two_places() {
        let layout = plan(&chain(6, &[]), &[64; 6]);
        assert_eq!(layout.size, 128);
        assert!(layout.ranges.windows(2).all(|pair| pair[0] != pair[1]), "{layout:?}");
    }

    #[test]
    fn a_reshape_is_its_input() {
        let layout = plan(&chain(4, &[2]), &[64; 4]);
        assert_eq!(layout.ranges[1], layout.ranges[2]);
        assert_ne!(layout.ranges[2], layout.ranges[3]);
    }
}
