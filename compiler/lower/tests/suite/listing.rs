//! A program as text, for snapshots: constants, then steps, each with what it reads, in the program's own numbers.

use twnc_program::step::{Contraction, Epilogue, MapInstruction, MoveKind, Plane, PoolKind, Term};
use twnc_program::{
    BufferId, Constant, ConstantData, Dim, ElementType, Operand, Port, Program, Step, StepKind, Window,
};

/// The program as text.
pub fn listing(program: &Program) -> String {
    let port = |port: &Port| format!("{} {:?}", typed(program, port.buffer), port.name);
    let ports = |ports: &[Port]| ports.iter().map(port).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!(
        "program {:?} ({}) -> ({})",
        program.name,
        ports(&program.inputs),
        program
            .outputs
            .iter()
            .map(|port| format!("{} {:?}", port.buffer, port.name))
            .collect::<Vec<_>>()
            .join(", ")
    )];
    lines.extend(program.constants.iter().enumerate().map(|(i, c)| format!("  c{i} = {}", constant(c))));
    lines.extend(program.steps.iter().map(|step| format!("  {}", line(program, step))));
    lines.join("\n")
}

fn constant(constant: &Constant) -> String {
    let elements = match &constant.data {
        ConstantData::F32(v) => format!("{v:?}"),
        ConstantData::I8(v) => format!("{v:?}"),
        ConstantData::U8(v) => format!("{v:?}"),
        ConstantData::I16(v) => format!("{v:?}"),
        ConstantData::I32(v) => format!("{v:?}"),
        ConstantData::I64(v) => format!("{v:?}"),
        ConstantData::Bool(v) => format!("{v:?}"),
        ConstantData::Ternary(v) => format!("{:?}", v.unpack()),
    };
    let sizes: Vec<_> = constant.shape.iter().map(ToString::to_string).collect();
    format!("{}[{}] {:?} {elements}", element(constant.element()), sizes.join(","), constant.name)
}

fn line(program: &Program, step: &Step) -> String {
    let outputs: Vec<_> = step.outputs().iter().map(|&id| typed(program, id)).collect();
    format!("{} = {} {:?}", outputs.join(", "), body(program, step), step.name)
}

fn body(program: &Program, step: &Step) -> String {
    let kind = step.kind_name();
    match &step.kind {
        StepKind::Accumulate(s) => {
            let plane = |plane: &Plane| {
                let over = match &plane.contraction {
                    Contraction::Window { window: w, groups } => window(w, *groups),
                    Contraction::MatMul => "matmul".to_owned(),
                };
                format!("({}, {}, {over})", plane.input, plane.weight)
            };
            let term = |term: &Term| {
                let planes: Vec<_> = term.planes.iter().map(plane).collect();
                let parts = if term.parts > 1 { format!(" in {} parts", term.parts) } else { String::new() };
                let scale = term.scale.map_or(String::new(), |scale| format!("{parts} * {scale}"));
                let input_scale = term.input_scale.map_or(String::new(), |scale| format!(" * {scale}"));
                let planes = match &planes[..] {
                    [plane] => plane.clone(),
                    _ => format!("[{}]", planes.join(" + ")),
                };
                format!("{planes}{scale}{input_scale}")
            };
            let terms: Vec<_> = s.terms.iter().map(term).collect();
            format!("{kind} {}{}", terms.join(" + "), epilogue(&s.epilogue))
        }
        StepKind::Quantize(s) => {
            let (sign, scale) = (if s.signed { "signed" } else { "unsigned" }, s.scale);
            format!("{kind} {} to {} bits {sign}, scale {scale:?}", s.input, s.bits)
        }
        StepKind::Conv(s) => {
            let over = window(&s.window, s.groups);
            format!("{kind} ({}, {}, {over}){}", s.input, operand(s.weight), epilogue(&s.epilogue))
        }
        StepKind::MatMul(s) => {
            format!("{kind} ({}, {}){}", operand(s.left), operand(s.right), epilogue(&s.epilogue))
        }
        StepKind::Map(s) => {
            let instruction = |(i, code): (usize, &MapInstruction)| {
                let result = s.inputs.len() + i;
                match code {
                    MapInstruction::Unary(f, a) => format!("v{result} = {f:?} v{a}"),
                    MapInstruction::Binary(f, a, b) => format!("v{result} = {f:?} v{a} v{b}"),
                }
            };
            let code: Vec<_> = s.code.iter().enumerate().map(instruction).collect();
            format!("{kind} ({}) {{ {} }}", operands(&s.inputs), code.join("; "))
        }
        StepKind::Pool(s) => {
            let what = match s.kind {
                PoolKind::Max => "max",
                PoolKind::Average { count_padding: false } => "average",
                PoolKind::Average { count_padding: true } => "average with padding",
            };
            let ceil = if s.ceil { " ceil" } else { "" };
            format!("{kind} {what} ({}, {}){ceil}", s.input, window(&s.window, 1))
        }
        StepKind::Reduce(s) => format!("{kind} {:?} ({}) axes {:?}", s.kind, s.input, s.axes),
        StepKind::Softmax(s) => format!("{kind} ({}) axes {:?}", s.input, s.axes),
        StepKind::Move(s) => format!("{kind} ({}){}", operands(&s.inputs), how(program, &s.kind)),
        StepKind::Cast(s) => format!("{kind} ({})", operand(s.input)),
        StepKind::Iota(_) => kind.to_owned(),
        StepKind::Scatter(s) => {
            format!("{kind} ({}) {:?}", operands(&[s.data, s.indices, s.updates]), s.combine)
        }
        StepKind::Cumulative(s) => format!("{kind} ({}) {:?} axis {}", operand(s.input), s.combine, s.axis),
        StepKind::TopK(s) => format!("{kind} ({}) axis {} largest {}", operand(s.input), s.axis, s.largest),
        StepKind::Dims(s) => format!("{kind} {}", shape(program, &s.values)),
        StepKind::Custom(s) => {
            format!("{kind} {:?} ({}) {:?}", s.function, operands(&s.inputs), s.attributes)
        }
    }
}

