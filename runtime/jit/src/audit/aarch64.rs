//! The instructions of aarch64.

use super::{Flow, Instruction};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};

/// Bytes of every instruction.
const LENGTH: usize = 4;

/// The instructions that some bytes are.
pub(super) fn read(bytes: &[u8]) -> Box<dyn Iterator<Item = Instruction> + '_> {
    Box::new(bytes.chunks(LENGTH).zip((0..).step_by(LENGTH)).map(|(word, at)| {
        let next = at + LENGTH as u64;
        match InstDecoder::default().decode(&mut U8Reader::new(word)) {
            Ok(decoded) => {
                let name = decoded.opcode.to_string();
                let target = decoded.operands.iter().find_map(|operand| match operand {
                    Operand::PCOffset(distance) => at.checked_add_signed(*distance),
                    _ => None,
                });
                let flow = match (decoded.opcode, target) {
                    (Opcode::Invalid | Opcode::UDF, _) => Flow::Invalid,
                    (Opcode::BL | Opcode::BLR, _) => Flow::Call,
                    (Opcode::B, Some(target)) => Flow::Jump(target),
                    (
                        Opcode::Bcc(_) | Opcode::CBZ | Opcode::CBNZ | Opcode::TBZ | Opcode::TBNZ,
                        Some(target),
                    ) => Flow::Branch(target),
                    (Opcode::RET | Opcode::BR, _) => Flow::Leave,
                    _ => Flow::Next,
                };
                let vectors = matches!(decoded.operands[0], Operand::SIMDRegisterElements(..));
                let (adds, multiplies) = (adds(&name, vectors), multiplies(&name));
                Instruction { at, next, text: decoded.to_string(), adds, multiplies, flow }
            }
            Err(_) => {
                let (text, adds, multiplies) = ("(bad)".to_owned(), false, false);
                Instruction { at, next, text, adds, multiplies, flow: Flow::Invalid }
            }
        }
    }))
}

/// Whether a mnemonic adds or subtracts numbers, of `vectors` or not.
fn adds(name: &str, vectors: bool) -> bool {
    let stems = ["add", "sub", "sadd", "uadd", "ssub", "usub"];
    name.starts_with("fadd")
        || name.starts_with("fsub")
        || (vectors && stems.iter().any(|stem| name.starts_with(stem)))
}

/// Whether a mnemonic multiplies or divides.
fn multiplies(name: &str) -> bool {
    // Of floats and integers, widening, high halves, fused, of vectors, complex, and the steps of reciprocals.
    let stems = [
        "mul", "mla", "mls", "madd", "msub", "mneg", "maddl", "msubl", "mnegl", "div", "dot", "cmla", "recp",
        "rsqrt",
    ];
    stems.iter().any(|stem| name.contains(stem))
}

#[cfg(test)]
mod tests {
    use super::super::audit;

    #[test]
    fn knows_what_multiplies() {
        let cases: [(u32, usize, usize, usize); 17] = [
            (0x9B02_7C20, 1, 0, 0), // mul x0, x1, x2
            (0x9B02_0C20, 1, 0, 0), // madd x0, x1, x2, x3
            (0x9B42_7C20, 1, 0, 0), // smulh x0, x1, x2
            (0x9AC2_0820, 1, 0, 0), // udiv x0, x1, x2
            (0x1E22_0820, 1, 0, 0), // fmul s0, s1, s2
            (0x1F02_0C20, 1, 0, 0), // fmadd s0, s1, s2, s3
            (0x6E22_DC20, 1, 0, 0), // fmul v0.4s, v1.4s, v2.4s
            (0x4E22_CC20, 1, 0, 0), // fmla v0.4s, v1.4s, v2.4s
            (0x4E62_9C20, 1, 0, 0), // mul v0.8h, v1.8h, v2.8h
            (0x0E62_C020, 1, 0, 0), // smull v0.4s, v1.4h, v2.4h
            (0x6E22_FC20, 1, 0, 0), // fdiv v0.4s, v1.4s, v2.4s
            (0x4E22_D420, 0, 1, 0), // fadd v0.4s, v1.4s, v2.4s
            (0x1E22_3820, 0, 1, 0), // fsub s0, s1, s2
            (0x6E62_8420, 0, 1, 0), // sub v0.8h, v1.8h, v2.8h
            (0x8B02_0020, 0, 0, 0), // add x0, x1, x2: an address
            (0x9400_0001, 0, 0, 1), // bl
            (0xD63F_0000, 0, 0, 1), // blr x0
        ];
        for (word, multiplications, additions, calls) in cases {
            let got = audit(super::read, &word.to_le_bytes());
            let found = (got.multiplications, got.additions, got.calls, got.invalid);
            assert_eq!(found, (multiplications, additions, calls, 0), "{word:x}");
        }
    }

    #[test]
    fn constants_behind_the_code_are_no_instructions() {
        let code = [
            0xB400_0060_u32, // cbz x0, to the last return
            0xD65F_03C0,     // ret
            0x0000_0000,     // no instruction
            0xD65F_03C0,     // ret
            0x9B02_7C20,     // a constant like a multiplication
        ];
        let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        let got = audit(super::read, &bytes);
        assert_eq!((got.instructions, got.invalid, got.multiplications, got.bytes), (4, 1, 0, 20));
        // What is cut off is no instruction either.
        assert_eq!(audit(super::read, &bytes[16..18]).invalid, 1);
    }
}
