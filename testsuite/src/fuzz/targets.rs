//! The readers.

use super::arrays;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use twnc_ir::custom::CustomRegistry;
use twnc_ir::text;
use twnc_onnx::ImportOptions;
use twnc_passes::Rule;
use twnc_program::interpret::{self, Functions, Tensor, TensorData};
use twnc_program::{Dim, ElementType, Port, Program, element_count};
use twnc_runtime::Tuning;

/// The most bytes of all buffers, and additions, of a program that is run.
const MOST_WORK: u64 = 1 << 20;

/// The size of an open axis of a program that is run.
const OPEN: usize = 2;

/// A reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// ONNX models.
    Onnx,
    /// model.bin, with checksums made right where they can be.
    Program,
    /// Graphs as text.
    Twir,
    /// Rewrite rules as text.
    Rules,
    /// Arrays as `.npy`.
    Npy,
    /// Arrays as `.npz`.
    Npz,
    /// Images, JPEG and PNG.
    Image,
    /// Tunings as text.
    Tuning,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 8] = [
        Target::Onnx,
        Target::Program,
        Target::Twir,
        Target::Rules,
        Target::Npy,
        Target::Npz,
        Target::Image,
        Target::Tuning,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Target::Onnx => "onnx",
            Target::Program => "program",
            Target::Twir => "twir",
            Target::Rules => "rules",
            Target::Npy => "npy",
            Target::Npz => "npz",
            Target::Image => "image",
            Target::Tuning => "tuning",
        }
    }

    /// Reads, and checks what must hold of what was read. Whether the bytes were accepted.
    ///
    /// # Panics
    /// Where something does not hold.
    pub fn run(self, bytes: &[u8]) -> bool {
        match self {
            Target::Onnx => onnx(bytes),
            Target::Program => program(bytes),
            Target::Twir => std::str::from_utf8(bytes).is_ok_and(twir),
            Target::Rules => std::str::from_utf8(bytes).is_ok_and(rules),
            Target::Npy => arrays::npy(bytes),
            Target::Npz => arrays::npz(bytes),
            Target::Image => arrays::image(bytes),
            Target::Tuning => std::str::from_utf8(bytes).is_ok_and(tuning),
        }
    }

    /// Inputs that it accepts: what the repository has of them.
    pub fn seeds(self) -> Vec<Vec<u8>> {
        let graphs =
            || graphs().into_iter().filter_map(|text| text::parse(&text, &CustomRegistry::default()).ok());
        match self {
            Target::Onnx => {
                graphs().filter_map(|graph| twnc_onnx::export(&graph).ok()).chain(onnx_files()).collect()
            }
            Target::Program => {
                graphs().filter_map(|graph| twnc_lower::lower(&graph).ok()).map(|p| p.to_bytes()).collect()
            }
            Target::Twir => graphs().map(|graph| text::print_full(&graph).into_bytes()).collect(),
            Target::Rules => rule_texts(),
            Target::Npy => arrays::npy_seeds(),
            Target::Npz => arrays::npz_seeds(),
            Target::Image => arrays::image_seeds(),
            Target::Tuning => TUNINGS.map(|text| text.as_bytes().to_vec()).into(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Target, String> {
        let names = Target::ALL.map(Target::name).join(", ");
        let found = Target::ALL.into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| format!("no reader is called `{name}`; there are {names}"))
    }
}

/// The graphs of the repository's cases.
fn graphs() -> Vec<String> {
    let files = files(&["cases", "../compiler/lower/tests/cases"]);
    files.into_iter().filter_map(|file| String::from_utf8(file).ok()).collect()
}

/// Networks that others wrote: ternary in seven ways, and as exporters of many kinds have them.
fn onnx_files() -> Vec<Vec<u8>> {
    let mut networks = files(&["arrivals", "fuzz/seeds/onnx"]);
    // Beside the networks lies what another engine computes.
    networks.retain(|file| !file.starts_with(b"{"));
    networks
}

/// The files of folders, in the order of their names.
fn files(folders: &[&str]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = folders
        .iter()
        .filter_map(|folder| root.join(folder).read_dir().ok())
        .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
        .collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

/// The built-in rules, each as a text under another name, and one with attributes that are written out.
fn rule_texts() -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/src/egraph/rules/built_in.rules");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let rules = text.split("\nrule ").skip(1).map(|rule| format!("rule own_{rule}").into_bytes());
    let written = "rule written (exact): transpose{perm=[1,0]}(clip{min=0.0, max=-1e3}(?x)) => ?x # [";
    rules.chain([written.as_bytes().to_vec()]).collect()
}

fn onnx(bytes: &[u8]) -> bool {
    let Ok(import) = twnc_onnx::import_bytes(bytes, &ImportOptions::default()) else { return false };
    let graph = import.graph;
    let violations = twnc_ir::verify::verify(&graph);
    assert!(violations.is_ok(), "an imported graph is not valid: {violations:?}");
    if let Ok(program) = twnc_lower::lower(&graph) {
        let bytes = program.to_bytes();
        let again = Program::from_bytes(&bytes)
            .unwrap_or_else(|error| panic!("a program's file is refused: {error}"));
        // By bytes: a NaN is not equal to itself.
        assert!(again.to_bytes() == bytes, "a program does not survive its file");
    }
    true
}

fn twir(source: &str) -> bool {
    let Ok(graph) = text::parse(source, &CustomRegistry::default()) else { return false };
    // A graph that is no valid one need not be printable.
    if twnc_ir::verify::verify(&graph).is_ok() {
        let printed = text::print_full(&graph);
        let again = text::parse(&printed, &CustomRegistry::default());
        let again =
            again.unwrap_or_else(|error| panic!("what was printed does not parse: {error}\n{printed}"));
        assert_eq!(text::print_full(&again), printed, "a graph does not survive its text");
    }
    true
}

fn rules(source: &str) -> bool {
    Rule::parse(source).is_ok()
}

/// Tunings as `twnc bench --autotune --store` writes them.
const TUNINGS: [&str; 2] = [
    "twnc tuning 1\n",
    "twnc tuning 1\navx2 1 | conv f32 1x64x56x56 | 3 | rows 4\nportable 4 | matmul i16 16x784 120 | 0 | tables 2\n",
];

fn tuning(source: &str) -> bool {
    let Ok(tuning) = source.parse::<Tuning>() else { return false };
    let again = tuning.to_string().parse::<Tuning>();
    assert_eq!(again.ok(), Some(tuning), "a tuning does not survive its text");
    true
}

fn program(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    repair(&mut bytes);
    let Ok(program) = Program::from_bytes(&bytes) else { return false };
    run(&program);
    true
}

/// Runs a small program on small inputs.
fn run(program: &Program) {
    let shape_of = |port: &Port| -> Vec<usize> {
        let buffer = &program.buffers[port.buffer.index()];
        let size = |dim: &Dim| match dim {
            Dim::Fixed(n) => usize::try_from(*n).unwrap_or(usize::MAX),
            _ => OPEN,
        };
        buffer.shape.iter().map(size).collect()
    };
    let given: Vec<Vec<usize>> = program.inputs.iter().map(shape_of).collect();
    let Ok(shapes) = program.resolve(&given) else { return };
    let bytes = shapes.bytes(program).into_iter().fold(0u64, |sum, n| sum.saturating_add(n as u64));
    let work = program
        .steps
        .iter()
        .map(|step| twnc_program::operations::count(program, &shapes, step).additions())
        .fold(bytes, u64::saturating_add);
    if work > MOST_WORK {
        return;
    }
    let inputs = program.inputs.iter().zip(&given);
    let inputs = inputs.map(|(port, shape)| zeros(program.buffers[port.buffer.index()].element, shape));
    let Some(inputs) = inputs.collect::<Option<Vec<Tensor>>>() else { return };
    let Ok(outputs) = interpret::run(program, &inputs, &Functions::default()) else { return };
    for (port, output) in program.outputs.iter().zip(&outputs) {
        assert_eq!(output.shape, shapes.of(port.buffer), "an output's shape");
        assert_eq!(Some(output.data.view().len()), element_count(&output.shape), "an output's elements");
    }
}

fn zeros(element: ElementType, shape: &[usize]) -> Option<Tensor> {
    let count = element_count(shape)?;
    let data = match element {
        ElementType::F32 => TensorData::F32(vec![0.0; count]),
        ElementType::I8 => TensorData::I8(vec![0; count]),
        ElementType::U8 => TensorData::U8(vec![0; count]),
        ElementType::I16 => TensorData::I16(vec![0; count]),
        ElementType::I32 => TensorData::I32(vec![0; count]),
        ElementType::I64 => TensorData::I64(vec![0; count]),
        ElementType::Bool => TensorData::Bool(vec![0; count]),
        ElementType::Ternary => return None,
    };
    Some(Tensor { shape: shape.to_vec(), data })
}

/// Makes checksums right, of the header, of the table, and of the sections that are where the table says.
fn repair(file: &mut [u8]) {
    const HEADER: usize = 32;
    const ENTRY: usize = 32;
    let Some(count) = file.get(12..16).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes) else {
        return;
    };
    if file.len() < HEADER {
        return;
    }
    let end = (HEADER + ENTRY * (count as usize).min(3)).min(file.len());
    for entry in (HEADER..end).step_by(ENTRY) {
        let number = |at: usize| -> Option<usize> {
            let bytes = file.get(at..at + 8)?.try_into().ok()?;
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let section = number(entry + 8)
            .zip(number(entry + 16))
            .and_then(|(start, length)| file.get(start..start.checked_add(length)?));
        if let Some(sum) = section.map(crc32fast::hash)
            && let Some(place) = file.get_mut(entry + 4..entry + 8)
        {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
    let table = crc32fast::hash(&file[HEADER..end]);
    file[24..28].copy_from_slice(&table.to_le_bytes());
    let header = crc32fast::hash(&file[..28]);
    file[28..32].copy_from_slice(&header.to_le_bytes());
}
