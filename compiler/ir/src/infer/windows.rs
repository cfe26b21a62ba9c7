//! The rules of what slides over spatial axes: `conv`, `max_pool`, `average_pool`.

use super::{Rule, TypeError};
use crate::dim::Dim;
use crate::op::{Conv, Geometry, Pool};
use crate::types::TensorType;

/// The size of one output axis of a sliding window over `size` elements; `None` if it is too large to be written down.
/// Where the window does not fit, the size is zero or negative.
pub fn window_size(geometry: &Geometry, axis: usize, kernel: &Dim, size: &Dim, ceil: bool) -> Option<Dim> {
    let number = |list: &[usize]| list.get(axis).map(|&n| Dim::from(n));
    let (stride, dilation) = (number(&geometry.strides)?, number(&geometry.dilations)?);
    let (begin, end) = (number(&geometry.pads_begin)?, number(&geometry.pads_end)?);
    let one = Dim::from(1);
    let reach = kernel.checked_sub(&one)?.checked_mul(&dilation)?.checked_add(&one)?;
    let room = size.checked_add(&begin)?.checked_add(&end)?.checked_sub(&reach)?;
    if !ceil {
        return room.floor_div(&stride)?.checked_add(&one);
    }
    // The last window must start inside the input or its leading padding.
    let starts = size.checked_add(&begin)?.checked_sub(&one)?.floor_div(&stride)?.checked_add(&one)?;
    room.ceil_div(&stride)?.checked_add(&one)?.minimum(&starts)
}

impl Rule<'_> {
    pub(super) fn conv(&self, conv: &Conv) -> Result<TensorType, TypeError> {
        let [x, w] = self.arity()?;
        let element = self.product(x, w)?;
        if !(3..=5).contains(&x.rank()) {
            return Err(self.rank(0, "[N,C] and one to three spatial axes"));
        }
        if w.rank() != x.rank() {
            return Err(self.rank(1, "a weight of the same rank as the input"));
        }
        self.geometry(&conv.geometry, x.rank() - 2)?;
        if conv.groups == 0 {
            return Err(self.attribute("groups is 0".into()));
        }
        let groups = Dim::from(conv.groups);
        let channels = w.shape[1].checked_mul(&groups).ok_or_else(|| self.overflow())?;
        if !channels.may_equal(&x.shape[1]) {
            return Err(self.mismatch("input channels", x, w));
        }
        if w.shape[0].as_size().is_some_and(|m| m % conv.groups != 0) {
            return Err(self.mismatch("output channels and groups", &w.shape[0], groups));
        }
        let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
        for axis in 0..x.rank() - 2 {
            shape.push(self.window(&conv.geometry, axis, &w.shape[axis + 2], &x.shape[axis + 2], false)?);
        }
        Ok(TensorType::new(element, shape))
    }

    pub(super) fn pool(&self, pool: &Pool) -> Result<TensorType, TypeError> {
        let [x] = self.arity()?;
        self.f32(0)?;
        if !(3..=5).contains(&x.rank()) {
            return Err(self.rank(0, "[N,C] and one to three spatial axes"));
        }
        self.geometry(&pool.geometry, x.rank() - 2)?;
        if pool.kernel.len() != x.rank() - 2 || pool.kernel.contains(&0) {
            return Err(
                self.attribute(format!("kernel {:?} does not fit the spatial axes of {x}", pool.kernel))
            );
        }
        let mut shape = x.shape[..2].to_vec();
        for (axis, &kernel) in pool.kernel.iter().enumerate() {
            shape.push(self.window(
                &pool.geometry,
                axis,
                &Dim::from(kernel),
                &x.shape[axis + 2],
                pool.ceil,
            )?);
        }
        Ok(TensorType::f32(shape))
    }

    fn geometry(&self, g: &Geometry, rank: usize) -> Result<(), TypeError> {
        let lists = [&g.strides, &g.dilations, &g.pads_begin, &g.pads_end];
        if lists.iter().any(|list| list.len() != rank) {
            return Err(self.attribute(format!("strides, dilations and pads need {rank} entries each")));
        }
        if g.strides.contains(&0) || g.dilations.contains(&0) {
            let message = format!("a stride or dilation is 0: {:?} and {:?}", g.strides, g.dilations);
            return Err(self.attribute(message));
        }
        Ok(())
    }

    fn window(&self, g: &Geometry, axis: usize, k: &Dim, size: &Dim, ceil: bool) -> Result<Dim, TypeError> {
        if k.is_negative() || k.as_fixed() == Some(0) {
            return Err(self.attribute(format!("the kernel's extent along spatial axis {axis} is {k}")));
        }
        let out = window_size(g, axis, k, size, ceil).ok_or_else(|| self.overflow())?;
        if out.is_negative() || out.as_fixed() == Some(0) {
            let message =
                format!("a window of {k} does not fit into {size} elements along spatial axis {axis}");
            return Err(self.attribute(message));
        }
        Ok(out)
    }
}
