//! `QuantizeLinear` and `DequantizeLinear`: of constants, done here; of data, dequantising becomes `(x - zero_point)·scale`.
//!
//! A scale is one for the tensor, one for each index of an axis (operator set 13), or one for each block along it (21).

use super::super::call::{Call, Known, Reason, Translated, axis, one};
use super::{Operator, operator};
use crate::proto::DataType;
use crate::tensor;
use twnc_ir::{Binary, Data, Dim, ElementType, Tensor, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("DequantizeLinear", 10, (2, 3), "const; cast, sub, mul where it is of data", dequantise),
    operator(
        "QuantizeLinear",
        10,
        (2, 3),
        "const; div, round, add, clip, cast where it is of data",
        quantise,
    ),
];

fn dequantise(call: &mut Call<'_, '_>) -> Translated {
    // The type of the result is a float in every case, and all of these are f32 here.
    call.attributes.ignore(&["output_dtype"]);
    let (Some(Known::Constant { tensor: codes, name, .. }), Some(scale)) = (call.known(0), call.tensor(1))
    else {
        return dequantise_data(call);
    };
    let (codes, name) = (codes.clone(), name.clone());
    let scales = Scales::of(call, codes.shape(), scale)?;
    let Some(numbers) = whole_numbers(codes.data()) else {
        return Err(Reason::new(format!("does not take {}", codes.ty())));
    };
    let zero_points = zero_points(call, scale.shape())?;
    let value = |(i, code): (usize, i64)| {
        let at = scales.index(i);
        let zero = zero_points.as_ref().map_or(Some(0), |zeros| zeros.get(at).copied())?;
        Some(code.checked_sub(zero)? as f32 * scales.values.get(at)?)
    };
    let values: Option<Vec<f32>> = numbers.into_iter().enumerate().map(value).collect();
    let values = values.ok_or_else(|| Reason::new("scales and zero points do not fit the operand".into()))?;
    let tensor = Tensor::from_f32(codes.shape().to_vec(), values)?;
    Ok(vec![Known::Constant { tensor, name, stored: DataType::Float }])
}

fn dequantise_data(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let x = call.cast(x, ElementType::F32)?;
    let (along, x) = Along::of(call, x)?;
    let x = match along.parameter(call, 2)? {
        Some(zero) => call.binary(Binary::Sub, x, zero)?,
        None => x,
    };
    let Some(scale) = along.parameter(call, 1)? else {
        return Err(Reason::new("the scale (operand 1) is missing".into()));
    };
    let y = call.binary(Binary::Mul, x, scale)?;
    one(along.whole(call, y)?)
}

/// How scales and zero points lie over data: one for all, one for each index of an axis, one for each block along it.
pub(super) struct Along {
    axis: usize,
    /// Of the data, before its axis was divided into blocks.
    shape: Vec<Dim>,
    block: usize,
}

impl Along {
    /// Of a node whose operand 1 is the scale; and its data, in blocks if there are any.
    pub(super) fn of(call: &mut Call<'_, '_>, x: ValueId) -> Result<(Along, ValueId), Reason> {
        let (shape, block) = (call.shape(x), block_size(call)?);
        let given = call.attributes.int("axis")?.unwrap_or(1);
        let scale = call.operand_type(1)?;
        if block == 0 && scale.shape.iter().all(|size| *size == Dim::from(1)) {
            return Ok((Along { axis: 0, shape, block }, x));
        }
        let along = Along { axis: axis(given, shape.len())?, shape, block };
        let x = match block {
            0 => x,
            _ => {
                let divided = along.divided()?;
                call.reshape(x, divided)?
            }
        };
        Ok((along, x))
    }

    /// The shape of the data with two axes, blocks and what is in one, for the one along which they lie.
    fn divided(&self) -> Result<Vec<Dim>, Reason> {
        let (axis, block) = (self.axis, self.block);
        let size = self.shape[axis].as_fixed().and_then(|n| usize::try_from(n).ok());
        let Some(count) = size.filter(|n| n % block == 0).map(|n| n / block) else {
            return Err(Reason::new(format!(
                "axis {axis} of its data has {} elements, which is no multiple of the block_size {block}; that is supported for constants only",
                self.shape[axis]
            )));
        };
        let mut shape = self.shape.clone();
        shape.splice(axis..=axis, [count, block].map(Dim::from));
        Ok(shape)
    }

