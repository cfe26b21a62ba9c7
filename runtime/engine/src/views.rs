//! Which buffers are views: parts of another buffer's memory, so that the step that makes them moves nothing.
//!
//! * A `reshape` is all of its input.
//! * A `slice` without a step is a part of its input, where its elements lie side by side: along the first axis whose size is not 1.
//! * The operands of a `concat` along such an axis are parts of its output, so that whatever computes them writes them where they belong: those that
//!   have memory of their own, and no place in this or an earlier `concat` yet. The others are copied, among them a network's inputs, which lie where the caller
//!   has them. A `concat` of constants, and one that would copy everything, is a step like any other.
//!
//! So products of one input that are one product, and go different ways behind it, cost no copy of a sample, and neither does what joins them again. A batch of several
//! samples has their parts apart: there both steps copy.

use twnc_program::step::{Move, MoveKind};
use twnc_program::{BufferId, Operand, Program, Shapes, StepKind};

/// Where a buffer's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the buffer whose memory it is part of; its own where it has memory of its own.
    pub(crate) owner: usize,
    /// Where it begins there, in bytes.
    pub(crate) offset: usize,
}

/// The views of a program for certain shapes.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    /// By a buffer's number. No owner is a view.
    pub(crate) places: Vec<Place>,
    /// By a step's number, what is left to copy of it because what it makes is a view, or its operands are; `None` for any other step.
    pub(crate) copies: Vec<Option<Vec<Part>>>,
}

/// A buffer that is copied to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) buffer: BufferId,
    /// Where it begins there, in bytes.
    pub(crate) offset: usize,
}

impl Views {
    /// Finds them; `bytes` is the size of each buffer.
    pub(crate) fn of(program: &Program, shapes: &Shapes, bytes: &[usize]) -> Views {
        let mut forest = Forest::new(bytes.len());
        let mut is_input = vec![false; bytes.len()];
        program.inputs.iter().for_each(|port| is_input[port.buffer.index()] = true);
        let copies = program.steps.iter().map(|step| match &step.kind {
            StepKind::Move(Move { kind: MoveKind::Concat { axis }, inputs, output }) => {
                let parts = parts(inputs, bytes).filter(|_| is_first(shapes.of(*output), *axis))?;
                let copied = |part: &Part| {
                    let Place { owner, offset } = forest.find(part.buffer.index());
                    // What is placed has a place from then on, and is no owner any more.
                    let whole = offset == 0 && bytes[owner] == bytes[part.buffer.index()];
                    let placed = whole && !is_input[owner] && owner != output.index();
                    if placed {
                        forest.place(owner, output.index(), part.offset);
                    }
                    !placed
                };
                let count = parts.len();
                let copies: Vec<Part> = parts.into_iter().filter(copied).collect();
                (copies.len() < count).then_some(copies)
            }
            StepKind::Move(Move { kind, inputs, output }) => {
                let &[Operand::Buffer(input)] = inputs.as_slice() else { return None };
                let offset = offset(kind, shapes, bytes, input, *output)?;
                forest.place(output.index(), input.index(), offset);
                Some(vec![])
            }
            _ => None,
        });
        let copies = copies.collect();
        Views { places: (0..bytes.len()).map(|buffer| forest.find(buffer)).collect(), copies }
    }

    /// Where a buffer's bytes are.
    pub(crate) fn place(&self, buffer: BufferId) -> Place {
        self.places[buffer.index()]
    }
}

/// Where the result of a move that is a view of its input begins in it, in bytes.
fn offset(
    kind: &MoveKind,
    shapes: &Shapes,
    bytes: &[usize],
    input: BufferId,
    output: BufferId,
) -> Option<usize> {
    match kind {
        MoveKind::Reshape => Some(0),
        MoveKind::Slice { axis, start, step } => {
            let (whole, part) = (shapes.of(input), shapes.of(output));
            let size = *whole.get(*axis)?;
            if !is_first(whole, *axis) || (*step != 1 && part[*axis] > 1) || size == 0 {
                return None;
            }
            let start = usize::try_from(start.eval(&shapes.bindings).ok()?).ok()?;
            let offset = start.checked_mul(bytes[input.index()] / size)?;
            let end = offset.checked_add(bytes[output.index()])?;
            (end <= bytes[input.index()]).then_some(offset)
        }
        _ => None,
    }
}

