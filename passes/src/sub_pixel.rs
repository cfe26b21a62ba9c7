//! `sub_pixel`: convolutions of values with zeros between their elements, as transposed convolutions are, without the zeros.
//!
//! **Exact**: what is left out are products by those zeros. With a stride of s an output reads only the taps that meet elements: those of its phase,
//! its coordinate's remainder by s. So one convolution of the values as they were makes the outputs of all phases as channels of their own (Shi et al.,
//! arXiv 1609.05158), element-wise functions and constants along the channels that follow are taken along, and a transpose puts the
//! phases in their places. A 2x2 kernel of stride 2 costs a quarter of what it did, one of 4x4 nine sixteenths.
//!
//! Left alone, with a remark: dilated kernels, and float weights of which some phase has fewer taps than another, since a zero in their place would make NaN
//! of an infinite input. Left alone: where no work is saved, and layers in parts, which read slices.

use crate::walk;
use twnc_ir::{
    Changed, Conv, Data, Dim, Geometry, Graph, Node, NodeId, Op, Pad, PadMode, Pass, PassContext, PassError,
    PerChannel, Rewriter, Slice, Tensor, Topic, TypeError, ValueId,
};

/// So many times the elements of a weight may be stored for it.
const MOST_TIMES: usize = 4;

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct SubPixel;

impl Pass for SubPixel {
    fn name(&self) -> &str {
        "sub_pixel"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        for id in walk::order(rewriter.graph())? {
            let name = rewriter.graph().node_name(id);
            match Phases::of(rewriter.graph(), id) {
                None => {}
                Some(Err(reason)) => {
                    cx.missed(Topic::Folding, &name, format!("also sums zeros between its inputs: {reason}"));
                }
                Some(Ok(phases)) => phases.rewrite(&mut rewriter, id).map_err(PassError::at(&name))?,
            }
        }
        rewriter.remove_dead("it is a convolution without zeros");
        Ok(rewriter.finish())
    }
}

/// A spatial axis of such a convolution.
#[derive(Clone, Copy, Debug)]
struct Axis {
    /// From an element to the next, beside zeros.
    stride: usize,
    /// Taps of the kernel, and of that without zeros.
    taps: usize,
    taps_left: usize,
    /// Padding of the value without zeros.
    begin: usize,
    end: usize,
    dilation: usize,
    /// The padding before the value with zeros, and the first element that a window reads, less its position.
    pad: i64,
    first: i64,
}

impl Axis {
    /// Of a stride, taps, padding and a dilation; none where numbers are too large.
    fn new(stride: usize, taps: usize, [begin, end]: [usize; 2], dilation: usize) -> Option<Axis> {
        let axis = Axis { stride, taps, taps_left: taps, begin, end, dilation, pad: 0, first: 0 };
        if stride == 1 {
            return Some(axis);
        }
        let (s, k) = (i64::try_from(stride).ok()?, i64::try_from(taps).ok()?);
        let (pad, after) = (i64::try_from(begin).ok()?, i64::try_from(end).ok()?);
        let axis = Axis { pad, ..axis };
        let reach = |phase| {
            let (tap, element) = axis.start(phase);
            let taps = (k - tap + s - 1).div_euclid(s);
            (taps > 0).then(|| (element, element + taps))
        };
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for (from, to) in (0..s).filter_map(reach) {
            (first, last) = (first.min(from), last.max(to));
        }
        // As many windows as all outputs need, or more where these are no whole number of phases.
        let beside = pad.checked_add(after)?.checked_add(1)?.checked_sub(k)?;
        let windows = beside.checked_add(s - 1)?.div_euclid(s);
        let taps_left = last.checked_sub(first)?;
        Some(Axis {
            taps_left: usize::try_from(taps_left).ok()?,
            begin: usize::try_from(-first).ok()?,
            end: usize::try_from((windows + first + taps_left - 1).max(0)).ok()?,
            first,
            ..axis
        })
    }

    /// The first tap of a phase that meets an element, and that element, less the window's position.
    fn start(&self, phase: i64) -> (i64, i64) {
        let s = self.stride as i64;
        let tap = (self.pad - phase).rem_euclid(s);
        (tap, (phase - self.pad + tap).div_euclid(s))
    }

    /// The tap of the kernel that is a tap of a phase, if there is one.
    fn tap(&self, phase: usize, tap: usize) -> Option<usize> {
        if self.stride == 1 {
            return Some(tap);
        }
        let (start, element) = self.start(phase as i64);
        let step = tap as i64 + self.first - element;
        let tap = usize::try_from(start + step * self.stride as i64).ok()?;
        (step >= 0 && tap < self.taps).then_some(tap)
    }
}

/// A convolution whose outputs are in phases.
struct Phases {
    /// The value without zeros.
    x: ValueId,
    axes: Vec<Axis>,
    groups: usize,
    weight: Tensor,
    weight_name: String,
}

