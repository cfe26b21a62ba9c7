//! Cranelift, set up for kernels: one function at a time, from a description to sealed code.
//!
//! Functions depend on a small description (a tile, a group size), not on a layer's weights or sizes, so layers share
//! them: a [`Compiler`] keeps each function that it made, by its name.

use crate::arena::CodeArena;
use crate::error::JitError;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function as Ir, InstBuilder, Signature, UserFuncName, types};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, ir};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled function.
pub struct Function {
    name: String,
    code: CodeArena,
}

impl Function {
    /// What the function is and for which tile: unique among the functions of a compiler.
    pub fn name(&self) -> &str {
        &self.name
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

/// Makes functions for this machine and remembers them.
pub(crate) struct Compiler {
    isa: OwnedTargetIsa,
    functions: Mutex<HashMap<String, Arc<Function>>>,
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
        Ok(Compiler { isa, functions: Mutex::default() })
    }

    /// The function called `name`, which takes `parameters` machine words and returns nothing; `emit` writes it if it
    /// does not exist yet. The name must say everything that `emit` depends on.
    pub fn function(
        &self,
        name: String,
        parameters: usize,
        emit: impl FnOnce(&mut FunctionBuilder<'_>, &[ir::Value]),
    ) -> Result<Arc<Function>, JitError> {
        // A panic elsewhere cannot leave a half-made entry: entries are inserted whole.
        let find = || self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = find().get(&name) {
            return Ok(function.clone());
        }
        let code = CodeArena::seal(&self.compile(&name, parameters, emit)?)?;
        let function = Arc::new(Function { name: name.clone(), code });
        Ok(find().entry(name).or_insert(function).clone())
    }

    fn compile(
        &self,
        name: &str,
        parameters: usize,
        emit: impl FnOnce(&mut FunctionBuilder<'_>, &[ir::Value]),
    ) -> Result<Vec<u8>, JitError> {
        let mut signature = Signature::new(self.isa.default_call_conv());
        signature.params.resize(parameters, AbiParam::new(types::I64));
        let mut context = Context::for_function(Ir::with_name_signature(UserFuncName::default(), signature));
        let mut scratch = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut scratch);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let arguments = builder.block_params(entry).to_vec();
        emit(&mut builder, &arguments);
        builder.ins().return_(&[]);
        builder.seal_all_blocks();
        builder.finalize(self.isa.frontend_config());
        let code = context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| JitError::Codegen { function: name.into(), reason: format!("{:?}", e.inner) })?;
        Ok(code.code_buffer().to_vec())
    }
}
