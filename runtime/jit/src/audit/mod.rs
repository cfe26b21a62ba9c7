//! What emitted machine code really contains, by disassembling it.
//!
//! "Without multiplications" is checked on the bytes, not on the code that made them. What is known of instructions is in a file for each kind of
//! processor.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::compile::Function;

/// What reads the code of this machine, if this crate can.
#[cfg(target_arch = "x86_64")]
const HERE: Option<Read> = Some(x86::read);
#[cfg(target_arch = "aarch64")]
const HERE: Option<Read> = Some(aarch64::read);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const HERE: Option<Read> = None;

/// From bytes to instructions, one after the other, to the end of the bytes.
type Read = fn(&[u8]) -> Box<dyn Iterator<Item = Instruction> + '_>;

/// An instruction, as far as it matters here.
struct Instruction {
    /// Where it starts.
    at: u64,
    /// Where the next one does.
    next: u64,
    text: String,
    /// Whether it adds or subtracts floats or vectors of integers. (Address arithmetic is not counted.)
    adds: bool,
    /// Whether it multiplies or divides.
    multiplies: bool,
    flow: Flow,
}

/// What comes after an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The next one.
    Next,
    /// The next one, after what it calls.
    Call,
    /// Either the next one or another.
    Branch(u64),
    /// Another.
    Jump(u64),
    /// Nothing of this function, as far as this crate can see.
    Leave,
    /// Unknown: the bytes are no instruction.
    Invalid,
}

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
    /// Counts what it contains. `None` on a machine whose code this crate cannot read (all but x86-64 and aarch64).
    pub fn audit(&self) -> Option<Audit> {
        HERE.map(|read| {
            let audit = audit(read, self.bytes());
            let epilogue = audit.multiplications.min(self.epilogue_multiplications());
            Audit { multiplications: audit.multiplications - epilogue, epilogue, ..audit }
        })
    }

    /// Its instructions, one a line, with addresses from 0; empty on a machine whose code this crate cannot read.
    pub fn disassemble(&self) -> String {
        let lines = HERE.into_iter().flat_map(|read| body(read, self.bytes()));
        lines.map(|instruction| format!("{:6x}  {}\n", instruction.at, instruction.text)).collect()
    }
}

fn audit(read: Read, bytes: &[u8]) -> Audit {
    let mut audit = Audit { bytes: bytes.len(), ..Audit::default() };
    for instruction in body(read, bytes) {
        audit.instructions += 1;
        audit.additions += usize::from(instruction.adds);
        audit.multiplications += usize::from(instruction.multiplies);
        audit.invalid += usize::from(instruction.flow == Flow::Invalid);
        audit.calls += usize::from(instruction.flow == Flow::Call);
    }
    audit
}

/// The instructions of a function. Constants may follow them: the code ends with the first return or jump that no branch
/// passes over, for what comes after it would have to be reached from before.
fn body(read: Read, bytes: &[u8]) -> Vec<Instruction> {
    let mut reached = 0;
    let mut instructions = Vec::new();
    for instruction in read(bytes) {
        let (flow, next) = (instruction.flow, instruction.next);
        instructions.push(instruction);
        if let Flow::Branch(target) | Flow::Jump(target) = flow {
            reached = reached.max(target);
        }
        if matches!(flow, Flow::Leave | Flow::Jump(_)) && next > reached {
            break;
        }
    }
    instructions
}
