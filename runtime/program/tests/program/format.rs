//! model.bin: the example of the specification, round trips, and files that are refused.

use crate::random::{attempt, broken_programs, programs};
use crate::running::two_steps;
use crate::single::{count_up, dense, f32s, ternary};
use proptest::prelude::*;
use std::fs;
use twnc_program::format::{MAX_METADATA_BYTES, VERSION};
use twnc_program::interpret::{self, Functions};
use twnc_program::{Constant, ConstantData, FormatError, Program};

/// The bytes of the example in the specification: its lines of an offset and up to 16 bytes.
fn example_in_the_specification() -> Vec<u8> {
    let specification = include_str!("../../../../docs/model-bin.md");
    let mut bytes = vec![];
    for line in specification.lines() {
        let mut words = line.split_whitespace();
        let offset = words.next().filter(|word| word.len() == 4).map(|word| usize::from_str_radix(word, 16));
        let Some(Ok(offset)) = offset else { continue };
        // A gap between two lines is padding.
        bytes.resize(offset, 0);
        bytes.extend(words.map_while(|word| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok())?));
    }
    bytes
}

/// The program that the specification describes: `two_steps` without its second step.
fn example() -> Program {
    let mut program = two_steps();
    program.name = "example".into();
    program.steps.truncate(1);
    program.buffers.truncate(2);
    program.outputs.truncate(1);
    program.outputs[0].buffer = program.steps[0].outputs()[0];
    program
}

#[test]
fn the_specification_s_example_is_read() {
    let read = Program::from_bytes(&example_in_the_specification()).expect("the example is a file");
    assert_eq!(read, example());
    let outputs = interpret::run(&read, &[count_up(&[2, 3])], &Functions::default());
    assert_eq!(outputs, Ok(vec![f32s(&[2, 2], &[0., 0.5, 0., 0.5])]));
}

#[test]
fn the_writer_writes_the_specification_s_example() {
    assert_eq!(hex(&example().to_bytes()), hex(&example_in_the_specification()));
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().map(|(i, line)| {
        let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04x}  {}\n", i * 16, digits.join(" "))
    });
    lines.collect()
}

#[test]
fn constants_of_every_type_survive() {
    let nan = f32::from_bits(0x7fa0_0001);
    let trits = |n: usize| ternary(&[n], &(0..n).map(|i| (i % 3) as i8 - 1).collect::<Vec<_>>()).data;
    let data = [
        ConstantData::F32([-0., nan, f32::MIN_POSITIVE / 2., f32::NEG_INFINITY].into()),
        ConstantData::I8([i8::MIN, -1, 0, i8::MAX].into()),
        ConstantData::U8([0, 1, 254, 255].into()),
        ConstantData::I16([i16::MIN, -1, 0, i16::MAX].into()),
        ConstantData::I32([i32::MIN, -1, 0, i32::MAX].into()),
        ConstantData::I64([i64::MIN, -1, 0, i64::MAX].into()),
        ConstantData::Bool([0, 1, 1, 0].into()),
    ];
    let data = data.into_iter().chain((0..12).map(trits));
    let constants = data.map(|data| {
        let constant = Constant { name: "ü".into(), shape: vec![], data };
        Constant { shape: vec![constant.len()], ..constant }
    });
    let program = Program { constants: constants.collect(), ..two_steps_without_constants() };
    let read = Program::from_bytes(&program.to_bytes()).expect("it was just written");
    // NaN is unequal to itself; its bits are what is kept.
    assert_eq!(format!("{read:?}"), format!("{program:?}"));
    assert!(matches!(&read.constants[0].data, ConstantData::F32(v) if v[1].to_bits() == nan.to_bits()));
}

/// A program that computes nothing.
fn two_steps_without_constants() -> Program {
    let mut program = two_steps();
    program.steps.clear();
    program.buffers.truncate(1);
    program.outputs.retain(|port| port.name == "x");
    program
}

/// The three sections of a file.
fn sections(file: &[u8]) -> [Vec<u8>; 3] {
    [0, 1, 2].map(|i| {
        let entry = &file[32 + 32 * i..][..32];
        let number =
            |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes")) as usize;
        file[number(8)..][..number(16)].to_vec()
    })
}