fn how(program: &Program, kind: &MoveKind) -> String {
    match kind {
        MoveKind::Reshape | MoveKind::Broadcast => String::new(),
        MoveKind::Transpose { perm } => format!(" perm {perm:?}"),
        MoveKind::Concat { axis } | MoveKind::Gather { axis } => format!(" axis {axis}"),
        MoveKind::Slice { axis, start, step } => {
            format!(" axis {axis} from {} by {step}", dim(program, start))
        }
        MoveKind::Pad { begin, end, mode } => format!(" begin {begin:?} end {end:?} {mode:?}"),
    }
}

fn epilogue(epilogue: &Epilogue) -> String {
    let bias = epilogue.bias.map_or(String::new(), |id| format!(" + {id}"));
    let residual = epilogue.residual.map_or(String::new(), |id| format!(" + {id}"));
    let activation = epilogue.activation.map_or(String::new(), |f| format!(", {f:?}"));
    bias + &residual + &activation
}

/// What differs from a window at stride 1, dilation 1, without padding.
fn window(window: &Window, groups: usize) -> String {
    let lists = [
        ("stride", &window.strides, 1),
        ("dilation", &window.dilations, 1),
        ("begin", &window.pads_begin, 0),
        ("end", &window.pads_end, 0),
    ];
    let mut text = format!("window {:?}", window.kernel);
    for (name, list, default) in lists {
        if list.iter().any(|&n| n != default) {
            text += &format!(" {name} {list:?}");
        }
    }
    if groups == 1 { text } else { format!("{text} groups {groups}") }
}

fn typed(program: &Program, id: BufferId) -> String {
    let buffer = &program.buffers[id.index()];
    format!("{id}: {}{}", element(buffer.element), shape(program, &buffer.shape))
}

fn shape(program: &Program, sizes: &[Dim]) -> String {
    let sizes: Vec<_> = sizes.iter().map(|size| dim(program, size)).collect();
    format!("[{}]", sizes.join(","))
}

fn dim(program: &Program, size: &Dim) -> String {
    let pair = |a: &Dim, sign: &str, b: &Dim| format!("({}{sign}{})", dim(program, a), dim(program, b));
    match size {
        Dim::Fixed(n) => n.to_string(),
        Dim::Symbol(id) => program.symbols[id.index()].clone(),
        Dim::Add(a, b) => pair(a, "+", b),
        Dim::Mul(a, b) => pair(a, "*", b),
        Dim::FloorDiv(a, b) => pair(a, "/", b),
        Dim::Min(a, b) => format!("min{}", pair(a, ",", b)),
        Dim::Max(a, b) => format!("max{}", pair(a, ",", b)),
    }
}

fn operands(operands: &[Operand]) -> String {
    operands.iter().map(|&o| operand(o)).collect::<Vec<_>>().join(", ")
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::Buffer(id) => id.to_string(),
        Operand::Constant(id) => id.to_string(),
    }
}

fn element(ty: ElementType) -> String {
    ty.to_string()
}