    /// An operand with scales or zero points, as f32, so that it broadcasts over the data.
    pub(super) fn parameter(
        &self,
        call: &mut Call<'_, '_>,
        operand: usize,
    ) -> Result<Option<ValueId>, Reason> {
        let Some(parameter) = call.optional(operand)? else { return Ok(None) };
        let parameter = call.cast(parameter, ElementType::F32)?;
        let mut shape = call.shape(parameter);
        if self.block != 0 {
            if shape.len() != self.shape.len() {
                return Err(Reason::new(format!(
                    "operand {operand} is {}; blocks have one of as many axes as the data",
                    call.ty(parameter)
                )));
            }
            shape.insert(self.axis + 1, Dim::from(1));
        } else {
            shape = match shape.as_slice() {
                [] => vec![],
                [count] if *count == Dim::from(1) => vec![],
                [count] => {
                    let mut along = vec![Dim::from(1); self.shape.len()];
                    along[self.axis] = count.clone();
                    along
                }
                _ => {
                    return Err(Reason::new(format!(
                        "operand {operand} is {}; it must be a scalar or vector",
                        call.ty(parameter)
                    )));
                }
            };
        }
        call.reshape(parameter, shape).map(Some)
    }

    /// What was computed from the data, in their shape.
    pub(super) fn whole(&self, call: &mut Call<'_, '_>, y: ValueId) -> Result<ValueId, Reason> {
        if self.block == 0 { Ok(y) } else { call.reshape(y, self.shape.clone()) }
    }
}

/// `round(x / scale) + zero_point`, ties to even, saturated.
fn quantise(call: &mut Call<'_, '_>) -> Translated {
    if !matches!(call.attributes.int("precision")?.unwrap_or(0), 0 | 1) {
        return Err(Reason::new("attribute `precision` asks for another precision than FLOAT".into()));
    }
    call.attributes.ignore(&["saturate"]);
    let (Some(Known::Constant { tensor: x, name, .. }), Some(scale)) = (call.known(0), call.tensor(1)) else {
        return super::integer::quantise_data(call);
    };
    let stored = match (call.known(2), call.attributes.int("output_dtype")?.unwrap_or(0)) {
        (Some(Known::Constant { stored, .. }), _) => *stored,
        (Some(_), _) => return Err(Reason::new("the zero point (operand 2) is not constant".into())),
        (None, 0) => DataType::Uint8,
        (None, number) => tensor::data_type(i32::try_from(number).unwrap_or(0))?,
    };
    let Some((low, high)) = range(stored) else {
        return Err(Reason::new(format!("quantises to {}, which is not supported", tensor::name(stored))));
    };
    let Some(elements) = x.as_f32() else {
        return Err(Reason::new(format!("does not take {}", x.ty())));
    };
    let scales = Scales::of(call, x.shape(), scale)?;
    let zero_points = zero_points(call, scale.shape())?;
    let code = |(i, x): (usize, &f32)| {
        let at = scales.index(i);
        let zero = zero_points.as_ref().map_or(Some(0), |zeros| zeros.get(at).copied())?;
        // A float to integer cast saturates, so that the sum cannot overflow an i64's middle range.
        let rounded = (x / scales.values.get(at)?).round_ties_even() as i32;
        Some(i64::from(rounded).saturating_add(zero).clamp(low, high))
    };
    let codes: Option<Vec<i64>> = elements.iter().enumerate().map(code).collect();
    let codes = codes.ok_or_else(|| Reason::new("scales and zero points do not fit the operand".into()))?;
    let data = integers(codes, tensor::element_type(stored as i32)?);
    let (tensor, name) = (Tensor::new(x.shape().to_vec(), data)?, name.clone());
    Ok(vec![Known::Constant { tensor, name, stored }])
}

/// Scales, and which of them belongs to which element.
struct Scales<'t> {
    values: &'t [f32],
    /// Elements of the operand for one step along the axis.
    inner: usize,
    /// Size of the axis.
    size: usize,
    /// Indices along the axis that share a scale.
    block: usize,
    /// Scales along the axis.
    count: usize,
    /// Whether axes other than that one have scales of their own.
    blocked: bool,
}