/// A file of these sections, as the specification says, with right checksums.
fn file(sections: &[Vec<u8>]) -> Vec<u8> {
    let first = (32 + 32 * sections.len()).next_multiple_of(64);
    let (mut table, mut body) = (vec![], vec![]);
    for (i, section) in sections.iter().enumerate() {
        body.resize(body.len().next_multiple_of(64), 0);
        table.extend((i as u32 + 1).to_le_bytes());
        table.extend(crc32fast::hash(section).to_le_bytes());
        table.extend((first as u64 + body.len() as u64).to_le_bytes());
        table.extend((section.len() as u64).to_le_bytes());
        table.extend([0; 8]);
        body.extend(section);
    }
    let mut file = b"\x89TWNC\r\n\x1a".to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend((sections.len() as u32).to_le_bytes());
    file.extend((first as u64 + body.len() as u64).to_le_bytes());
    file.extend([0; 8]);
    file.extend(table);
    file.resize(first, 0);
    file.extend(body);
    repair(&mut file);
    file
}

/// Makes the checksums of a file's header and table right, and those of the sections that are where the table says.
fn repair(file: &mut [u8]) {
    let count = u32::from_le_bytes([file[12], file[13], file[14], file[15]]) as usize;
    let end = (32 + 32 * count.min(3)).min(file.len());
    for entry in (32..end).step_by(32) {
        let number =
            |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize;
        let (start, length) = (number(entry + 8), number(entry + 16));
        let section = start.checked_add(length).and_then(|end| file.get(start..end));
        if let Some(sum) = section.map(crc32fast::hash) {
            file[entry + 4..entry + 8].copy_from_slice(&sum.to_le_bytes());
        }
    }
    let table = crc32fast::hash(&file[32..end]);
    file[24..28].copy_from_slice(&table.to_le_bytes());
    let header = crc32fast::hash(&file[..28]);
    file[28..32].copy_from_slice(&header.to_le_bytes());
}

#[track_caller]
fn check_refused(bytes: &[u8], message: &str) {
    let found = Program::from_bytes(bytes).map_err(|e| e.to_string());
    assert_eq!(found, Err(message.to_owned()));
}

#[test]
fn frames_that_are_refused() {
    let good = example().to_bytes();
    assert_eq!(file(&sections(&good)), good);
    let no_model = "not a model.bin: it does not begin with the format's signature";
    check_refused(&[], no_model);
    check_refused(b"\x89TWNC\n\x1a\0", no_model);
    check_refused(&good[..8], "damaged: it ends too early");
    check_refused(&good[..31], "damaged: it ends too early");
    let table: Vec<(fn(&mut Vec<u8>), &str)> = vec![
        (
            |f| f[8] = 2,
            "format version 2, but this release reads version 1; compile the model again with this release",
        ),
        (|f| f[12] = 2, "damaged: it has another number of sections"),
        (
            |f| f.push(0),
            "damaged: it has not the length that its header says; it was cut or something was added",
        ),
        (
            |f| f.truncate(100),
            "damaged: it has not the length that its header says; it was cut or something was added",
        ),
        (|f| f[32] = 2, "damaged: the checksum or kind of section 1 is wrong"),
        (|f| f[40] += 64, "damaged: a section is misplaced"),
        (|f| f[47] = 255, "damaged: a section is misplaced"),
        (|f| f[55] = 255, "damaged: a section is misplaced"),
        (|f| f[56] = 1, "damaged: it is not in the canonical encoding"),
        // The first section ends in the middle of a line: what follows is padding.
        (|f| f[230] = 1, "damaged: it is not in the canonical encoding"),
    ];
    for (edit, message) in table {
        let mut bytes = good.clone();
        edit(&mut bytes);
        if bytes.len() == good.len() {
            repair(&mut bytes);
        }
        check_refused(&bytes, message);
    }
    let [metadata, dense, ternary] = sections(&good);
    let more = [metadata.clone(), dense.clone(), ternary.clone(), vec![]];
    check_refused(&file(&more), "damaged: it has another number of sections");
    let table: [([Vec<u8>; 3], &str); 6] = [
        ([metadata.clone(), vec![], ternary.clone()], "damaged: constant `dense` is not all there"),
        ([metadata.clone(), dense.clone(), vec![]], "damaged: constant `weight` is not all there"),
        // 243 is no byte of five trits; the spare digits of the last byte are 1.
        ([metadata.clone(), dense.clone(), vec![243, 121]], "damaged: constant `weight` is not packed trits"),
        ([metadata.clone(), dense.clone(), vec![0, 0]], "damaged: constant `weight` is not packed trits"),
        (
            [metadata.clone(), [&dense[..], &[0]].concat(), ternary.clone()],
            "damaged: it is not in the canonical encoding",
        ),
        ([metadata, dense, [&ternary[..], &[121]].concat()], "damaged: it is not in the canonical encoding"),
    ];
    for (sections, message) in table {
        check_refused(&file(&sections), message);
    }
}

