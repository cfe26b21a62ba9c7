//! Times accumulate kernels on the layers of common networks, on one thread.
//!
//!     cargo run --release -p twnc-jit --example layers [NAME PART]     # every kind of code that this machine runs
//!     TWNC_ISA=avx2 cargo run ...                                      # one kind of code
//!     cargo run --release -p twnc-jit --example layers -- --plans N [NAME PART]   # N plans for each layer: what they do, and their time
//!     cargo run --release -p twnc-jit --example layers -- --rounding [NAME PART]  # rounding the layer's input to integers
//!
//! The last two print lines of JSON: `testsuite/scripts/fit_costs.py` fits the cost model to them, and `bench.py --share` says
//! what the time of a layer consists of.

use std::time::{Duration, Instant};
use twnc_jit::{
    AccumulateSpec, Counts, IntegerRange, Isa, Jit, JitError, Kernel, Line, PlaneSpec, Threads, run,
};
use twnc_program::BufferId;
use twnc_program::constant::Trits;
use twnc_program::interpret::{View, ViewMut};
use twnc_program::scalar::Unary;
use twnc_program::step::{Contraction, Quantize};
use twnc_program::window::Window;

/// A layer: name, input and weight shapes, contraction.
struct Layer(&'static str, Vec<usize>, Vec<usize>, Contraction);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, number, rest @ ..] = &arguments[..]
        && flag == "--plans"
    {
        let filter = rest.first().map_or("", |part| part);
        return plans(number.parse().expect("a number of plans"), filter);
    }
    if let [flag, rest @ ..] = &arguments[..]
        && flag == "--rounding"
    {
        return rounding(rest.first().map_or("", |part| part));
    }
    let filter = arguments.first().cloned().unwrap_or_default();
    println!("{:20} {:>9} {:>9} {:>8} {:>8}", "layer", "min ms", "median", "GMAC/s", "build ms");
    for layer in layers().iter().filter(|l| l.0.contains(&filter)) {
        for isa in kinds() {
            let jit = Jit::new(isa).expect("this machine runs generated code");
            [None, Some(8)].into_iter().for_each(|bits| time(&jit, layer, bits));
        }
    }
}

/// The kinds of code to time: the one that TWNC_ISA names, or all that this machine runs.
fn kinds() -> impl Iterator<Item = Isa> {
    let wanted = std::env::var("TWNC_ISA").ok();
    Isa::available().filter(move |isa| wanted.as_deref().is_none_or(|name| name == isa.name()))
}

/// Times `number` plans of each layer, from the one that should be best to one that should take several times as long.
fn plans(number: usize, filter: &str) {
    for layer in layers().iter().filter(|l| l.0.contains(filter)) {
        for isa in kinds() {
            let jit = Jit::new(isa).expect("this machine runs generated code");
            for bits in [None, Some(8)] {
                for i in 0..number {
                    // Ranks grow by the square: most of the plans are among the better ones.
                    let timed = measure(&jit, layer, bits, i * i * 2, Duration::from_millis(25));
                    let Ok(Timed { times, counts, .. }) = timed else { continue };
                    let [Some(counts)] = &counts[..] else { continue };
                    let counts = Counts::NAMES.iter().zip(counts.values());
                    let counts: Vec<String> = counts.map(|(name, n)| format!("\"{name}\": {n}")).collect();
                    let clock = jit.cycles_per_second().expect("a clock");
                    let cycles = times[0] / 1e3 * clock;
                    let (name, isa) = (layer.0, isa.name());
                    let element = if bits.is_some() { "i16" } else { "f32" };
                    println!(
                        r#"{{"layer": "{name}", "isa": "{isa}", "element": "{element}", "rank": {}, "clock": {clock}, "cycles": {cycles}, {}}}"#,
                        i * i * 2,
                        counts.join(", ")
                    );
                }
            }
        }
    }
}

