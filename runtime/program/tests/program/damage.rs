//! Numbers put into valid programs that need not fit there.

use crate::random::Choices;
use twnc_program::step::{Contraction, MoveKind};
use twnc_program::{BufferId, ConstantId, Dim, ElementType, Operand, Program, StepKind, SymbolId, Window};

/// Puts one number somewhere it need not fit.
pub fn damage(program: &mut Program, choices: &mut Choices) {
    let size = choices.of(&[0, 1, 2, 3, 5, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 62, usize::MAX]);
    let number = choices.of(&[0, 1, -1, 2, -3, 1 << 31, i64::MAX, i64::MIN]);
    let id = choices.below(12) as u32;
    let fixed = |n| Box::new(Dim::Fixed(n));
    let dim = choices.of(&[
        Dim::Fixed(number),
        Dim::Symbol(SymbolId(id)),
        Dim::Mul(Box::new(Dim::Symbol(SymbolId(0))), fixed(number)),
        Dim::FloorDiv(fixed(7), fixed(number)),
    ]);
    let (buffers, steps) = (program.buffers.len(), program.steps.len());
    match choices.below(6) {
        0 => {
            let shape = &mut program.buffers[choices.below(buffers)].shape;
            match choices.below(shape.len() + 1) {
                axis if axis < shape.len() => shape[axis] = dim,
                _ => shape.push(dim),
            }
        }
        1 if !program.constants.is_empty() => {
            let constant = choices.below(program.constants.len());
            let shape = &mut program.constants[constant].shape;
            match choices.below(shape.len() + 1) {
                axis if axis < shape.len() => shape[axis] = size,
                _ => shape.push(size),
            }
        }
        2 => program.outputs[0].buffer = BufferId(id),
        3 => {
            program.buffers[choices.below(buffers)].element = choices.of(&[ElementType::I64, ElementType::U8])
        }
        _ if steps == 0 => program.name.clear(),
        _ => {
            let step = &mut program.steps[choices.below(steps)].kind;
            let mut places = places(step);
            if !places.is_empty() {
                let place = choices.below(places.len());
                match &mut places[place] {
                    Place::Size(place) => **place = size,
                    Place::Id(place) => **place = id,
                    Place::Number(place) => **place = number,
                    Place::Dim(place) => **place = dim,
                }
            }
        }
    }
}

enum Place<'a> {
    Size(&'a mut usize),
    Id(&'a mut u32),
    Number(&'a mut i64),
    Dim(&'a mut Dim),
}

/// The numbers of a step that may be damaged.
fn places(step: &mut StepKind) -> Vec<Place<'_>> {
    fn window(window: &mut Window) -> impl Iterator<Item = Place<'_>> {
        let Window { kernel, strides, dilations, pads_begin, pads_end } = window;
        [kernel, strides, dilations, pads_begin, pads_end].into_iter().flatten().map(Place::Size)
    }
    fn operand(operand: &mut Operand) -> Place<'_> {
        match operand {
            Operand::Buffer(BufferId(id)) => Place::Id(id),
            Operand::Constant(ConstantId(id)) => Place::Id(id),
        }
    }
    fn sizes(sizes: &mut [usize]) -> impl Iterator<Item = Place<'_>> {
        sizes.iter_mut().map(Place::Size)
    }
    match step {
        StepKind::Accumulate(s) => {
            let terms = s.terms.iter_mut().flat_map(|term| {
                let scales =
                    [term.scale.as_mut().map(|id| &mut id.0), term.input_scale.as_mut().map(|id| &mut id.0)];
                let scales = scales.into_iter().flatten().map(Place::Id);
                let planes = term.planes.iter_mut().flat_map(|plane| {
                    let geometry: Vec<_> = match &mut plane.contraction {
                        Contraction::Window { window: w, groups } => {
                            window(w).chain([Place::Size(groups)]).collect()
                        }
                        Contraction::MatMul => vec![],
                    };
                    let ids = [&mut plane.input.0, &mut plane.weight.0].map(Place::Id);
                    ids.into_iter().chain(geometry)
                });
                planes.chain(scales).collect::<Vec<_>>()
            });
            let epilogue = s.epilogue.bias.as_mut().map(|bias| Place::Id(&mut bias.0));
            terms.chain(epilogue).chain([Place::Id(&mut s.output.0)]).collect()
        }
        StepKind::Quantize(s) => {
            let [integers, scales] = &mut s.outputs;
            [&mut s.input.0, &mut integers.0, &mut scales.0].map(Place::Id).into_iter().collect()
        }
        StepKind::Conv(s) => {
            let ids = [Place::Id(&mut s.input.0), operand(&mut s.weight), Place::Size(&mut s.groups)];
            ids.into_iter().chain(window(&mut s.window)).collect()
        }
        StepKind::MatMul(s) => vec![operand(&mut s.left), operand(&mut s.right)],
        StepKind::Map(s) => s.inputs.iter_mut().map(operand).collect(),
        StepKind::Pool(s) => window(&mut s.window).chain([Place::Id(&mut s.input.0)]).collect(),
        StepKind::Reduce(s) => sizes(&mut s.axes).chain([Place::Id(&mut s.input.0)]).collect(),
        StepKind::Softmax(s) => sizes(&mut s.axes).chain([Place::Id(&mut s.input.0)]).collect(),
        StepKind::Move(s) => {
            let numbers: Vec<_> = match &mut s.kind {
                MoveKind::Reshape | MoveKind::Broadcast => vec![],
                MoveKind::Transpose { perm } => sizes(perm).collect(),
                MoveKind::Concat { axis } | MoveKind::Gather { axis } => vec![Place::Size(axis)],
                MoveKind::Slice { axis, start, step } => {
                    vec![Place::Size(axis), Place::Dim(start), Place::Number(step)]
                }
                MoveKind::Pad { begin, end, .. } => sizes(begin).chain(sizes(end)).collect(),
            };
            s.inputs.iter_mut().map(operand).chain(numbers).collect()
        }
        StepKind::Cast(s) => vec![operand(&mut s.input)],
        StepKind::Iota(s) => vec![Place::Id(&mut s.output.0)],
        StepKind::Scatter(s) => vec![operand(&mut s.data), operand(&mut s.indices), operand(&mut s.updates)],
        StepKind::Cumulative(s) => vec![operand(&mut s.input), Place::Size(&mut s.axis)],
        StepKind::TopK(s) => {
            let [values, indices] = &mut s.outputs;
            vec![
                operand(&mut s.input),
                Place::Size(&mut s.axis),
                Place::Id(&mut values.0),
                Place::Id(&mut indices.0),
            ]
        }
        StepKind::Dims(s) => s.values.iter_mut().map(Place::Dim).collect(),
        StepKind::Custom(s) => s.outputs.iter_mut().map(|id| Place::Id(&mut id.0)).collect(),
    }
}
