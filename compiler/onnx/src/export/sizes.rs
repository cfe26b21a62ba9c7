//! Sizes that are open, computed in the file from the shapes of its inputs.

use super::{Writer, int};
use twnc_ir::Dim;
use twnc_ir::dim::DimNode;

impl Writer<'_> {
    /// The name of a vector with these sizes, which for a shape may use -1 once.
    pub(super) fn shape(&mut self, shape: &[Dim], hint: &str) -> Result<String, String> {
        let open = shape.iter().filter(|dim| dim.as_fixed().is_none()).count();
        let divisible = shape.iter().all(|dim| dim.as_fixed() != Some(0));
        if open <= 1 && divisible {
            return Ok(self.extra_ints(hint, shape.iter().map(|dim| dim.as_fixed().unwrap_or(-1)).collect()));
        }
        self.dims(shape, hint)
    }

    /// The name of a vector with these numbers.
    pub(super) fn dims(&mut self, dims: &[Dim], hint: &str) -> Result<String, String> {
        let fixed: Option<Vec<i64>> = dims.iter().map(Dim::as_fixed).collect();
        if let Some(fixed) = fixed {
            return Ok(self.extra_ints(hint, fixed));
        }
        if let [dim] = dims {
            return self.dim(dim, hint);
        }
        let parts = dims.iter().map(|dim| self.dim(dim, hint)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.extra("Concat", parts, vec![int("axis", 0)], hint))
    }

    /// The name of a vector of one number.
    fn dim(&mut self, dim: &Dim, hint: &str) -> Result<String, String> {
        dim.fold(&mut |node: DimNode<'_, Result<String, String>>| match node {
            DimNode::Fixed(n) => Ok(self.extra_ints(hint, vec![n])),
            DimNode::Symbol(symbol) => self.symbol(symbol, hint),
            DimNode::Add(a, b) => Ok(self.extra("Add", vec![a?, b?], vec![], hint)),
            DimNode::Mul(a, b) => Ok(self.extra("Mul", vec![a?, b?], vec![], hint)),
            DimNode::FloorDiv(a, b) => Ok(self.extra("Div", vec![a?, b?], vec![], hint)),
            DimNode::Min(a, b) => Ok(self.extra("Min", vec![a?, b?], vec![], hint)),
            DimNode::Max(a, b) => Ok(self.extra("Max", vec![a?, b?], vec![], hint)),
        })
    }

    /// The size of an input's axis that has this name.
    fn symbol(&mut self, symbol: &str, hint: &str) -> Result<String, String> {
        let graph = self.graph;
        let axes = graph.inputs().iter().flat_map(|port| {
            graph.ty(port.value).shape.iter().enumerate().map(move |(axis, dim)| (port.value, axis, dim))
        });
        let mut found = axes.filter(|(_, _, dim)| dim.as_symbol() == Some(symbol));
        let Some((input, axis, _)) = found.next() else {
            return Err(format!("it needs the size `{symbol}`, which is no axis of an input; fix it"));
        };
        let axis = axis as i64;
        let attributes = vec![int("start", axis), int("end", axis + 1)];
        Ok(self.extra("Shape", vec![self.name(input)], attributes, hint))
    }
}