/// A protobuf field that holds a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A protobuf field that holds bytes, a text, a message or packed numbers.
fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut digits = vec![];
    while n >= 128 {
        digits.push(n as u8 | 128);
        n >>= 7;
    }
    digits.push(n as u8);
    digits
}

#[test]
fn metadata_that_is_refused() {
    let buffer = |code: &[u8]| bytes(3, &bytes(2, &bytes(1, code)));
    let constant = |element: u64, shape: &[u64]| {
        let sizes: Vec<u8> = shape.iter().flat_map(|&n| varint(n)).collect();
        bytes(4, &[bytes(1, b"c"), number(2, element), bytes(3, &sizes)].concat())
    };
    let step = |kind: u64, message: &[u8]| bytes(5, &bytes(kind, message));
    let no_expression = "damaged: a dimension is not an expression";
    let not_there = "damaged: constant `c` is not all there";
    let not_canonical = "damaged: it is not in the canonical encoding";
    let unreadable = "damaged: the metadata is not readable (";
    let table: Vec<(Vec<u8>, &str)> = vec![
        // Not protobuf at all, a wrong wire type, a cut message, text that is not UTF-8.
        (vec![0xff], unreadable),
        (number(1, 5), unreadable),
        (vec![0x0a, 5, b'x'], unreadable),
        (bytes(1, &[0xff]), unreadable),
        // Fields that nobody knows, a default that is written out, fields in another order.
        (number(99, 1), not_canonical),
        (bytes(1, b""), not_canonical),
        ([bytes(2, b""), bytes(1, b"x")].concat(), "not a valid program: symbol ``: no input binds it"),
        // Codes are doubled: sint64 writes n as 2n.
        (buffer(&[]), no_expression),
        (buffer(&[0]), no_expression),
        (buffer(&[4]), no_expression),
        (buffer(&[14]), no_expression),
        (buffer(&[1]), no_expression),
        (buffer(&[2, 1]), no_expression),
        (buffer(&[0, 6, 0, 6]), no_expression),
        (buffer(&[0, 6, 4]), no_expression),
        (buffer(&[0; 4096]), "damaged: a dimension's expression is too long"),
        (bytes(3, &number(1, 8)), "damaged: an unknown element type"),
        (constant(7, &[11]), not_there),
        (constant(0, &[1 << 40]), not_there),
        (constant(7, &[u64::MAX, 2]), not_there),
        (constant(7, &[0, 1 << 62, 1 << 62]), not_there),
        (bytes(5, &[]), "damaged: a step's kind is missing"),
        (step(2, &[]), "damaged: an epilogue is missing"),
        (step(3, &[]), "damaged: a window is missing"),
        (step(5, &bytes(1, &varint(1 << 33))), "damaged: an operand's number is too large"),
        (step(5, &bytes(2, &[])), "damaged: an instruction's function is missing"),
        (step(5, &bytes(2, &bytes(1, &[]))), "damaged: an instruction has neither one operand nor two"),
        // Of functions, and below of all that have a code, the first that there is not: with it there is another version.
        (
            step(5, &bytes(2, &[bytes(1, &number(1, 19)), bytes(2, &[0])].concat())),
            "damaged: an unknown function, or one with other parameters",
        ),
        (
            step(5, &bytes(2, &[bytes(1, &number(1, 11)), bytes(2, &[0, 0])].concat())),
            "damaged: an unknown function",
        ),
        (
            step(5, &bytes(2, &[bytes(1, &[]), bytes(2, &varint(1 << 16))].concat())),
            "damaged: a value's number is too large",
        ),
        (step(6, &number(1, 3)), "damaged: an unknown kind of pool"),
        (step(7, &number(1, 4)), "damaged: an unknown reduction"),
        (step(15, &number(1, 4)), "damaged: an unknown combination"),
        (step(9, &[]), "damaged: a move's kind is missing"),
        (step(9, &bytes(6, &[])), "damaged: a slice's start is missing"),
        (step(9, &bytes(7, &number(3, 3))), "damaged: an unknown mode of padding"),
        (step(12, &bytes(2, &[])), "damaged: an attribute's value is missing"),
        (step(8, &[]), "not a valid program: step 0 `` (softmax): there is no buffer b0"),
        (
            bytes(1, &vec![b'x'; MAX_METADATA_BYTES]),
            "damaged: 8388613 bytes of metadata; at most 8388608 are read",
        ),
    ];
    for (metadata, message) in table {
        let found =
            Program::from_bytes(&file(&[metadata.clone(), vec![], vec![]])).map_err(|e| e.to_string());
        let start = &metadata[..metadata.len().min(32)];
        assert!(matches!(&found, Err(e) if e.starts_with(message)), "{start:02x?}: {found:?}");
    }
    assert_eq!(
        Program::from_bytes(&file(&[vec![], vec![], vec![]])).map_err(|e| e.to_string()),
        Ok(Program::default())
    );
    let bool_of_2 = constant(6, &[1]);
    check_refused(&file(&[bool_of_2, vec![2], vec![]]), "damaged: a bool is neither 0 nor 1");
}