impl Phases {
    /// A node, if it is such a convolution and work is saved; the reason, if it cannot be made one without zeros.
    fn of(graph: &Graph, id: NodeId) -> Option<Result<Phases, &'static str>> {
        let node = graph.node(id);
        let (Op::Conv(Conv { geometry, groups }), &[input, weight]) = (&node.op, &node.operands[..]) else {
            return None;
        };
        let (x, strides) = spread(graph, input)?;
        let tensor = graph.constant(weight)?;
        let kernel = tensor.shape().get(2..)?;
        // Phases are counted out, and there are no more than that is worth.
        let most = kernel.iter().try_fold(MOST_TIMES, |most, &taps| most.checked_mul(taps))?;
        let many = tensor.is_empty() || strides.iter().any(|&stride| stride > most);
        if many || geometry.strides.iter().any(|&stride| stride != 1) {
            return None;
        }
        if strides.iter().zip(&geometry.dilations).any(|(&stride, &dilation)| stride > 1 && dilation > 1) {
            return Some(Err("its kernel is dilated"));
        }
        let axis = |i: usize| {
            let pads = [geometry.pads_begin[i], geometry.pads_end[i]];
            Axis::new(strides[i], kernel[i], pads, geometry.dilations[i])
        };
        let axes: Vec<Axis> = (0..kernel.len()).map(axis).collect::<Option<_>>()?;
        let product = |of: fn(&Axis) -> usize| axes.iter().map(of).try_fold(1usize, usize::checked_mul);
        let (taps, left) = (product(|axis| axis.taps)?, product(|axis| axis.taps_left)?);
        let stored = product(|axis| axis.stride)?.checked_mul(left)?;
        if left == 0 || left >= taps || stored > most {
            return None;
        }
        let names = graph.definer(weight).map_or_else(String::new, |(_, node)| node.name.clone());
        let phases = Phases { x, axes, groups: *groups, weight: tensor.clone(), weight_name: names };
        let whole = || phases.taps().all(|tap| tap.is_some());
        match tensor.data() {
            Data::Ternary(_) => Some(Ok(phases)),
            Data::F32(_) if whole() => Some(Ok(phases)),
            Data::F32(_) => Some(Err("its weights are float, and not all phases have as many taps")),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        self.axes.iter().map(|axis| axis.stride).product()
    }

    /// Of each phase, of each of its taps: the number of the kernel's tap, if there is one.
    fn taps(&self) -> impl Iterator<Item = Option<usize>> {
        let taps: usize = self.axes.iter().map(|axis| axis.taps_left).product();
        let all = (0..self.count()).flat_map(move |phase| (0..taps).map(move |tap| (phase, tap)));
        all.map(|(mut phase, mut tap)| {
            let (mut number, mut distance) = (0, 1);
            for axis in self.axes.iter().rev() {
                number += axis.tap(phase % axis.stride, tap % axis.taps_left)? * distance;
                (phase, tap) = (phase / axis.stride, tap / axis.taps_left);
                distance *= axis.taps;
            }
            Some(number)
        })
    }

    /// The weight whose output `m · phases + phase` is output m of a phase.
    fn weight(&self) -> Option<Tensor> {
        let (phases, all): (usize, Vec<Option<usize>>) = (self.count(), self.taps().collect());
        let (outputs, channels) = (self.weight.shape()[0], self.weight.shape()[1]);
        let taps: usize = self.axes.iter().map(|axis| axis.taps).product();
        let each = all.len() / phases;
        let places = (0..outputs).flat_map(|output| (0..phases).map(move |phase| (output, phase)));
        let places = places.flat_map(|(output, phase)| {
            (0..channels).map(move |channel| (output * channels + channel, phase))
        });
        let places = places.flat_map(|(filter, phase)| {
            all[phase * each..][..each].iter().map(move |tap| tap.map(|tap| filter * taps + tap))
        });
        fn pick<T: Copy + Default>(from: &[T], places: impl Iterator<Item = Option<usize>>) -> Vec<T> {
            places.map(|place| place.map_or(T::default(), |place| from[place])).collect()
        }
        let data = match self.weight.data() {
            Data::Ternary(trits) => Data::Ternary(pick(trits, places).into()),
            _ => Data::F32(pick(self.weight.as_f32().unwrap_or_default(), places).into()),
        };
        let kernel = self.axes.iter().map(|axis| axis.taps_left);
        let shape = [outputs * phases, channels].into_iter().chain(kernel).collect();
        Tensor::new(shape, data).ok()
    }

    fn rewrite(&self, rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), TypeError> {
        let (name, mut last) = (rewriter.graph().node(id).name.clone(), rewriter.graph().node(id).results[0]);
        let Some(weight) = self.weight() else { return Ok(()) };
        let weight = rewriter.constant(weight, &self.weight_name);
        let list = |of: fn(&Axis) -> usize| self.axes.iter().map(of).collect::<Vec<usize>>();
        let geometry = Geometry {
            strides: vec![1; self.axes.len()],
            dilations: list(|axis| axis.dilation),
            pads_begin: list(|axis| axis.begin),
            pads_end: list(|axis| axis.end),
        };
        let conv = Op::Conv(Conv { geometry, groups: self.groups });
        let mut value = rewriter.insert(conv, &[self.x, weight], &name)?;
        while let Some((follower, node)) = self.follower(rewriter.graph(), last) {
            let operands: Vec<ValueId> = follower
                .into_iter()
                .map(|operand| match operand {
                    Operand::Value => value,
                    Operand::Constant(tensor, name) => rewriter.constant(tensor, &name),
                })
                .collect();
            value = rewriter.insert(node.op, &operands, &node.name)?;
            last = node.results[0];
        }
        let shuffled = self.shuffle(rewriter, value, last, &name)?;
        rewriter.replace(last, shuffled, "its phases are channels of a convolution without zeros")
    }

