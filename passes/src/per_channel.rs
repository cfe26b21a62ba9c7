//! Constants that hold one number for a whole tensor or one for each of its channels: scales and biases.

use twnc_ir::{Graph, Tensor, TensorType, ValueId};

/// One number, or one for each index along one axis of the tensor that it is broadcast over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PerChannel {
    /// The axis of the broadcast tensor; `None` for one number.
    pub(crate) axis: Option<usize>,
    /// The numbers; exactly one where there is no axis.
    pub(crate) values: Vec<f32>,
}

impl PerChannel {
    /// Reads a constant operand that is broadcast over a tensor of type `over` and leaves its shape alone: `f32[]`, `f32[1,1]`,
    /// `f32[M,1,1]`, `f32[1,M,1,1]`, ...
    pub(crate) fn of(graph: &Graph, value: ValueId, over: &TensorType) -> Option<PerChannel> {
        let tensor = graph.constant(value)?;
        let values = tensor.as_f32()?;
        let first = over.rank().checked_sub(tensor.shape().len())?;
        let mut wide = tensor.shape().iter().enumerate().filter(|&(_, &n)| n != 1);
        match (wide.next(), wide.next()) {
            (None, _) => Some(PerChannel { axis: None, values: values.to_vec() }),
            (Some((i, &n)), None) if over.shape[first + i].as_size() == Some(n) => {
                Some(PerChannel { axis: Some(first + i), values: values.to_vec() })
            }
            _ => None,
        }
    }

    /// The constant that broadcasts over a tensor of `rank` axes: rank 0 for one number, else `[M]` and a 1 for each axis behind.
    pub(crate) fn tensor(axis: Option<usize>, values: Vec<f32>, rank: usize) -> Tensor {
        let shape = match axis {
            None => vec![],
            Some(axis) => (axis..rank).map(|i| if i == axis { values.len() } else { 1 }).collect(),
        };
        Tensor::from_f32(shape, values).expect("one number, or one for each channel")
    }
}
