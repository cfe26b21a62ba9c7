//! What the other tests rely on: an access beyond a slice that lies between inaccessible pages ends the process.
//!
//! Each access happens in a process of its own, which is this test once more with the access's name in its environment.

mod fenced;

use fenced::{Edge, Fenced, jits, telling};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use twnc_jit::{AccumulateKernel, AccumulateSpec, Jit, Kernel, Line, PlaneSpec, Threads, run};
use twnc_program::constant::Trits;
use twnc_program::interpret::{View, ViewMut};
use twnc_program::step::Contraction;
use twnc_program::window::Window;

/// The name of the access that this process is to make.
const ACCESS: &str = "TWNC_TEST_ACCESS";

/// Makes an access in a process of its own: the `test` that asks for it.
fn elsewhere(test: &str, access: &str) -> Output {
    let own = std::env::current_exe().expect("a test is a file");
    let command = &mut Command::new(own);
    command.args(["--exact", test, "--nocapture"]).env(ACCESS, access).output().expect("a test starts")
}

/// Asserts that an access made elsewhere ended its process, with its name on standard error.
fn assert_faults(test: &str, access: &str) {
    let output = elsewhere(test, access);
    let said = String::from_utf8_lossy(&output.stderr);
    let signal = output.status.signal();
    assert!(matches!(signal, Some(libc::SIGSEGV | libc::SIGBUS)), "{access}: {} {said}", output.status);
    assert!(said.contains(&format!("a kernel left its slices: {access}")), "{access}: {said}");
}

#[test]
fn one_byte_out_of_range_faults() {
    const ACCESSES: [(&str, Edge, isize, bool); 5] = [
        ("read before", Edge::Start, -1, false),
        ("write before", Edge::Start, -1, true),
        ("read behind", Edge::End, 5, false),
        ("write behind", Edge::End, 5, true),
        ("write to an input", Edge::End, 0, true),
    ];
    let Ok(name) = std::env::var(ACCESS) else {
        ACCESSES.iter().for_each(|(access, ..)| assert_faults("one_byte_out_of_range_faults", access));
        return;
    };
    let &(_, edge, offset, write) = ACCESSES.iter().find(|access| access.0 == name).expect("an access");
    let bytes = [1u8, 2, 3, 4, 5];
    let fenced = if offset == 0 { Fenced::constant(&bytes, edge) } else { Fenced::new(&bytes, edge) };
    assert!(fenced.is_intact() && *fenced == bytes);
    let place = fenced.as_ptr().wrapping_offset(offset).cast_mut();
    telling(&name, || match write {
        // SAFETY: there is none: the process ends here, which is what is tested.
        true => unsafe { place.write_volatile(1) },
        // SAFETY: as above.
        false => assert_eq!(unsafe { place.read_volatile() }, 0),
    });
}

/// A layer whose kernel reads all of its input and its residual and writes all of its output.
fn layer(jit: &Jit) -> AccumulateKernel {
    let window = Window {
        kernel: vec![3; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads_begin: vec![1; 2],
        pads_end: vec![1; 2],
    };
    let weight = Trits::pack(&[1; 16 * 8 * 9]).expect("trits");
    let contraction = Contraction::Window { window, groups: 1 };
    let plane = PlaneSpec::new(&[1, 8, 9, 9], &[16, 8, 3, 3], &weight, &contraction);
    let spec = AccumulateSpec { residual: true, ..AccumulateSpec::new(vec![plane]) };
    jit.accumulate(&spec).expect("an ordinary layer")
}

/// Generated code of every kind that is given a slice which reaches one number beyond its pages.
#[test]
fn kernels_that_leave_their_slices_fault() {
    for (number, slice, edge) in accesses() {
        let access = format!("{number} {slice} {edge:?}");
        match std::env::var(ACCESS) {
            Err(_) => assert_faults("kernels_that_leave_their_slices_fault", &access),
            Ok(name) if name == access => leave(&jits()[number], slice, edge, &access),
            Ok(_) => {}
        }
    }
}

fn accesses() -> impl Iterator<Item = (usize, &'static str, Edge)> {
    let slices = ["input", "residual", "output"].map(|s| [(s, Edge::Start), (s, Edge::End)]);
    let numbered = slices.into_iter().flatten();
    (0..jits().len()).flat_map(move |number| numbered.clone().map(move |(slice, edge)| (number, slice, edge)))
}

fn leave(jit: &Jit, slice: &str, edge: Edge, access: &str) {
    let kernel = layer(jit);
    let interface = kernel.interface();
    let fenced = |len| Fenced::new(&vec![1.0f32; len], edge);
    let (input, residual) = (fenced(interface.inputs[0].len), fenced(interface.outputs[0].len));
    let mut output = fenced(interface.outputs[0].len);
    let mut scratch = vec![Line::default(); interface.scratch];
    let shift = |name| match (slice == name, edge) {
        (false, _) => 0,
        (true, Edge::Start) => -1,
        (true, Edge::End) => 1,
    };
    let moved = |place: *const f32, by: isize| place.wrapping_offset(by);
    let (at, from, to) = (
        moved(input.as_ptr(), shift("input")),
        moved(residual.as_ptr(), shift("residual")),
        moved(output.as_mut_ptr(), shift("output")).cast_mut(),
    );
    // SAFETY: there is none for the slice that is moved: the process ends where the kernel uses it, which is what is
    // tested. The others are as they are.
    let (input, residual, output) = unsafe {
        (
            std::slice::from_raw_parts(at, input.len()),
            std::slice::from_raw_parts(from, residual.len()),
            std::slice::from_raw_parts_mut(to, output.len()),
        )
    };
    telling(access, || {
        let (outputs, threads) = (&mut [ViewMut::F32(output)], Threads::default());
        run(&kernel, &[View::F32(input)], Some(residual), outputs, &mut scratch, &threads)
            .expect("lengths fit");
    });
}

/// The same kernels within their slices: it is the page that faults above, not the kernel.
#[test]
fn kernels_within_their_slices_do_not() {
    for (jit, edge) in jits().iter().flat_map(|jit| [(jit, Edge::Start), (jit, Edge::End)]) {
        let kernel = layer(jit);
        let residual = vec![0.5; kernel.interface().outputs[0].len];
        let input = vec![1.0; 8 * 81];
        let outputs = fenced::execute(&"a layer", &kernel, &[View::F32(&input)], Some(&residual), 1, edge);
        // A corner sees four elements of each channel.
        assert_eq!(outputs[0].f32()[0], 32.5);
    }
}
