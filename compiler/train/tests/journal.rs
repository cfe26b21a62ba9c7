//! A repair that is interrupted, at any place, goes on to the same network; what is not its checkpoint is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use twnc_ir::{
    Conv, CountingCost, Dim, Geometry, Graph, GraphBuilder, Op, Pass, PassContext, PassError, Tensor,
    TensorType, Unary, text,
};
use twnc_passes::Options;
use twnc_train::{
    Due, FineTune, Keeper, Limits, Reference, Repair, RepairOptions, Samples, SizeLimit, Summary,
};

/// Numbers that look drawn, smooth along the last axis.
fn tensor(shape: &[usize], seed: usize) -> Tensor {
    let number = |i: usize| {
        let (i, s) = (i as f64, 1.0 + seed as f64);
        ((0.37 * i + s).sin() + (0.011 * i * s).cos() * (1.7 * i * s).sin()) as f32
    };
    Tensor::from_f32(shape.to_vec(), (0..shape.iter().product()).map(number).collect()).unwrap()
}

/// Two convolutions of images, then two linear layers; the name of the first is given.
fn network(first: &str) -> Graph {
    of_widths(first, [4, 12])
}

/// The same with so many channels and hidden units.
fn of_widths(first: &str, [channels, hidden]: [usize; 2]) -> Graph {
    let mut build = GraphBuilder::new("network");
    let shape = [Dim::symbol("N"), Dim::from(3), Dim::from(6), Dim::from(6)];
    let mut x = build.input("x", TensorType::f32(shape.to_vec()));
    for (i, (shape, name)) in
        [([channels, 3, 3, 3], first), ([channels, channels, 3, 3], "second")].into_iter().enumerate()
    {
        let [strides, dilations, pads_begin, pads_end] = [(); 4].map(|()| vec![1, 1]);
        let geometry = Geometry { strides, dilations, pads_begin, pads_end };
        let w = build.constant(tensor(&shape, i), name);
        x = build.node(Op::Conv(Conv { geometry, groups: 1 }), &[x, w], name).unwrap();
        x = build.node(Op::Unary(Unary::Relu), &[x], "").unwrap();
    }
    x = build
        .node(Op::Reshape { shape: vec![Dim::symbol("N"), Dim::from(36 * channels)] }, &[x], "")
        .unwrap();
    for (i, (shape, name)) in
        [([36 * channels, hidden], "third"), ([hidden, 5], "last")].into_iter().enumerate()
    {
        let w = build.constant(tensor(&shape, 5 + i), name);
        x = build.node(Op::MatMul, &[x, w], name).unwrap();
    }
    build.output("y", x);
    build.finish()
}

/// Keeps the last checkpoint, stops when it was asked so often, and counts how often it is.
struct Memory {
    stop: usize,
    asked: AtomicUsize,
    kept: Mutex<Option<Vec<u8>>>,
}

#[derive(Clone)]
struct Shared(Arc<Memory>);

impl Shared {
    fn new(stop: usize) -> Shared {
        Shared(Arc::new(Memory { stop, asked: AtomicUsize::new(0), kept: Mutex::default() }))
    }

    fn kept(&self) -> Vec<u8> {
        self.0.kept.lock().unwrap().clone().unwrap()
    }
}

impl Keeper for Shared {
    fn due(&self) -> Due {
        match self.0.asked.fetch_add(1, Ordering::Relaxed) + 1 {
            asked if asked == self.0.stop => Due::Stop,
            asked if asked % 3 == 0 => Due::Checkpoint,
            _ => Due::Nothing,
        }
    }

    fn keep(&self, checkpoint: Vec<u8>) -> Result<(), String> {
        *self.0.kept.lock().unwrap() = Some(checkpoint);
        Ok(())
    }

    fn name(&self) -> String {
        "kept.ckpt".to_owned()
    }
}

/// A repair, as options and limits say.
struct Work {
    graph: Graph,
    samples: Tensor,
    options: RepairOptions,
    limits: Option<Limits>,
}

impl Work {
    fn new(limits: Option<Limits>) -> Work {
        let options = RepairOptions { fine_tune: FineTune::Steps(12), ..RepairOptions::default() };
        Work { graph: network("first"), samples: tensor(&[90, 3, 6, 6], 3), options, limits }
    }

    fn run(&self, keeper: &Shared, from: Option<Vec<u8>>) -> Result<(String, Summary), PassError> {
        let samples = Samples::new([("x".to_owned(), self.samples.clone())]);
        let passes = Options { scale: twnc_passes::Scale::Channel, ..Options::default() };
        let mut pass = Repair::new(&passes, Arc::new(samples), Arc::new(Reference), self.options).unwrap();
        if let Some(limits) = &self.limits {
            pass = pass.budget(limits.clone(), Arc::new(|graph: Graph| Ok(text::print(&graph).len())));
        }
        let pass = pass.keeper(Box::new(keeper.clone()), from);
        let summary = pass.summary();
        let mut graph = self.graph.clone();
        pass.run(&mut graph, &mut PassContext::new(&CountingCost))?;
        let summary = summary.lock().unwrap().take().unwrap();
        Ok((text::print_full(&graph), summary))
    }

