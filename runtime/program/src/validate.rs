//! Validation without shapes: everything about a program that can be checked once, when it is loaded.
//!
//! What passes here has ids in range, each buffer written once and before it is read, constants of the right kinds and sizes,
//! and attributes in their ranges. Whether shapes fit together is for [`resolve`](crate::resolve), which knows them.

use crate::constant::Constant;
use crate::dim::Dim;
use crate::element::ElementType;
use crate::error::ProgramError;
use crate::program::{BufferId, ConstantId, Port, Program};
use crate::resolve::element_count;
use crate::step::{
    Combine, Contraction, Epilogue, Map, MapInstruction, Move, MoveKind, Operand, Plane, StepKind, Term,
};
use crate::window::Window;
use crate::{MAX_DIM_NODES, MAX_MAP_INPUTS, MAX_MAP_VALUES, MAX_RANK, MAX_WINDOW};
use std::collections::{HashMap, HashSet};
use std::mem;

impl Program {
    /// Checks everything that does not depend on the shapes of inputs.
    pub fn validate(&self) -> Result<(), ProgramError> {
        self.constants.iter().enumerate().try_for_each(|(i, constant)| check_constant(i, constant))?;
        self.buffers.iter().enumerate().try_for_each(|(i, buffer)| {
            let what = || format!("buffer b{i}");
            if buffer.element == ElementType::Ternary {
                return Err(declaration(what(), "only constants are ternary"));
            }
            if buffer.shape.len() > MAX_RANK {
                return Err(declaration(what(), "it has too many axes"));
            }
            buffer.shape.iter().try_for_each(|dim| self.check_dim(&what, dim))
        })?;
        self.check_ports("input", &self.inputs)?;
        self.check_ports("output", &self.outputs)?;
        let mut written = vec![false; self.buffers.len()];
        let mut bound = vec![false; self.symbols.len()];
        for port in &self.inputs {
            let what = format!("input `{}`", port.name);
            if mem::replace(&mut written[port.buffer.index()], true) {
                return Err(declaration(what, "its buffer is another input's"));
            }
            for dim in &self.buffers[port.buffer.index()].shape {
                match dim {
                    Dim::Symbol(symbol) => bound[symbol.index()] = true,
                    Dim::Fixed(n) if *n >= 0 => {}
                    _ => return Err(declaration(what, "its sizes must be numbers or symbols")),
                }
            }
        }
        if let Some(free) = bound.iter().position(|bound| !bound) {
            return Err(declaration(format!("symbol `{}`", self.symbols[free]), "no input binds it"));
        }
        let mut ranges = HashMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            let fail = |message: String| {
                let (name, kind) = (step.name.clone(), step.kind_name());
                ProgramError::Step { index, name, kind, message }
            };
            step.operands().try_for_each(|operand| self.check_read(operand, &written)).map_err(fail)?;
            for &output in step.outputs() {
                match written.get_mut(output.index()) {
                    None => return Err(fail(format!("there is no buffer {output}"))),
                    Some(true) => return Err(fail(format!("buffer {output} is written twice"))),
                    Some(written) => *written = true,
                }
            }
            self.check_kind(&step.kind, &ranges).map_err(fail)?;
            if let StepKind::Quantize(s) = &step.kind {
                ranges.insert(s.outputs[0], s.largest());
            }
        }
        match written.iter().position(|written| !written) {
            Some(buffer) => Err(declaration(format!("buffer b{buffer}"), "no input and no step writes it")),
            None => Ok(()),
        }
    }

    /// The constant of an id that [`Program::validate`] has seen.
    pub fn constant(&self, id: ConstantId) -> &Constant {
        &self.constants[id.index()]
    }

    /// The element type of an operand that [`Program::validate`] has seen.
    pub fn element(&self, operand: Operand) -> ElementType {
        match operand {
            Operand::Buffer(buffer) => self.buffers[buffer.index()].element,
            Operand::Constant(constant) => self.constants[constant.index()].element(),
        }
    }

    fn check_ports(&self, kind: &str, ports: &[Port]) -> Result<(), ProgramError> {
        let mut names = HashSet::new();
        ports.iter().try_for_each(|port| {
            let what = || format!("{kind} `{}`", port.name);
            if port.name.is_empty() {
                return Err(declaration(what(), "it has no name"));
            }
            if !names.insert(port.name.as_str()) {
                return Err(declaration(what(), "another has the same name"));
            }
            if port.buffer.index() >= self.buffers.len() {
                return Err(declaration(what(), &format!("there is no buffer {}", port.buffer)));
            }
            Ok(())
        })
    }

    fn check_dim(&self, what: &dyn Fn() -> String, dim: &Dim) -> Result<(), ProgramError> {
        let (mut stack, mut seen) = (vec![dim], 0);
        while let Some(dim) = stack.pop() {
            seen += 1;
            if seen > MAX_DIM_NODES {
                return Err(declaration(what(), "an expression of its shape is too long"));
            }
            match dim {
                Dim::Fixed(_) => {}
                Dim::Symbol(symbol) if symbol.index() < self.symbols.len() => {}
                Dim::Symbol(symbol) => {
                    return Err(declaration(what(), &format!("there is no symbol {symbol}")));
                }
                Dim::Add(a, b) | Dim::Mul(a, b) | Dim::FloorDiv(a, b) | Dim::Min(a, b) | Dim::Max(a, b) => {
                    stack.extend([&**a, &**b]);
                }
            }
        }
        Ok(())
    }

    fn check_read(&self, operand: Operand, written: &[bool]) -> Result<(), String> {
        match operand {
            Operand::Buffer(buffer) => match written.get(buffer.index()) {
                None => Err(format!("there is no buffer {buffer}")),
                Some(false) => Err(format!("buffer {buffer} is read before it is written")),
                Some(true) => Ok(()),
            },
            Operand::Constant(constant) if constant.index() >= self.constants.len() => {
                Err(format!("there is no constant {constant}"))
            }
            Operand::Constant(_) => Ok(()),
        }
    }

    /// `ranges` has the largest integer of every buffer that a quantize step has written.
    fn check_kind(&self, kind: &StepKind, ranges: &HashMap<BufferId, i16>) -> Result<(), String> {
        let f32_buffer = |id: BufferId| self.expect(Operand::Buffer(id), ElementType::F32);
        match kind {
            StepKind::Accumulate(s) => {
                if s.terms.iter().any(|term| term.planes.is_empty()) {
                    return Err("a term of it has no plane".into());
                }
                let planes = || s.terms.iter().flat_map(|term| &term.planes);
                let Some(first) = planes().next() else { return Err("it has no term".into()) };
                let kind = mem::discriminant(&first.contraction);
                if planes().any(|plane| mem::discriminant(&plane.contraction) != kind) {
                    return Err("some of its planes are windows and some are matrix products".into());
                }
                for term in &s.terms {
                    self.check_term(term, ranges)?;
                }
                let parts = s.terms.iter().flat_map(|term| term.planes.iter().map(|_| term.parts));
                for (plane, parts) in planes().zip(parts) {
                    self.expect(Operand::Constant(plane.weight), ElementType::Ternary)?;
                    let rank = self.constant(plane.weight).shape.len();
                    match &plane.contraction {
                        Contraction::Window { window, groups } => check_conv(window, *groups, rank)?,
                        Contraction::MatMul if parts > 1 && rank != 3 => {
                            return Err("its weight in parts has not three axes".into());
                        }
                        Contraction::MatMul if parts == 1 && rank != 2 => {
                            return Err("its weight has not two axes".into());
                        }
                        Contraction::MatMul => {}
                    }
                }
                self.check_epilogue(&s.epilogue)?;
                f32_buffer(s.output)
            }
            StepKind::Quantize(s) => {
                f32_buffer(s.input)?;
                if !(2..=12).contains(&s.bits) {
                    return Err(format!("{} bits; there may be 2 to 12", s.bits));
                }
                if s.scale.is_some_and(|scale| !scale.is_finite() || scale <= 0.0) {
                    return Err("its scale is not a positive number".into());
                }
                if self.buffers[s.input.index()].shape.is_empty() {
                    return Err("its input has no axis of samples".into());
                }
                self.expect(Operand::Buffer(s.outputs[0]), ElementType::I16)?;
                f32_buffer(s.outputs[1])
            }
            StepKind::Conv(s) => {
                f32_buffer(s.input)?;
                self.expect(s.weight, ElementType::F32)?;
                let rank = self.rank(s.weight);
                check_conv(&s.window, s.groups, rank)?;
                self.check_epilogue(&s.epilogue)?;
                f32_buffer(s.output)
            }
            StepKind::MatMul(s) => {
                self.expect(s.left, ElementType::F32)?;
                self.expect(s.right, ElementType::F32)?;
                self.check_epilogue(&s.epilogue)?;
                f32_buffer(s.output)
            }
            StepKind::Map(s) => self.check_map(s),
            StepKind::Pool(s) => {
                f32_buffer(s.input)?;
                check_window(&s.window)?;
                s.scale.map_or(Ok(()), |scale| self.expect_vector(scale))?;
                self.check_epilogue(&s.epilogue)?;
                f32_buffer(s.output)
            }
            StepKind::Reduce(s) => {
                f32_buffer(s.input)?;
                check_axes(&s.axes, self.buffers[s.input.index()].shape.len())?;
                f32_buffer(s.output)
            }
            StepKind::Softmax(s) => {
                f32_buffer(s.input)?;
                if s.axes.is_empty() {
                    return Err("it has no axis".into());
                }
                check_axes(&s.axes, self.buffers[s.input.index()].shape.len())?;
                f32_buffer(s.output)
            }
            StepKind::Move(s) => self.check_move(s),
            StepKind::Cast(s) => match self.element(s.input) {
                ElementType::Ternary => Err("a ternary constant is not cast".into()),
                _ => Ok(()),
            },
            StepKind::Dims(s) => {
                let what = || "a dims step".to_owned();
                s.values.iter().try_for_each(|dim| self.check_dim(&what, dim)).map_err(|e| e.to_string())?;
                self.expect(Operand::Buffer(s.output), ElementType::I64)
            }
            StepKind::Iota(s) => match self.rank(Operand::Buffer(s.output)) {
                1 => self.expect(Operand::Buffer(s.output), ElementType::I64),
                rank => Err(format!("its output has {rank} axes, not one")),
            },
            StepKind::Scatter(s) => {
                if s.combine.is_some() {
                    self.expect_number(s.data)?;
                }
                let element = self.element(Operand::Buffer(s.output));
                self.expect(s.data, element)?;
                self.expect(s.updates, element)?;
                if !matches!(self.element(s.indices), ElementType::I32 | ElementType::I64) {
                    return Err(format!("its indices are {}", self.element(s.indices)));
                }
                match (self.rank(s.data), self.rank(s.indices)) {
                    (1.., 1) => Ok(()),
                    (data, indices) => Err(format!("data of {data} axes and indices of {indices}")),
                }
            }
            StepKind::Cumulative(s) => {
                self.expect_number(s.input)?;
                self.expect(s.input, self.element(Operand::Buffer(s.output)))?;
                if !matches!(s.combine, Combine::Add | Combine::Mul) {
                    return Err("it neither sums nor multiplies".into());
                }
                check_axes(&[s.axis], self.rank(s.input))
            }
            StepKind::TopK(s) => {
                self.expect_number(s.input)?;
                self.expect(Operand::Buffer(s.outputs[0]), self.element(s.input))?;
                self.expect(Operand::Buffer(s.outputs[1]), ElementType::I64)?;
                check_axes(&[s.axis], self.rank(s.input))
            }
            StepKind::Custom(s) => {
                if s.function.is_empty() || s.outputs.is_empty() {
                    return Err("it names no function or has no output".into());
                }
                if s.inputs.iter().any(|&input| self.element(input) == ElementType::Ternary) {
                    return Err("a ternary constant is no argument".into());
                }
                if !s.attributes.is_sorted_by(|(a, _), (b, _)| a < b) {
                    return Err("its attributes are not in the order of their names, each once".into());
                }
                Ok(())
            }
        }
    }

    /// The inputs of a term are alike, and integers are quantised ones whose sum fits 32 bits.
    fn check_term(&self, term: &Term, ranges: &HashMap<BufferId, i16>) -> Result<(), String> {
        let divided = |plane: &Plane| match &plane.contraction {
            Contraction::Window { groups, .. } => *groups == term.parts,
            Contraction::MatMul => self.constant(plane.weight).shape.first() == Some(&term.parts),
        };
        match (term.parts, term.planes.as_slice()) {
            (0, _) => return Err("a term of it has no part".into()),
            (1, _) => {}
            // Of an empty weight any number of parts would fit.
            (parts, [plane]) if divided(plane) && self.constant(plane.weight).len() >= parts => {}
            _ => return Err("a term in parts is not one plane whose weight has as many".into()),
        }
        let mut largest = 0u64;
        let element = self.element(Operand::Buffer(term.planes[0].input));
        for plane in &term.planes {
            self.expect(Operand::Buffer(plane.input), element)?;
            if element == ElementType::I16 {
                let Some(&range) = ranges.get(&plane.input) else {
                    return Err(format!(
                        "buffer {} holds integers that no quantize step has written",
                        plane.input
                    ));
                };
                let shape = &self.constants.get(plane.weight.index()).map_or(&[][..], |c| &c.shape);
                let terms = match plane.contraction {
                    Contraction::Window { .. } => shape.iter().skip(1).product::<usize>(),
                    Contraction::MatMul => shape.iter().rev().nth(1).copied().unwrap_or(0),
                };
                largest = largest.saturating_add((terms as u64).saturating_mul(range.unsigned_abs().into()));
            }
        }
        if !matches!(element, ElementType::F32 | ElementType::I16) {
            return Err(format!("there is no accumulation of {element}"));
        }
        if largest > i32::MAX as u64 {
            return Err("sums of its integers may not fit 32 bits".into());
        }
        if let Some(scale) = term.input_scale {
            self.expect(Operand::Buffer(scale), ElementType::F32)?;
        }
        term.scale.map_or(Ok(()), |scale| self.expect_vector(scale))
    }

    fn check_map(&self, map: &Map) -> Result<(), String> {
        let element = self.buffers[map.output.index()].element;
        if !matches!(element, ElementType::F32 | ElementType::I32 | ElementType::I64) {
            return Err(format!("there is no arithmetic of {element}"));
        }
        map.inputs.iter().try_for_each(|&input| self.expect(input, element))?;
        if map.inputs.is_empty() || map.code.is_empty() {
            return Err("it has no inputs or no instructions".into());
        }
        if map.inputs.len() > MAX_MAP_INPUTS || map.inputs.len() + map.code.len() > MAX_MAP_VALUES {
            return Err("its expression is too long".into());
        }
        for (i, instruction) in map.code.iter().enumerate() {
            let known = map.inputs.len() + i;
            let (operands, integer) = match *instruction {
                MapInstruction::Unary(f, a) => ([a, a], f.takes_integers()),
                MapInstruction::Binary(f, a, b) => ([a, b], f.takes_integers()),
            };
            if operands.iter().any(|&v| usize::from(v) >= known) {
                return Err(format!("instruction {i} reads a value that is not defined before it"));
            }
            if element != ElementType::F32 && !integer {
                return Err(format!("instruction {i} is not defined for {element}"));
            }
        }
        Ok(())
    }

    fn check_move(&self, step: &Move) -> Result<(), String> {
        let element = self.buffers[step.output.index()].element;
        let first = *step.inputs.first().ok_or("it has no input")?;
        let count = match step.kind {
            MoveKind::Concat { .. } => step.inputs.len(),
            MoveKind::Gather { .. } => 2,
            _ => 1,
        };
        if step.inputs.len() != count {
            return Err(format!("it has {} inputs, not {count}", step.inputs.len()));
        }
        self.expect(first, element)?;
        let rank = self.rank(first);
        let axis_fits = |axis: usize| match axis < rank {
            true => Ok(()),
            false => Err(format!("axis {axis} of {rank}")),
        };
        match &step.kind {
            MoveKind::Reshape | MoveKind::Broadcast => Ok(()),
            MoveKind::Transpose { perm } => {
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                match sorted.iter().copied().eq(0..rank) {
                    true => Ok(()),
                    false => Err(format!("{perm:?} does not permute {rank} axes")),
                }
            }
            MoveKind::Concat { axis } => {
                step.inputs.iter().try_for_each(|&input| self.expect(input, element))?;
                axis_fits(*axis)
            }
            MoveKind::Slice { axis, start, step } => {
                let what = || "a slice".to_owned();
                self.check_dim(&what, start).map_err(|e| e.to_string())?;
                if *step == 0 {
                    return Err("its step is 0".into());
                }
                axis_fits(*axis)
            }
            MoveKind::Pad { begin, end, .. } => match begin.len() == rank && end.len() == rank {
                true => Ok(()),
                false => Err(format!("{rank} axes need as many pads")),
            },
            MoveKind::Gather { axis } => {
                let indices = self.element(step.inputs[1]);
                if !matches!(indices, ElementType::I32 | ElementType::I64) {
                    return Err(format!("its indices are {indices}"));
                }
                axis_fits(*axis)
            }
        }
    }

    fn check_epilogue(&self, epilogue: &Epilogue) -> Result<(), String> {
        epilogue.bias.map_or(Ok(()), |bias| self.expect_vector(bias))?;
        if epilogue.activation.is_some_and(|f| !f.is_activation()) {
            return Err("it ends with a function that is no activation".into());
        }
        epilogue.residual.map_or(Ok(()), |r| self.expect(Operand::Buffer(r), ElementType::F32))
    }

    fn expect(&self, operand: Operand, element: ElementType) -> Result<(), String> {
        match self.element(operand) {
            found if found == element => Ok(()),
            found => Err(format!("an operand is {found}, not {element}")),
        }
    }

    fn expect_number(&self, operand: Operand) -> Result<(), String> {
        match self.element(operand) {
            ElementType::F32 | ElementType::I64 | ElementType::I32 => Ok(()),
            found => Err(format!("an operand is {found}, not f32, i64 or i32")),
        }
    }

    fn expect_vector(&self, id: ConstantId) -> Result<(), String> {
        self.expect(Operand::Constant(id), ElementType::F32)?;
        match self.constant(id).shape.len() {
            1 => Ok(()),
            rank => Err(format!("a scale or bias has {rank} axes, not one")),
        }
    }

    fn rank(&self, operand: Operand) -> usize {
        match operand {
            Operand::Buffer(buffer) => self.buffers[buffer.index()].shape.len(),
            Operand::Constant(constant) => self.constants[constant.index()].shape.len(),
        }
    }
}