/// Times what rounds the inputs of layers to integers of 8 bits.
fn rounding(filter: &str) {
    for layer in layers().iter().filter(|l| l.0.contains(filter)) {
        for isa in kinds() {
            let jit = Jit::new(isa).expect("this machine runs generated code");
            let [input, integers, scales] = [0, 1, 2].map(BufferId);
            let step = Quantize { input, bits: 8, signed: true, scale: None, outputs: [integers, scales] };
            let kernel = jit.quantize(&step, &layer.1, None, false).expect("a step that there is");
            let x: Vec<f32> =
                (0..layer.1.iter().product()).map(|i: usize| (i % 255) as f32 - 127.0).collect();
            let (mut q, mut s) = (vec![0; x.len()], vec![0.0; layer.1[0]]);
            let mut scratch = vec![Line::default(); kernel.interface().scratch];
            let (mut best, end) = (f64::INFINITY, Instant::now() + Duration::from_millis(25));
            while Instant::now() < end {
                let start = Instant::now();
                let outputs = &mut [ViewMut::I16(&mut q), ViewMut::F32(&mut s)];
                run(&kernel, &[View::F32(&x)], None, outputs, &mut scratch, &Threads::default())
                    .expect("lengths fit");
                best = best.min(start.elapsed().as_secs_f64());
            }
            let cycles = best * jit.cycles_per_second().expect("a clock");
            println!(r#"{{"layer": "{}", "isa": "{}", "cycles": {cycles}}}"#, layer.0, isa.name());
        }
    }
}

fn layers() -> Vec<Layer> {
    vec![
        conv("3x3 64->64 @56", 64, 64, 56, 3, 1, 1, 1),
        conv("3x3 128->128 @28", 128, 128, 28, 3, 1, 1, 1),
        conv("3x3 256->256 @14", 256, 256, 14, 3, 1, 1, 1),
        conv("3x3 512->512 @7", 512, 512, 7, 3, 1, 1, 1),
        conv("1x1 256->256 @28", 256, 256, 28, 1, 1, 0, 1),
        conv("3x3/2 64->128 @56", 64, 128, 56, 3, 2, 1, 1),
        conv("3x3/2 128->256 @28", 128, 256, 28, 3, 2, 1, 1),
        conv("3x3/2 256->512 @14", 256, 512, 14, 3, 2, 1, 1),
        conv("1x1/2 64->128 @56", 64, 128, 56, 1, 2, 0, 1),
        conv("1x1/2 256->512 @14", 256, 512, 14, 1, 2, 0, 1),
        conv("3x3 depthwise @56", 128, 128, 56, 3, 1, 1, 128),
        conv("3x3 depthwise @28", 256, 256, 28, 3, 1, 1, 256),
        conv("3x3 depthwise @14", 512, 512, 14, 3, 1, 1, 512),
        conv("3x3 depthwise @7", 1024, 1024, 7, 3, 1, 1, 1024),
        conv("3x3/2 depthwise @112", 64, 64, 112, 3, 2, 1, 64),
        conv("5x5 depthwise @28", 256, 256, 28, 5, 1, 2, 256),
        conv("3x3 depthwise x2 @28", 128, 256, 28, 3, 1, 1, 128),
        conv("7x7/2 3->64 @224", 3, 64, 224, 7, 2, 3, 1),
        conv("5x5 1->32 @28", 1, 32, 28, 5, 1, 0, 1),
        conv("3x3 3->128 @32", 3, 128, 32, 3, 1, 1, 1),
        full("4096->4096, 1 row", 1, 4096, 4096),
        full("512->1000, 1 row", 1, 512, 1000),
        full("256->10, 1 row", 1, 256, 10),
        full("84->10, 1 row", 1, 84, 10),
        full("4096->4096, 2 rows", 2, 4096, 4096),
        full("4096->4096, 4 rows", 4, 4096, 4096),
        full("4096->4096, 8 rows", 8, 4096, 4096),
        full("4096->4096, 12 rows", 12, 4096, 4096),
        full("4096->4096, 16 rows", 16, 4096, 4096),
        full("512->512, 64 rows", 64, 512, 512),
    ]
}

#[allow(clippy::too_many_arguments)] // A row of the table above.
fn conv(
    name: &'static str,
    c: usize,
    m: usize,
    size: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    groups: usize,
) -> Layer {
    let window = Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_begin: vec![pad; 2],
        pads_end: vec![pad; 2],
    };
    let weight = vec![m, c / groups, kernel, kernel];
    Layer(name, vec![1, c, size, size], weight, Contraction::Window { window, groups })
}

