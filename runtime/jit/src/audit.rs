//! What emitted machine code really contains, by disassembling it.
//!
//! "Without multiplications" is checked on the bytes, not on the code that made them.

use crate::compile::Function;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, Mnemonic};

/// The content of some machine code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// All instructions.
    pub instructions: usize,
    /// Additions and subtractions of floats or of vectors of integers.
    pub additions: usize,
    /// Instructions that multiply or divide, of any kind (fused, of integers, dot products), beyond those of an epilogue.
    pub multiplications: usize,
    /// Those that multiply for the epilogue of finished sums, as many as the function's description says, or as there are.
    pub epilogue: usize,
    /// Calls.
    pub calls: usize,
    /// Bytes that are no instruction.
    pub invalid: usize,
    /// Length of the code, with the constants behind it.
    pub bytes: usize,
}

impl Function {
    /// Counts what it contains. `None` on a machine whose code this crate cannot read (all but x86-64).
    pub fn audit(&self) -> Option<Audit> {
        cfg!(target_arch = "x86_64").then(|| {
            let audit = audit(self.bytes());
            let epilogue = audit.multiplications.min(self.epilogue_multiplications());
            Audit { multiplications: audit.multiplications - epilogue, epilogue, ..audit }
        })
    }

    /// Its instructions, one a line, with addresses from 0; empty on a machine whose code this crate cannot read.
    pub fn disassemble(&self) -> String {
        let mut text = String::new();
        if cfg!(target_arch = "x86_64") {
            let mut formatter = IntelFormatter::new();
            for instruction in decode(self.bytes()) {
                text.push_str(&format!("{:6x}  ", instruction.ip()));
                formatter.format(&instruction, &mut text);
                text.push('\n');
            }
        }
        text
    }
}

fn audit(bytes: &[u8]) -> Audit {
    let mut audit = Audit { bytes: bytes.len(), ..Audit::default() };
    for instruction in decode(bytes) {
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        audit.instructions += 1;
        audit.additions += usize::from(adds(&name));
        audit.multiplications += usize::from(multiplies(&name));
        audit.invalid += usize::from(instruction.mnemonic() == Mnemonic::INVALID);
        let call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        audit.calls += usize::from(call);
    }
    audit
}

/// The instructions of a function. Constants may follow them: the code ends with the first return or jump that no branch
/// passes over, for what comes after it would have to be reached from before.
fn decode(bytes: &[u8]) -> Vec<Instruction> {
    let mut reached = 0;
    let mut instructions = Vec::new();
    for instruction in &mut Decoder::new(64, bytes, DecoderOptions::NONE) {
        instructions.push(instruction);
        let flow = instruction.flow_control();
        if matches!(flow, FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch) {
            reached = reached.max(instruction.near_branch_target());
        }
        let leaves = matches!(flow, FlowControl::Return | FlowControl::UnconditionalBranch);
        if leaves && instruction.next_ip() > reached {
            break;
        }
    }
    instructions
}

/// Whether a mnemonic adds or subtracts numbers (address arithmetic is not counted).
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
    use super::*;

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
            let got = audit(bytes);
            assert_eq!(
                (got.multiplications, got.additions, got.invalid),
                (multiplications, additions, 0),
                "{bytes:x?}"
            );
        }
    }
}