/// The operands of a `concat` with where they begin in what it makes; `None` where one is a constant.
fn parts(inputs: &[Operand], bytes: &[usize]) -> Option<Vec<Part>> {
    let mut end = 0;
    let part = |operand: &Operand| match *operand {
        Operand::Buffer(buffer) => {
            let offset = end;
            end += bytes[buffer.index()];
            Some(Part { buffer, offset })
        }
        Operand::Constant(_) => None,
    };
    inputs.iter().map(part).collect()
}

/// Whether what lies along an axis lies side by side: all axes before it have one index.
fn is_first(shape: &[usize], axis: usize) -> bool {
    shape.iter().take(axis).all(|&size| size == 1)
}

/// Buffers, each with the one that it is part of, until everything is placed.
struct Forest(Vec<Place>);

impl Forest {
    fn new(count: usize) -> Forest {
        Forest((0..count).map(|owner| Place { owner, offset: 0 }).collect())
    }

    /// Makes a buffer that has memory of its own part of another.
    fn place(&mut self, part: usize, of: usize, offset: usize) {
        self.0[part] = Place { owner: of, offset };
    }

    /// Where a buffer's bytes are in the memory that they are part of in the end. What was walked is shortened.
    fn find(&mut self, buffer: usize) -> Place {
        let mut path = vec![];
        let mut at = buffer;
        while self.0[at].owner != at {
            path.push(at);
            at = self.0[at].owner;
        }
        let mut offset = 0;
        for step in path.into_iter().rev() {
            offset += self.0[step].offset;
            self.0[step] = Place { owner: at, offset };
        }
        Place { owner: at, offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twnc_program::{Buffer, Dim, ElementType, Port, Step};

    /// A program of moves: buffers by their shapes, of which the first is the input, and steps of one output.
    fn program(shapes: &[&[i64]], moves: &[(MoveKind, &[u32], u32)]) -> Program {
        let buffer = |shape: &&[i64]| Buffer {
            element: ElementType::F32,
            shape: shape.iter().map(|&n| Dim::Fixed(n)).collect(),
        };
        let step = |(kind, inputs, output): &(MoveKind, &[u32], u32)| {
            let inputs = inputs.iter().map(|&i| Operand::Buffer(BufferId(i))).collect();
            let step = Move { kind: kind.clone(), inputs, output: BufferId(*output) };
            Step { name: String::new(), kind: StepKind::Move(step) }
        };
        Program {
            buffers: shapes.iter().map(buffer).collect(),
            steps: moves.iter().map(step).collect(),
            inputs: vec![Port { name: "x".into(), buffer: BufferId(0) }],
            ..Program::default()
        }
    }

    /// Of a step, the buffers that it copies, if it moves no more than these.
    type Copies = Option<Vec<u32>>;

    /// The owner and offset of each buffer; and of each step which buffers it copies, if it moves no more than these.
    fn views(program: &Program) -> (Vec<(usize, usize)>, Vec<Copies>) {
        let size = |dim: &Dim| dim.size(&[]).unwrap();
        let buffers = program.buffers.iter().map(|b| b.shape.iter().map(size).collect()).collect();
        let shapes = Shapes { bindings: vec![], buffers };
        let Views { places, copies } = Views::of(program, &shapes, &shapes.bytes(program));
        let numbers = |parts: Vec<Part>| parts.iter().map(|part| part.buffer.0).collect();
        (
            places.into_iter().map(|place| (place.owner, place.offset)).collect(),
            copies.into_iter().map(|parts| parts.map(numbers)).collect(),
        )
    }

    /// What nothing is left of.
    const NOTHING: Copies = Some(vec![]);

    fn slice(axis: usize, start: i64, step: i64) -> MoveKind {
        MoveKind::Slice { axis, start: Dim::Fixed(start), step }
    }

    const CONCAT: MoveKind = MoveKind::Concat { axis: 1 };
    /// What computes something: no view.
    const COMPUTED: MoveKind = MoveKind::Broadcast;

    #[test]
    fn slices_of_one_sample_are_views_and_of_several_are_not() {
        for (n, expected) in [(1, ((0, 48), NOTHING)), (2, ((1, 0), None))] {
            let slices = program(&[&[n, 5, 6], &[n, 2, 6]], &[(slice(1, 2, 1), &[0], 1)]);
            assert_eq!(views(&slices), (vec![(0, 0), expected.0], vec![expected.1]), "{n} samples");
        }
        // Every other channel, and columns, lie apart.
        let apart = [(slice(1, 0, 2), [1, 3, 6]), (slice(2, 0, 1), [1, 5, 3])];
        for (kind, shape) in apart {
            assert_eq!(views(&program(&[&[1, 5, 6], &shape], &[(kind, &[0], 1)])).1, [None]);
        }
    }

    #[test]
    fn slices_of_slices_of_reshapes_add_up() {
        let moves = [(MoveKind::Reshape, &[0][..], 1), (slice(0, 4, 1), &[1], 2), (slice(0, 1, 1), &[2], 3)];
        let (places, copies) = views(&program(&[&[2, 6], &[12], &[6], &[2]], &moves));
        assert_eq!((places, copies), (vec![(0, 0), (0, 0), (0, 16), (0, 20)], vec![NOTHING; 3]));
    }

    #[test]
    fn parts_of_a_concat_lie_in_it_and_concats_nest() {
        let moves = [
            (COMPUTED, &[0][..], 1),
            (COMPUTED, &[0], 2),
            (CONCAT, &[1, 2], 3),
            (slice(1, 1, 1), &[2], 4),
            (COMPUTED, &[3], 5),
            (CONCAT, &[3, 5], 6),
        ];
        let shapes: [&[i64]; 7] =
            [&[1, 1, 4], &[1, 1, 4], &[1, 2, 4], &[1, 3, 4], &[1, 1, 4], &[1, 2, 4], &[1, 5, 4]];
        let (places, copies) = views(&program(&shapes, &moves));
        assert_eq!(places, [(0, 0), (6, 0), (6, 16), (6, 0), (6, 32), (6, 48), (6, 0)]);
        assert_eq!(copies, [None, None, NOTHING, NOTHING, None, NOTHING]);
    }

    #[test]
    fn what_has_another_place_is_copied() {
        let shapes: [&[i64]; 6] = [&[1, 2, 4], &[1, 2, 4], &[1, 1, 4], &[1, 4, 4], &[1, 4, 4], &[1, 3, 4]];
        let cases: [(&str, &[u32], u32, Copies); 4] = [
            ("an input", &[0, 1], 3, Some(vec![0])),
            ("twice the same", &[1, 1], 3, Some(vec![1])),
            ("a value and a view of it", &[1, 2], 5, Some(vec![2])),
            ("nothing but a part of what has memory of its own", &[2, 0], 5, None),
        ];
        for (what, inputs, output, copied) in cases {
            let moves = [(COMPUTED, &[0][..], 1), (slice(1, 0, 1), &[1], 2), (CONCAT, inputs, output)];
            assert_eq!(views(&program(&shapes, &moves)).1, [None, NOTHING, copied], "{what}");
        }
        // The second of two that want the same value.
        let moves =
            [(COMPUTED, &[0][..], 1), (COMPUTED, &[0], 2), (CONCAT, &[1, 2], 5), (CONCAT, &[2, 1], 5)];
        let mut twice = program(&shapes, &moves);
        twice.buffers.push(twice.buffers[5].clone());
        if let StepKind::Move(second) = &mut twice.steps[3].kind {
            second.output = BufferId(6);
        }
        assert_eq!(views(&twice).1, [None, None, NOTHING, None]);
    }
}
