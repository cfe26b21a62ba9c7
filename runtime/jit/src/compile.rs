//! From the description of a function to sealed code, one function at a time.
//!
//! Functions depend on a small description (a tile, a group size), not on a layer's weights, so layers share them: a
//! [`Compiler`] knows each function that is still in use by its description.

use crate::arena::CodeArena;
use crate::error::JitError;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function as Ir, InstBuilder, Signature, UserFuncName, types};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, ir};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The description of a function: whatever its code depends on, all of which its `Debug` form says.
pub(crate) trait Code: Debug {
    /// How many machine words it takes; it returns nothing.
    fn parameters(&self) -> usize;

    /// Writes it for Cranelift.
    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[ir::Value]);

    /// How many of its instructions multiply for an epilogue: what a finished sum is scaled by, and activation functions.
    fn epilogue_multiplications(&self) -> usize {
        0
    }

    /// Its machine code where it is not to be Cranelift's, or why there is none.
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        None
    }
}

/// A compiled function.
pub struct Function {
    name: String,
    epilogue_multiplications: usize,
    code: CodeArena,
}

impl Function {
    /// Its description.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many of its instructions are said to multiply for an epilogue.
    pub(crate) fn epilogue_multiplications(&self) -> usize {
        self.epilogue_multiplications
    }

    /// Its machine code.
    pub fn bytes(&self) -> &[u8] {
        self.code.bytes()
    }

    /// Where it starts. Calling it is sound only under the contract that its emitter documents.
    pub(crate) fn entry(&self) -> *const u8 {
        self.code.bytes().as_ptr()
    }
}

/// Makes functions for this machine.
pub(crate) struct Compiler {
    isa: OwnedTargetIsa,
    /// Those that kernels have. Not a hash map: what one keeps looks lost to a leak checker, which finds no pointer to where its memory begins.
    functions: Mutex<BTreeMap<String, Weak<Function>>>,
    /// What Cranelift was given for each function, by its name.
    #[cfg(test)]
    pub written: Mutex<BTreeMap<String, String>>,
}

impl Compiler {
    /// A compiler for the processor that it runs on.
    pub fn new() -> Result<Compiler, JitError> {
        let mut flags = settings::builder();
        // Without optimisation loads stay beside the additions that use them and are folded into them; the e-graph of
        // `speed` merges equal loads and then spills.
        let choices = [
            ("opt_level", "none"),
            ("regalloc_algorithm", "backtracking"),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ];
        for (name, value) in choices {
            flags.set(name, value).map_err(|e| JitError::Machine(e.to_string()))?;
        }
        let builder = cranelift_native::builder().map_err(|e| JitError::Machine(e.to_string()))?;
        let isa =
            builder.finish(settings::Flags::new(flags)).map_err(|e| JitError::Machine(e.to_string()))?;
        Ok(Compiler {
            isa,
            functions: Mutex::default(),
            #[cfg(test)]
            written: Mutex::default(),
        })
    }

    /// The function that `code` describes.
    ///
    /// Functions live as long as a kernel has them.
    pub fn function<C: Code>(&self, code: &C) -> Result<Arc<Function>, JitError> {
        self.make(format!("{code:?}"), code.epilogue_multiplications(), |name| match code.assemble() {
            Some(bytes) => bytes.map_err(|reason| JitError::Codegen { function: name.into(), reason }),
            None => self.compile(name, code),
        })
    }

    /// The function that `description` describes and that only an assembler writes.
    pub fn assembled(
        &self,
        description: &impl Debug,
        assemble: impl FnOnce() -> Option<Result<Vec<u8>, String>>,
    ) -> Result<Arc<Function>, JitError> {
        self.make(format!("{description:?}"), 0, |name| {
            let bytes = assemble().unwrap_or_else(|| Err("no assembler for these vectors".into()));
            bytes.map_err(|reason| JitError::Codegen { function: name.into(), reason })
        })
    }

    /// All functions that are in use, by their names.
    #[cfg(test)]
    pub fn in_use(&self) -> Vec<Arc<Function>> {
        let functions = self.functions.lock().unwrap();
        let mut all: Vec<Arc<Function>> = functions.values().filter_map(Weak::upgrade).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The function of that name, made if no kernel has it.
    fn make(
        &self,
        name: String,
        epilogue_multiplications: usize,
        make: impl FnOnce(&str) -> Result<Vec<u8>, JitError>,
    ) -> Result<Arc<Function>, JitError> {
        // A panic elsewhere cannot leave a half-made entry: entries are inserted whole.
        let functions = || self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions().get(&name).and_then(Weak::upgrade) {
            return Ok(function);
        }
        let bytes = make(&name)?;
        let function = Arc::new(Function {
            name: name.clone(),
            epilogue_multiplications,
            code: CodeArena::seal(&bytes)?,
        });
        let mut functions = functions();
        functions.retain(|_, function| function.strong_count() > 0);
        functions.insert(name, Arc::downgrade(&function));
        Ok(function)
    }

    fn compile<C: Code>(&self, name: &str, code: &C) -> Result<Vec<u8>, JitError> {
        let mut signature = Signature::new(self.isa.default_call_conv());
        signature.params.resize(code.parameters(), AbiParam::new(types::I64));
        let mut context = Context::for_function(Ir::with_name_signature(UserFuncName::default(), signature));
        let mut scratch = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut scratch);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let arguments = builder.block_params(entry).to_vec();
        code.emit(&mut builder, &arguments);
        builder.ins().return_(&[]);
        builder.seal_all_blocks();
        builder.finalize(self.isa.frontend_config());
        #[cfg(test)]
        self.written.lock().unwrap().insert(name.into(), context.func.to_string());
        let refused = |reason| JitError::Codegen { function: name.into(), reason };
        let code = context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| refused(format!("{:?}", e.inner)))?;
        // Where a processor has no instruction for something, Cranelift calls a library, whose address nobody fills in here.
        if let Some(reference) = code.buffer.relocs().first() {
            return Err(refused(format!("it refers to what is outside of it: {reference:?}")));
        }
        Ok(code.code_buffer().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::{ExtFuncData, ExternalName, LibCall};
    use cranelift_codegen::isa;

    /// Calls a library for what a processor may have no instruction for.
    #[derive(Debug)]
    struct Fused;

    impl Code for Fused {
        fn parameters(&self) -> usize {
            0
        }

        fn emit(&self, b: &mut FunctionBuilder<'_>, _: &[ir::Value]) {
            let mut signature = Signature::new(isa::CallConv::SystemV);
            signature.params = vec![AbiParam::new(types::F32); 3];
            signature.returns = vec![AbiParam::new(types::F32)];
            let signature = b.import_signature(signature);
            let name = ExternalName::LibCall(LibCall::FmaF32);
            let function =
                b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
            let number = b.ins().f32const(1.0);
            b.ins().call(function, &[number; 3]);
        }
    }

    #[test]
    fn a_function_that_would_call_a_library_is_refused() {
        let error = Compiler::new().unwrap().function(&Fused).err().expect("it is refused").to_string();
        assert!(error.contains("`Fused`") && error.contains("outside of it"), "{error}");
    }
}