    /// Interrupted behind so many pieces, as often as it takes.
    fn in_parts(&self, of: usize) -> (String, Summary) {
        let mut from = None;
        for part in 0.. {
            // What was recalled counts: each part comes further than the one before.
            let keeper = Shared::new(of * (part + 1));
            match self.run(&keeper, from.take()) {
                Ok(found) => {
                    assert!(part > 0, "{of} pieces are all");
                    return found;
                }
                Err(PassError::Interrupted { message }) => {
                    assert!(message.starts_with("interrupted while "), "{message}");
                    from = Some(keeper.kept());
                }
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!()
    }
}

#[test]
fn interrupted_anywhere_it_goes_on_to_the_same_network() {
    let limits = |size, drop| Some(Limits { size, drop, labels: None });
    let kinds = [None, limits(Some(SizeLimit::Beyond(0.02)), None), limits(None, Some(0.1))];
    for limits in kinds {
        let work = Work::new(limits);
        let keeper = Shared::new(usize::MAX);
        let whole = work.run(&keeper, None).unwrap();
        let pieces = keeper.0.asked.load(Ordering::Relaxed);
        // Four layers, and eleven places between twelve steps, at least.
        assert!(pieces >= 15, "{pieces}");
        assert!(whole.1.tuning.as_ref().is_some_and(|tuning| tuning.steps == 12));
        for of in [3, pieces / 2, pieces - 1] {
            let parts = work.in_parts(of);
            assert!(parts == whole, "{of} of {pieces}: {:?} {:?}", parts.1, whole.1);
        }
        // And from the end.
        assert!(work.run(&Shared::new(usize::MAX), Some(keeper.kept())).unwrap() == whole);
    }
}

#[test]
fn a_checkpoint_is_of_one_network_one_set_of_samples_and_one_choice() {
    let work = Work::new(None);
    let keeper = Shared::new(9);
    assert!(matches!(work.run(&keeper, None), Err(PassError::Interrupted { .. })));
    let kept = keeper.kept();
    let limits = Some(Limits { size: Some(SizeLimit::Beyond(0.1)), drop: None, labels: None });
    let others = [
        Work { options: RepairOptions { seed: 1, ..work.options }, ..Work::new(None) },
        Work { options: RepairOptions { fine_tune: FineTune::Steps(13), ..work.options }, ..Work::new(None) },
        Work { samples: tensor(&[90, 3, 6, 6], 4), ..Work::new(None) },
        Work { graph: network("other"), ..Work::new(None) },
        Work::new(limits),
    ];
    for other in others {
        let said = other.run(&Shared::new(usize::MAX), Some(kept.clone())).unwrap_err().to_string();
        assert!(said.contains("kept.ckpt: the checkpoint is of other work"), "{said}");
    }
    for cut in [0, 3, 16, 40, kept.len() / 2, kept.len() - 1] {
        let said = work.run(&Shared::new(usize::MAX), Some(kept[..cut].to_vec())).unwrap_err().to_string();
        assert!(said.contains("kept.ckpt: "), "{cut}: {said}");
    }
}

/// A checkpoint of layers of other sizes, under the name of this repair.
#[test]
fn layers_of_other_sizes_are_not_taken_up() {
    let work = Work::new(None);
    let checkpoint = |work: &Work, stop: usize| {
        let keeper = Shared::new(stop);
        work.run(&keeper, None).unwrap_err();
        keeper.kept()
    };
    let name = |bytes: &[u8]| {
        let word = b"network and data ";
        bytes.windows(word.len()).position(|window| window == word).unwrap() + word.len() + 8
    };
    for widths in [[5, 12], [4, 13], [3, 12], [4, 11]] {
        let other = Work { graph: of_widths("first", widths), ..Work::new(None) };
        // Behind one layer, behind all, and within fine-tuning.
        for stop in [1, 4, 9] {
            let (own, theirs) = (checkpoint(&work, stop), checkpoint(&other, stop));
            let mut bytes = [&own[..name(&own)], &theirs[name(&theirs)..theirs.len() - 4]].concat();
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
            // Where layers so far are the same, it is the same work.
            let same = stop == 1 && widths[0] == 4;
            match work.run(&Shared::new(usize::MAX), Some(bytes)) {
                Ok(_) => assert!(same, "{widths:?} {stop}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!same && said.contains("does not hold this network's layers"), "{said}");
                }
            }
        }
    }
}

/// Bytes that were changed, and the checksum after them: it is refused, or what comes of it is a network.
#[test]
fn a_checkpoint_that_was_made_up_is_no_danger() {
    let work = Work::new(None);
    let keeper = Shared::new(9);
    work.run(&keeper, None).unwrap_err();
    let kept = keeper.kept();
    let mut refused = 0;
    let all: Vec<usize> = (16..kept.len() - 4).step_by(397).collect();
    for &at in &all {
        for value in [0xff, kept[at] ^ 1] {
            let mut bytes = kept[..kept.len() - 4].to_vec();
            bytes[at] = value;
            let plain = [&bytes[..], &kept[kept.len() - 4..]].concat();
            assert!(work.run(&Shared::new(1), Some(plain)).is_err(), "{at}");
            let sum = crc32fast::hash(&bytes);
            bytes.extend(sum.to_le_bytes());
            match work.run(&Shared::new(6), Some(bytes)) {
                Ok(_) | Err(PassError::Interrupted { .. }) => {}
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 0);
}