#[test]
fn files_are_written_and_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.bin");
    let plain = folder.path().join("plain");
    fs::write(&path, "what was there").expect("a file");
    fs::write(&plain, "").expect("a file");
    example().write_file(&path).expect("it is written");
    assert_eq!(Program::read_file(&path).expect("it is read"), example());
    assert_eq!(fs::read(&path).expect("it is there"), example().to_bytes());
    // It may be read by whom any new file may be read by, and no temporary file is left.
    let permissions = |path| fs::metadata(path).expect("it is there").permissions();
    assert_eq!(permissions(&path), permissions(&plain));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
}

#[test]
fn files_that_are_not_written_or_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.bin");
    assert!(matches!(Program::read_file(folder.path()), Err(FormatError::NotAFile)));
    assert!(matches!(Program::read_file(&path), Err(FormatError::Io(_))));
    assert!(matches!(example().write_file(&path.join("below")), Err(FormatError::Io(_))));
    assert!(matches!(example().write_file(folder.path()), Err(FormatError::Io(_))));
    // What could not be read back is not written, and what was there stays.
    fs::write(&path, "what was there").expect("a file");
    let invalid = Program { constants: vec![], ..example() };
    assert!(matches!(invalid.write_file(&path), Err(FormatError::Program(_))));
    let endless = Program { name: "x".repeat(MAX_METADATA_BYTES), ..example() };
    assert!(matches!(endless.write_file(&path), Err(FormatError::Damaged(_))));
    assert_eq!(fs::read(&path).expect("it is there"), b"what was there");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let good = two_steps().to_bytes();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Program::from_bytes(&bytes).is_err(), "bit {bit}");
    }
    for length in 0..good.len() {
        assert!(Program::from_bytes(&good[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn dense_constants_are_aligned() {
    let constants =
        vec![dense(&[1], &[1.]), ternary(&[1], &[1]), dense(&[17], &[2.; 17]), dense(&[1], &[3.])];
    let bytes = Program { constants, ..two_steps_without_constants() }.to_bytes();
    let [_, dense, ternary] = sections(&bytes);
    assert_eq!((dense.len(), ternary.len()), (64 + 128 + 4, 1));
    assert_eq!(dense[..4], 1f32.to_le_bytes());
    assert_eq!(dense[64..68], 2f32.to_le_bytes());
    assert_eq!(dense[192..], 3f32.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn programs_survive((program, _) in programs()) {
        let bytes = program.to_bytes();
        let read = Program::from_bytes(&bytes).expect("it was just written");
        prop_assert_eq!(&read, &program);
        prop_assert_eq!(read.to_bytes(), bytes);
    }

    /// A file is read exactly when its program is valid.
    #[test]
    fn damaged_programs_are_refused((program, _) in broken_programs()) {
        let fits = program.constants.iter().all(|c| Some(c.len()) == twnc_program::element_count(&c.shape));
        prop_assume!(fits);
        match Program::from_bytes(&program.to_bytes()) {
            Ok(read) => prop_assert_eq!(read, program),
            Err(FormatError::Program(e)) => prop_assert_eq!(program.validate(), Err(e)),
            Err(e) => prop_assert!(false, "{}", e),
        }
    }

    /// Changed bytes with right checksums: whatever is read is valid, and running it is no panic.
    #[test]
    fn repaired_files_do_not_panic(
        (program, inputs) in programs(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = program.to_bytes();
        let length = bytes.len();
        for (at, byte) in flips {
            bytes[8 + at.index(length - 8)] = byte;
        }
        repair(&mut bytes);
        if let Ok(read) = Program::from_bytes(&bytes) {
            prop_assert_eq!(read.validate(), Ok(()));
            attempt(&read, &inputs);
        }
    }
}
