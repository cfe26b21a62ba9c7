//! An assembler for functions with vectors of 256 bits, for x86-64 with AVX2 and FMA.
//!
//! Functions follow the System V calling convention and use only registers that it does not preserve, or save them.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Bytes of a vector.
pub(crate) const VECTOR: usize = 32;

/// Registers for vectors.
pub(crate) const YMM: [AsmRegisterYmm; 16] =
    [ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15];

/// Machine code, or why there is none; nothing if Cranelift is to make it.
pub(crate) type Assembled = Option<Result<Vec<u8>, String>>;

/// The function that `emit` writes, if vectors of `bytes` are this module's. The upper halves of the registers are
/// cleared before it returns, for the sake of code that knows only the lower ones.
pub(crate) fn assemble(
    bytes: usize,
    emit: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Assembled {
    let assemble = || {
        let mut assembler = CodeAssembler::new(64)?;
        emit(&mut assembler)?;
        assembler.vzeroupper()?;
        assembler.ret()?;
        assembler.assemble(0)
    };
    (bytes == VECTOR).then(|| assemble().map_err(|error| error.to_string()))
}
