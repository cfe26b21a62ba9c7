//! Which buffers share memory: offsets in one arena by liveness.
//!
//! A buffer lives from the step that writes it (an input: from before the first step) to the last step that reads it (an
//! output: to the end). Two buffers whose lives overlap never overlap in memory. Views ([`Views`]) have no memory of their own: they live as one with
//! what they are part of. The layout depends on the program and its shapes alone.
//!
//! Up to [`MAX_SEARCHED`] pieces of memory each is compared with all that are placed, which packs best. A file can ask for a million; past the
//! bound they are placed in the order in which they are born, in O(n log n).

use crate::views::{Place, Views};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::ops::Range;
use twnc_program::{BufferId, Operand, Program};

/// Every buffer starts at a multiple of this many bytes, a cache line and the widest vector.
const ALIGNMENT: usize = size_of::<twnc_jit::Line>();

/// How many pieces of memory are placed by search. Large networks have some hundred.
const MAX_SEARCHED: usize = 8192;

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

/// How execution differs from the order of a program's steps; they go by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Those that run only with the next one.
    pub(crate) ahead: HashSet<usize>,
    /// Those that write a buffer of a later one's too.
    pub(crate) early: HashMap<usize, BufferId>,
}

/// Lays out the buffers of a program, given the size of each in bytes, their views, and how steps run.
pub(crate) fn plan(program: &Program, bytes: &[usize], views: &Views, order: &Order) -> Layout {
    let mut groups: Vec<Option<Group>> = bytes.iter().map(|_| None).collect();
    let mut touch = |buffer: BufferId, time: usize| {
        let Place { owner, offset } = views.place(buffer);
        let group = groups[owner].get_or_insert(Group { bytes: 0, life: (time, time) });
        group.bytes = group.bytes.max(offset + bytes[buffer.index()]);
        group.life = (group.life.0.min(time), group.life.1.max(time));
    };
    program.inputs.iter().for_each(|port| touch(port.buffer, 0));
    for (number, step) in program.steps.iter().enumerate() {
        let read = step.operands().filter_map(|operand| match operand {
            Operand::Buffer(buffer) => Some(buffer),
            Operand::Constant(_) => None,
        });
        let time = number + 1 + usize::from(order.ahead.contains(&number));
        let written = step.outputs().iter().chain(order.early.get(&number)).copied();
        written.chain(read).for_each(|buffer| {
            touch(buffer, number + 1);
            touch(buffer, time);
        });
    }
    program.outputs.iter().for_each(|port| touch(port.buffer, program.steps.len() + 1));

    let (offsets, size) = place(&groups);
    let range = |(place, &bytes): (&Place, &usize)| {
        let start = offsets[place.owner] + place.offset;
        start..start + bytes
    };
    Layout { ranges: views.places.iter().zip(bytes).map(range).collect(), size }
}

/// Buffers that need not be in the arena: the caller's arrays can stand in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// By a buffer's number: that of the input whose elements it has, and which of its bytes it is.
    pub(crate) inputs: Vec<Option<(usize, Range<usize>)>>,
    /// By a buffer's number: that of the output of which it is these bytes, and which no step reads.
    pub(crate) outputs: Vec<Option<(usize, Range<usize>)>>,
}