fn full(name: &'static str, rows: usize, k: usize, m: usize) -> Layer {
    Layer(name, vec![rows, k], vec![k, m], Contraction::MatMul)
}

/// How a kernel did.
struct Timed {
    /// Milliseconds, ascending.
    times: Vec<f64>,
    /// Seconds to make it.
    build: f64,
    multiplications: usize,
    description: String,
    counts: Vec<Option<Counts>>,
}

fn time(jit: &Jit, layer: &Layer, bits: Option<u32>) {
    let timed = match measure(jit, layer, bits, 0, Duration::from_millis(700)) {
        Ok(timed) => timed,
        Err(e) => return println!("{:20} {e}", layer.0),
    };
    let Timed { times, build, multiplications, description, .. } = timed;
    let median = times[times.len() / 2];
    println!(
        "{:20} {:9.3} {median:9.3} {:8.1} {:8.1}  {} {}: {description}",
        layer.0,
        times[0],
        multiplications as f64 / median / 1e6,
        build * 1e3,
        jit.isa().name(),
        if bits.is_some() { "i16" } else { "f32" },
    );
}

/// Makes the kernel of a layer by the plan of a rank and runs it for some time, at least twice.
fn measure(
    jit: &Jit,
    Layer(_, input_shape, weight_shape, contraction): &Layer,
    bits: Option<u32>,
    rank: usize,
    duration: Duration,
) -> Result<Timed, JitError> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let input: Vec<f32> = (0..input_shape.iter().product()).map(|_| next() * 2.0 - 1.0).collect();
    // 42% zeros, as thresholds of 0.7 times the mean leave them.
    let trit = |u: f32| i8::from(u > 0.42) - 2 * i8::from(u > 0.71);
    let weights: Vec<i8> = (0..weight_shape.iter().product()).map(|_| trit(next())).collect();
    let weight = Trits::pack(&weights).expect("trits");
    let outputs = match contraction {
        Contraction::MatMul => weight_shape[1],
        Contraction::Window { .. } => weight_shape[0],
    };
    let bias = vec![0.5; outputs];
    let start = Instant::now();
    let plane = PlaneSpec {
        scale: Some(&[0.01]),
        integers: bits.map(|bits| IntegerRange { largest: (1 << (bits - 1)) - 1, signed: true }),
        ..PlaneSpec::new(input_shape, weight_shape, &weight, contraction)
    };
    let activation = Some(Unary::Relu);
    let spec = AccumulateSpec { bias: Some(&bias), activation, rank, ..AccumulateSpec::new(vec![plane]) };
    let kernel = jit.accumulate(&spec)?;
    let build = start.elapsed().as_secs_f64();
    let interface = kernel.interface();
    // As in a network, they begin with a cache line.
    let mut output =
        vec![Line::default(); (interface.outputs[0].len * size_of::<f32>()).div_ceil(size_of::<Line>())];
    let output: &mut [f32] = bytemuck::cast_slice_mut(&mut output);
    let output = &mut output[..interface.outputs[0].len];
    let integers: Vec<i16> = input.iter().map(|x| (x * 127.0) as i16).collect();
    let inputs = [if bits.is_some() { View::I16(&integers) } else { View::F32(&input) }];
    let mut scratch = vec![Line::default(); interface.scratch];
    let mut times = Vec::new();
    let end = Instant::now() + duration;
    while Instant::now() < end || times.len() < 2 {
        let start = Instant::now();
        run(&kernel, &inputs, None, &mut [ViewMut::F32(output)], &mut scratch, &Threads::default())
            .expect("lengths fit");
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let multiplications = interface.outputs[0].len * weights.len() / outputs;
    Ok(Timed { times, build, multiplications, description: kernel.describe(), counts: kernel.counts() })
}