fn check_constant(index: usize, constant: &Constant) -> Result<(), ProgramError> {
    let what = || format!("constant c{index} `{}`", constant.name);
    if constant.shape.len() > MAX_RANK {
        return Err(declaration(what(), "it has too many axes"));
    }
    if element_count(&constant.shape) != Some(constant.len()) {
        return Err(declaration(what(), "its elements do not fill its shape"));
    }
    Ok(())
}

/// A convolution's window over the spatial axes of a weight of this rank.
fn check_conv(window: &Window, groups: usize, weight_rank: usize) -> Result<(), String> {
    if groups == 0 {
        return Err("it has 0 groups".into());
    }
    if weight_rank != window.rank() + 2 {
        return Err(format!("its weight has {weight_rank} axes for {} spatial ones", window.rank()));
    }
    check_window(window)
}

fn check_window(window: &Window) -> Result<(), String> {
    let rank = window.rank();
    let lists = [&window.strides, &window.dilations, &window.pads_begin, &window.pads_end];
    if !(1..=3).contains(&rank) || lists.iter().any(|list| list.len() != rank) {
        return Err("its window has not one to three axes, or not one entry for each".into());
    }
    if window.kernel.contains(&0) || window.strides.contains(&0) || window.dilations.contains(&0) {
        return Err("a kernel, stride or dilation is 0".into());
    }
    let largest = lists.iter().flat_map(|list| list.iter()).chain(&window.kernel).max();
    let taps = window.kernel.iter().try_fold(1usize, |taps, &n| taps.checked_mul(n));
    if largest > Some(&MAX_WINDOW) || taps.is_none_or(|taps| taps > MAX_WINDOW) {
        return Err("a number of its window is too large, or it has too many taps".into());
    }
    Ok(())
}

fn check_axes(axes: &[usize], rank: usize) -> Result<(), String> {
    let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
    match ascending && axes.iter().all(|&axis| axis < rank) {
        true => Ok(()),
        false => Err(format!("axes {axes:?} do not fit {rank} axes")),
    }
}

fn declaration(what: String, message: &str) -> ProgramError {
    ProgramError::Declaration { what, message: message.to_owned() }
}