/// Finds what the caller's arrays can stand for: memory of one input and of no output; and memory of one output, all of it, that no step reads, and that
/// steps write that write nothing else.
pub(crate) fn ends(program: &Program, bytes: &[usize], views: &Views, order: &Order) -> Ends {
    let (mut inputs, mut outputs) = (vec![None; bytes.len()], vec![None; bytes.len()]);
    let mut taken = vec![false; bytes.len()];
    for (number, port) in program.outputs.iter().enumerate() {
        let Place { owner, .. } = views.place(port.buffer);
        let whole = bytes[owner] == bytes[port.buffer.index()];
        taken[owner] |= outputs[owner].replace(number).is_some() || !whole;
    }
    for (number, port) in program.inputs.iter().enumerate() {
        let Place { owner, .. } = views.place(port.buffer);
        inputs[owner] = outputs[owner].is_none().then_some(number);
        taken[owner] = true;
    }
    for (number, (step, copies)) in program.steps.iter().zip(&views.copies).enumerate() {
        let mut read = |buffer: BufferId| taken[views.place(buffer).owner] = true;
        if let Some(copies) = copies {
            copies.iter().for_each(|part| read(part.buffer));
            continue;
        }
        for operand in step.operands() {
            if let Operand::Buffer(buffer) = operand {
                read(buffer);
            }
        }
        if step.outputs().len() != 1 || order.early.contains_key(&number) {
            step.outputs().iter().for_each(|&buffer| taken[views.place(buffer).owner] = true);
        }
    }
    let of = |ends: &[Option<usize>], free: &dyn Fn(usize) -> bool| {
        let end = |(&Place { owner, offset }, &bytes): (&Place, &usize)| {
            ends[owner].filter(|_| free(owner)).map(|number| (number, offset..offset + bytes))
        };
        views.places.iter().zip(bytes).map(end).collect()
    };
    Ends { inputs: of(&inputs, &|_| true), outputs: of(&outputs, &|owner| !taken[owner]) }
}

/// An offset for each group, and the size of it all. Groups without bytes lie at 0.
fn place(groups: &[Option<Group>]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; groups.len()];
    let numbered = groups.iter().enumerate().filter_map(|(i, group)| Some((i, group.as_ref()?)));
    let placed: Vec<(usize, &Group)> = numbered.filter(|(_, group)| group.bytes > 0).collect();
    match placed.len() <= MAX_SEARCHED {
        true => place_by_size(placed.clone(), &mut offsets),
        false => place_by_birth(placed.clone(), &mut offsets),
    }
    let size = placed.iter().map(|&(i, group)| offsets[i] + group.bytes).max().unwrap_or(0);
    (offsets, size.next_multiple_of(ALIGNMENT))
}

/// Offsets by the rule "largest first, at the lowest place where it fits", which comes close to the least possible size.
fn place_by_size(mut groups: Vec<(usize, &Group)>, offsets: &mut [usize]) {
    groups.sort_by_key(|(i, group)| (Reverse(group.bytes), *i));
    // What has a place, by its offset.
    let mut placed: Vec<(usize, &Group)> = Vec::with_capacity(groups.len());
    for (i, group) in groups {
        let overlaps = |other: &Group| other.life.0 <= group.life.1 && group.life.0 <= other.life.1;
        // Of what lives at the same time, the first gap that is wide enough is taken.
        let mut start = 0;
        for (offset, other) in placed.iter().filter(|(_, other)| overlaps(other)) {
            if start + group.bytes <= *offset {
                break;
            }
            start = start.max((offset + other.bytes).next_multiple_of(ALIGNMENT));
        }
        offsets[i] = start;
        let at = placed.partition_point(|(offset, _)| *offset <= start);
        placed.insert(at, (start, group));
    }
}

/// Offsets by the rule "in the order of birth, in the smallest free gap that is wide enough, else at the end".
fn place_by_birth(mut groups: Vec<(usize, &Group)>, offsets: &mut [usize]) {
    groups.sort_by_key(|(i, group)| (group.life.0, Reverse(group.bytes), *i));
    let mut gaps = Gaps::default();
    // What has a place and lives: last step, offset, bytes; the first to die on top.
    let mut living = BinaryHeap::new();
    let mut end = 0;
    for (i, group) in groups {
        while let Some(&Reverse((last, offset, bytes))) = living.peek()
            && last < group.life.0
        {
            living.pop();
            gaps.free(offset, bytes);
        }
        let bytes = group.bytes.next_multiple_of(ALIGNMENT);
        offsets[i] = gaps.take(bytes).unwrap_or_else(|| {
            end += bytes;
            end - bytes
        });
        living.push(Reverse((group.life.1, offsets[i], bytes)));
    }
}

/// Free memory between what lives; neighbours are joined.
#[derive(Default)]
struct Gaps {
    by_offset: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
}

