//! The instructions of x86-64.

use super::{Flow, Instruction};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, IntelFormatter, Mnemonic};

/// The instructions that some bytes are.
pub(super) fn read(bytes: &[u8]) -> Box<dyn Iterator<Item = Instruction> + '_> {
    let mut formatter = IntelFormatter::new();
    Box::new(Decoder::new(64, bytes, DecoderOptions::NONE).into_iter().map(move |instruction| {
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        let flow = match instruction.flow_control() {
            _ if instruction.mnemonic() == Mnemonic::INVALID => Flow::Invalid,
            FlowControl::Call | FlowControl::IndirectCall => Flow::Call,
            FlowControl::ConditionalBranch => Flow::Branch(instruction.near_branch_target()),
            FlowControl::UnconditionalBranch => Flow::Jump(instruction.near_branch_target()),
            FlowControl::Return => Flow::Leave,
            _ => Flow::Next,
        };
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        Instruction {
            at: instruction.ip(),
            next: instruction.next_ip(),
            text,
            adds: adds(&name),
            multiplies: multiplies(&name),
            flow,
        }
    }))
}

/// Whether a mnemonic adds or subtracts numbers.
fn adds(name: &str) -> bool {
    let name = name.strip_prefix('v').unwrap_or(name);
    ["addps", "addss", "addpd", "addsd", "subps", "subss", "subpd", "subsd"].contains(&name)
        || name.starts_with("padd")
        || name.starts_with("psub")
}

/// Whether a mnemonic multiplies or divides.
fn multiplies(name: &str) -> bool {
    let name = name.strip_prefix('v').unwrap_or(name);
    [
        "mul", "imul", "div", "idiv", "fmul", "fdiv", "fm", "fnm", "pmadd", "pmul", "dp", "pdp", "pclmul",
        "gf2p8mul",
    ]
    .iter()
    .any(|stem| name.starts_with(stem))
        || ["pmaddwd", "fimul", "fidiv", "mpsadbw", "rcpps", "rcpss"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::audit;

    #[test]
    fn knows_what_multiplies() {
        let cases: [(&[u8], usize, usize); 8] = [
            (&[0x0F, 0x59, 0xC1], 1, 0),                   // mulps xmm0, xmm1
            (&[0x48, 0x0F, 0xAF, 0xC1], 1, 0),             // imul rax, rcx
            (&[0xC4, 0xE2, 0x71, 0xB8, 0xC2], 1, 0),       // vfmadd231ps xmm0, xmm1, xmm2
            (&[0x66, 0x0F, 0xF5, 0xC1], 1, 0),             // pmaddwd xmm0, xmm1
            (&[0x66, 0x0F, 0x3A, 0x40, 0xC1, 0xFF], 1, 0), // dpps xmm0, xmm1, 255
            (&[0x0F, 0x5E, 0xC1], 1, 0),                   // divps xmm0, xmm1
            (&[0x0F, 0x58, 0xC1], 0, 1),                   // addps xmm0, xmm1
            (&[0xC5, 0xF8, 0x5C, 0xC1], 0, 1),             // vsubps xmm0, xmm0, xmm1
        ];
        for (bytes, multiplications, additions) in cases {
            let got = audit(super::read, bytes);
            assert_eq!(
                (got.multiplications, got.additions, got.invalid),
                (multiplications, additions, 0),
                "{bytes:x?}"
            );
        }
    }
}
