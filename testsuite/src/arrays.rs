//! Tensors of graphs as arrays of the runtime.

use ndarray::{ArrayD, IxDyn};
use twnc_ir::{Data, Tensor};
use twnc_runtime::{Input, Output};

/// A tensor as the runtime takes it; none of ternary elements.
pub(crate) fn input(tensor: &Tensor) -> Option<Output> {
    fn array<T: Clone>(shape: &[usize], elements: &[T]) -> Option<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(shape), elements.to_vec()).ok()
    }
    let shape = tensor.shape();
    Some(match tensor.data() {
        Data::F32(v) => Output::F32(array(shape, v)?),
        Data::I8(v) => Output::I8(array(shape, v)?),
        Data::U8(v) => Output::U8(array(shape, v)?),
        Data::I16(v) => Output::I16(array(shape, v)?),
        Data::I32(v) => Output::I32(array(shape, v)?),
        Data::I64(v) => Output::I64(array(shape, v)?),
        Data::Bool(v) => Output::Bool(array(shape, v)?),
        Data::Ternary(_) => return None,
    })
}

/// The arrays with their names, as a session takes them.
pub(crate) fn views(arrays: &[(String, Output)]) -> Vec<(&str, Input<'_>)> {
    arrays.iter().map(|(name, array)| (name.as_str(), array.view())).collect()
}
