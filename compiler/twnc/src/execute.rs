//! Graphs run by generated code, for what the compiler wants to know of their values.

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use twnc_ir::{Data, Graph, Tensor};
use twnc_program::interpret::Functions;
use twnc_runtime::{Input, Module, Output, SessionOptions};
use twnc_train::{Execute, Prepared, Samples};

/// Lowers a graph and runs it, each call on one thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Generated;

impl Execute for Generated {
    fn prepare(&self, graph: Graph) -> Result<Prepared<'_>, String> {
        let program = twnc_lower::lower(&graph).map_err(|e| e.to_string())?;
        let module = Module::new(program, Functions::default()).map_err(|e| e.to_string())?;
        let session = module.session(SessionOptions::default()).map_err(|e| e.to_string())?;
        let names: Vec<String> = graph.inputs().iter().map(|port| port.name.clone()).collect();
        Ok(Box::new(move |tensors: &[Tensor]| {
            let inputs = names.iter().zip(tensors).map(|(name, tensor)| Ok((name.as_str(), view(tensor)?)));
            let outputs =
                session.run(&inputs.collect::<Result<Vec<_>, String>>()?).map_err(|e| e.to_string())?;
            outputs.into_iter().map(|(_, output)| tensor(output)).collect()
        }))
    }
}

fn view(tensor: &Tensor) -> Result<Input<'_>, String> {
    let shape = IxDyn(tensor.shape());
    macro_rules! view {
        ($elements:expr) => {
            ArrayViewD::from_shape(shape, $elements).map(Input::from).map_err(|e| e.to_string())
        };
    }
    match tensor.data() {
        Data::F32(v) => view!(v),
        Data::I8(v) => view!(v),
        Data::U8(v) => view!(v),
        Data::I16(v) => view!(v),
        Data::I32(v) => view!(v),
        Data::I64(v) => view!(v),
        Data::Bool(v) => view!(v),
        Data::Ternary(_) => Err("a ternary tensor is no input".to_owned()),
    }
}

/// Arrays by the names of inputs as samples for a repair: the first axis counts them. The message says what is wrong with an array.
pub fn samples(arrays: impl IntoIterator<Item = (String, Output)>) -> Result<Samples, String> {
    let tensors = arrays.into_iter().map(|(name, array)| Ok((name, tensor(array)?)));
    Ok(Samples::new(tensors.collect::<Result<Vec<_>, String>>()?))
}

fn tensor(output: Output) -> Result<Tensor, String> {
    macro_rules! tensor {
        ($array:expr, $variant:ident) => {{
            let array: ArrayD<_> = $array;
            let shape = array.shape().to_vec();
            let elements = match array.as_slice() {
                Some(elements) => elements.into(),
                None => array.iter().copied().collect(),
            };
            Tensor::new(shape, Data::$variant(elements)).map_err(|e| e.to_string())
        }};
    }
    match output {
        Output::F32(a) => tensor!(a, F32),
        Output::I8(a) => tensor!(a, I8),
        Output::U8(a) => tensor!(a, U8),
        Output::I16(a) => tensor!(a, I16),
        Output::I32(a) => tensor!(a, I32),
        Output::I64(a) => tensor!(a, I64),
        Output::Bool(a) => tensor!(a, Bool),
    }
}