    /// The node behind a value that computes element by element, or with constants along the channels, and alone reads it; and its operands of a
    /// value in phases.
    fn follower(&self, graph: &Graph, value: ValueId) -> Option<(Vec<Operand>, Node)> {
        let node = graph.node(graph.only_user(value)?.0);
        let ty = graph.ty(value);
        let operand = |&operand: &ValueId| {
            if operand == value {
                return Some(Operand::Value);
            }
            let PerChannel { axis, values } = PerChannel::of(graph, operand, ty)?;
            let name = graph.definer(operand).map_or_else(String::new, |(_, node)| node.name.clone());
            let values = match axis {
                None => values,
                Some(1) => values.into_iter().flat_map(|v| vec![v; self.count()]).collect(),
                Some(_) => return None,
            };
            Some(Operand::Constant(PerChannel::tensor(axis, values, ty.rank()), name))
        };
        let element_wise = matches!(node.op, Op::Unary(_) | Op::Binary(_));
        let same = element_wise && graph.ty(*node.results.first()?) == ty;
        let operands = same.then(|| node.operands.iter().map(operand).collect::<Option<_>>())??;
        Some((operands, node.clone()))
    }

    /// The value with its phases in their places, as `like` has them.
    fn shuffle(
        &self,
        rewriter: &mut Rewriter<'_>,
        value: ValueId,
        like: ValueId,
        name: &str,
    ) -> Result<ValueId, TypeError> {
        let graph = rewriter.graph();
        let (shape, wanted) = (graph.ty(value).shape.clone(), graph.ty(like).shape.clone());
        let strided = || self.axes.iter().enumerate().filter(|(_, axis)| axis.stride > 1);
        let phases = strided().count();
        let mut split = wanted[..2].to_vec();
        split.extend(strided().map(|(_, axis)| Dim::from(axis.stride)));
        split.extend_from_slice(&shape[2..]);
        let (mut perm, mut joined, mut next) = (vec![0, 1], wanted[..2].to_vec(), 2);
        for (i, axis) in self.axes.iter().enumerate() {
            perm.push(2 + phases + i);
            if axis.stride > 1 {
                perm.push(next);
                next += 1;
            }
            let size = shape[i + 2].checked_mul(&Dim::from(axis.stride));
            joined.push(size.ok_or(TypeError::Overflow { op: "reshape" })?);
        }
        let mut value = rewriter.insert(Op::Reshape { shape: split }, &[value], name)?;
        value = rewriter.insert(Op::Transpose { perm }, &[value], name)?;
        value = rewriter.insert(Op::Reshape { shape: joined.clone() }, &[value], name)?;
        for (axis, size) in wanted.into_iter().enumerate().filter(|(i, size)| joined[*i] != *size) {
            let slice = Slice { axis, start: Dim::from(0), size, step: 1 };
            value = rewriter.insert(Op::Slice(slice), &[value], name)?;
        }
        Ok(value)
    }
}

/// An operand of a node that is taken along.
enum Operand {
    Value,
    Constant(Tensor, String),
}

/// The value that another is with `stride - 1` zeros behind each of its elements, and the stride of each spatial axis.
fn spread(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let defined = |value| {
        let (_, node) = graph.definer(value)?;
        Some((&node.op, *node.operands.first()?))
    };
    let (Op::Reshape { .. }, padded) = defined(value)? else { return None };
    let (Op::Pad(Pad { begin, end, mode: PadMode::Constant(0.0) }), split) = defined(padded)? else {
        return None;
    };
    let (Op::Reshape { .. }, x) = defined(split)? else { return None };
    let (split, shape, joined) = (&graph.ty(split).shape, &graph.ty(x).shape, &graph.ty(value).shape);
    if shape.len() < 3 || joined.len() != shape.len() || begin.iter().any(|&n| n > 0) {
        return None;
    }
    let mut axes = split.iter().zip(end).peekable();
    let mut strides = Vec::with_capacity(shape.len());
    for (size, joined) in shape.iter().zip(joined) {
        let (own, 0) = axes.next()? else { return None };
        let zeros = axes.next_if(|(size, end)| size.as_fixed() == Some(1) && **end > 0);
        let stride = zeros.map_or(1, |(_, &zeros)| zeros + 1);
        if own != size || size.checked_mul(&Dim::from(stride))? != *joined {
            return None;
        }
        strides.push(stride);
    }
    let strides = match strides[..] {
        [1, 1, ref strides @ ..] if axes.next().is_none() => strides.to_vec(),
        _ => return None,
    };
    strides.iter().any(|&stride| stride > 1).then_some((x, strides))
}