impl<'t> Scales<'t> {
    fn of(call: &Call<'_, '_>, shape: &[usize], scale: &'t Tensor) -> Result<Scales<'t>, Reason> {
        let misfit = || {
            Reason::new(format!(
                "scales of shape {:?} do not fit an operand of shape {shape:?}",
                scale.shape()
            ))
        };
        let values =
            scale.as_f32().ok_or_else(|| Reason::new(format!("the scale is {}, not f32", scale.ty())))?;
        let block = block_size(call)?;
        let given = call.attributes.int("axis")?.unwrap_or(1);
        if scale.len() == 1 && block == 0 {
            return Ok(Scales { values, inner: 1, size: 1, block: 1, count: 1, blocked: false });
        }
        let axis = axis(given, shape.len())?;
        let size = shape[axis];
        let inner = shape[axis + 1..].iter().product();
        if block == 0 {
            let fits = scale.shape() == [size];
            return if fits {
                Ok(Scales { values, inner, size, block: 1, count: size, blocked: false })
            } else {
                Err(misfit())
            };
        }
        let count = size.div_ceil(block);
        let mut expected = shape.to_vec();
        expected[axis] = count;
        let fits = scale.shape() == expected;
        if fits { Ok(Scales { values, inner, size, block, count, blocked: true }) } else { Err(misfit()) }
    }

    /// The scale of an element.
    fn index(&self, element: usize) -> usize {
        let (inner, size) = (self.inner.max(1), self.size.max(1));
        let along = element / inner % size / self.block;
        match (self.count, self.blocked) {
            (1, false) => 0,
            (_, false) => along,
            (count, true) => (element / inner / size * count + along) * inner + element % inner,
        }
    }
}

fn block_size(call: &Call<'_, '_>) -> Result<usize, Reason> {
    let block = call.attributes.int("block_size")?.unwrap_or(0);
    usize::try_from(block).map_err(|_| Reason::new(format!("attribute `block_size` is {block}")))
}

/// Zero points, one for each scale.
fn zero_points(call: &Call<'_, '_>, shape: &[usize]) -> Result<Option<Vec<i64>>, Reason> {
    let Some(tensor) = call.constant(2, "the zero point")? else { return Ok(None) };
    if tensor.shape() != shape && tensor.len() != shape.iter().product() {
        return Err(Reason::new(format!(
            "zero points of shape {:?} for scales of shape {shape:?}",
            tensor.shape()
        )));
    }
    let numbers = whole_numbers(tensor.data());
    numbers.map(Some).ok_or_else(|| Reason::new(format!("the zero point is {}", tensor.ty())))
}

/// The elements, if they are whole numbers.
pub fn whole_numbers(data: &Data) -> Option<Vec<i64>> {
    Some(match data {
        Data::I8(v) => v.iter().map(|&n| n.into()).collect(),
        Data::U8(v) => v.iter().map(|&n| n.into()).collect(),
        Data::I16(v) => v.iter().map(|&n| n.into()).collect(),
        Data::I32(v) => v.iter().map(|&n| n.into()).collect(),
        Data::I64(v) => v.to_vec(),
        Data::F32(_) | Data::Bool(_) | Data::Ternary(_) => return None,
    })
}

/// Elements of a type that holds them.
pub(super) fn integers(numbers: Vec<i64>, element: ElementType) -> Data {
    match element {
        ElementType::I8 => Data::I8(numbers.iter().map(|&n| n as i8).collect()),
        ElementType::U8 => Data::U8(numbers.iter().map(|&n| n as u8).collect()),
        ElementType::I16 => Data::I16(numbers.iter().map(|&n| n as i16).collect()),
        ElementType::I32 => Data::I32(numbers.iter().map(|&n| n as i32).collect()),
        _ => Data::I64(numbers.into()),
    }
}

/// The smallest and the largest code.
pub(super) fn range(stored: DataType) -> Option<(i64, i64)> {
    Some(match stored {
        DataType::Int2 => (-2, 1),
        DataType::Uint2 => (0, 3),
        DataType::Int4 => (-8, 7),
        DataType::Uint4 => (0, 15),
        DataType::Int8 => (-128, 127),
        DataType::Uint8 => (0, 255),
        DataType::Int16 => (-32_768, 32_767),
        DataType::Uint16 => (0, 65_535),
        _ => return None,
    })
}