impl Gaps {
    /// Takes the start of the smallest gap of at least `bytes`.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let &(size, offset) = self.by_size.range((bytes, 0)..).next()?;
        self.remove(offset, size);
        if size > bytes {
            self.insert(offset + bytes, size - bytes);
        }
        Some(offset)
    }

    fn free(&mut self, mut offset: usize, mut bytes: usize) {
        if let Some((&before, &size)) = self.by_offset.range(..offset).next_back()
            && before + size == offset
        {
            self.remove(before, size);
            (offset, bytes) = (before, size + bytes);
        }
        if let Some(&size) = self.by_offset.get(&(offset + bytes)) {
            self.remove(offset + bytes, size);
            bytes += size;
        }
        self.insert(offset, bytes);
    }

    fn insert(&mut self, offset: usize, size: usize) {
        self.by_offset.insert(offset, size);
        self.by_size.insert((size, offset));
    }

    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twnc_program::scalar::Unary;
    use twnc_program::step::{Map, MapInstruction, Move, MoveKind};
    use twnc_program::{Buffer, Dim, ElementType, Port, Step, StepKind};

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

    /// A program with the bytes of its buffers, and their views.
    fn viewed(program: &Program) -> (Vec<usize>, Views) {
        let shapes = program.resolve(&[vec![16]]).unwrap();
        let bytes = shapes.bytes(program);
        let views = Views::of(program, &shapes, &bytes);
        (bytes, views)
    }

    fn planned(program: &Program) -> Layout {
        let (bytes, views) = viewed(program);
        plan(program, &bytes, &views, &Order::default())
    }

    #[test]
    fn a_chain_needs_two_places() {
        let layout = planned(&chain(6, &[]));
        assert_eq!(layout.size, 128);
        assert!(layout.ranges.windows(2).all(|pair| pair[0] != pair[1]), "{layout:?}");
    }

    #[test]
    fn what_runs_with_the_next_step_reads_then() {
        // Of 0 -> 1 -> 2 -> 3, the step from 0 to 1 runs with that to 2: 0 and 2 live at once, and 1 is nothing.
        let program = chain(4, &[]);
        let of = |order: &Order| plan(&program, &[64, 0, 64, 64], &viewed(&program).1, order);
        let layout = of(&Order { ahead: HashSet::from([0]), ..Order::default() });
        assert_ne!(layout.ranges[0], layout.ranges[2]);
        assert_eq!(layout.size, 128);
        assert_eq!(of(&Order::default()).ranges[0], layout.ranges[0]);
    }

    #[test]
    fn what_an_earlier_step_writes_too_lives_from_there() {
        // Of 0 -> 1 -> 2 -> 3, the step from 0 to 1 writes to 3 too: it lives with all others.
        let program = chain(4, &[]);
        let (bytes, views) = viewed(&program);
        let order = Order { early: HashMap::from([(0, BufferId(3))]), ..Order::default() };
        assert_eq!(plan(&program, &bytes, &views, &Order::default()).size, 128);
        assert_eq!(plan(&program, &bytes, &views, &order).size, 192);
        // A step that writes two buffers writes none where the caller wants it.
        let mut program = program;
        program.outputs = vec![Port { name: "y".into(), buffer: BufferId(1) }];
        program.steps.truncate(1);
        let written = |order: &Order| ends(&program, &bytes, &views, order).outputs[1].is_some();
        assert_eq!([written(&Order::default()), written(&order)], [true, false]);
    }

    #[test]
    fn a_reshape_is_its_input() {
        let layout = planned(&chain(4, &[2]));
        assert_eq!(layout.ranges[1], layout.ranges[2]);
        assert_ne!(layout.ranges[2], layout.ranges[3]);
    }

    #[test]
    fn the_caller_s_arrays_stand_for_ends_that_nothing_else_is_at() {
        // x -> 1 = relu -> 2 = reshape -> y = 3 = relu
        let whole = |ends: [Option<usize>; 4]| ends.map(|end| end.map(|number| (number, 0..64))).into();
        let both = |inputs: [Option<usize>; 4], outputs: [Option<usize>; 4]| Ends {
            inputs: whole(inputs),
            outputs: whole(outputs),
        };
        let ends_of = |alias: &[u32], outputs: &[u32]| {
            let mut program = chain(4, alias);
            let port = |&buffer: &u32| Port { name: format!("y{buffer}"), buffer: BufferId(buffer) };
            program.outputs = outputs.iter().map(port).collect();
            let (bytes, views) = viewed(&program);
            ends(&program, &bytes, &views, &Order::default())
        };
        let (x, y) = (Some(0), Some(0));
        assert_eq!(ends_of(&[2], &[3]), both([x, None, None, None], [None, None, None, y]));
        // A reshape is at the same end.
        assert_eq!(ends_of(&[1, 3], &[3]), both([x, x, None, None], [None, None, y, y]));
        // An output that a step reads, two outputs of one memory, an output that is an input.
        assert_eq!(ends_of(&[], &[2, 3]), both([x, None, None, None], [None, None, None, Some(1)]));
        assert_eq!(ends_of(&[3], &[2, 3]), both([x, None, None, None], [None; 4]));
        assert_eq!(ends_of(&[1, 2, 3], &[3]), both([None; 4], [None; 4]));
    }

    /// Groups with seeded sizes and lives.
    fn groups(count: usize, seed: u64) -> Vec<Option<Group>> {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as usize
        };
        let group = |i: usize| {
            let (bytes, first) = ([0, 1, 64, 65, 640, 6400][random(6)], (i + random(9)) / 2);
            Some(Group { bytes, life: (first, first + random(1 + i as u64 % 12)) })
        };
        (0..count).map(group).collect()
    }

    #[test]
    fn what_lives_at_the_same_time_never_shares_memory() {
        type Placement = fn(Vec<(usize, &Group)>, &mut [usize]);
        for (name, place) in [("size", place_by_size as Placement), ("birth", place_by_birth)] {
            for seed in 0..20 {
                let groups = groups(150, seed);
                let all: Vec<_> = groups.iter().flatten().enumerate().filter(|(_, g)| g.bytes > 0).collect();
                let mut offsets = vec![0; groups.len()];
                place(all.clone(), &mut offsets);
                for (i, a) in &all {
                    assert_eq!(offsets[*i] % ALIGNMENT, 0);
                    for (j, b) in all.iter().filter(|(j, _)| j < i) {
                        let apart = a.life.1 < b.life.0 || b.life.1 < a.life.0;
                        let (x, y) = (offsets[*i]..offsets[*i] + a.bytes, offsets[*j]..offsets[*j] + b.bytes);
                        assert!(
                            apart || x.end <= y.start || y.end <= x.start,
                            "by {name}, seed {seed}: {i}, {j}"
                        );
                    }
                }
                // No arena is smaller than what lives at once; neither way takes much more.
                let alive = |time: usize| {
                    let living = all.iter().filter(|(_, g)| (g.life.0..=g.life.1).contains(&time));
                    living.map(|(_, g)| g.bytes.next_multiple_of(ALIGNMENT)).sum::<usize>()
                };
                let least = (0..100).map(alive).max().unwrap_or(0);
                let size = all.iter().map(|(i, g)| offsets[*i] + g.bytes).max().unwrap_or(0);
                assert!(
                    size <= least * 3 / 2,
                    "by {name}, seed {seed}: {size} bytes where {least} live at once"
                );
            }
        }
    }

    #[test]
    fn a_million_buffers_are_placed_in_time_and_well() {
        let count = 1_000_000;
        let layout = planned(&chain(count, &[]));
        assert_eq!(layout.size, 128);
        // All at once, the worst for a search: as many as are searched, and more.
        let all: Vec<_> =
            (0..count as usize).map(|i| Some(Group { bytes: 1 + i % 999, life: (0, 1) })).collect();
        for together in [&all[..MAX_SEARCHED], &all] {
            let needed = together.iter().flatten().map(|group| group.bytes.next_multiple_of(ALIGNMENT)).sum();
            assert_eq!(place(together).1, needed);
        }
    }
}
