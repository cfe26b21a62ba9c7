//! Modules: loaded models, and what they say of their inputs and outputs.

use crate::array::{ElementCode, element_code};
use crate::error::{Code, Failure, TWNC_MODEL, guard};
use crate::handle::Table;
use crate::pointer::{self, Place};
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use twnc_runtime::{PortInfo, Size};

/// The size of an axis that the model leaves open, or that follows from open ones.
pub const TWNC_OPEN: i64 = -1;

/// What a model says of an input or output. All of it stands until the module is freed.
#[derive(Debug)]
#[repr(C)]
pub struct Port {
    /// Its name.
    pub name: *const c_char,
    /// What an element is.
    pub element: ElementCode,
    /// How many axes it has.
    pub rank: usize,
    /// The size of each axis; TWNC_OPEN where it is not fixed.
    pub shape: *const i64,
    /// The name of each axis's open size, which is the same size wherever the name stands; NULL where it is fixed or follows from others.
    pub symbols: *const *const c_char,
}

/// A loaded model. Immutable, and usable by any number of sessions and threads.
#[derive(Debug)]
pub struct Module {
    pub(crate) module: twnc_runtime::Module,
    pub(crate) inputs: Ports,
    pub(crate) outputs: Ports,
}

/// The inputs or outputs, and C's words for them.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) infos: Vec<PortInfo>,
    ports: Vec<Port>,
    /// What `ports` points to.
    _texts: Vec<CString>,
    _shapes: Vec<Box<[i64]>>,
    _symbols: Vec<Box<[*const c_char]>>,
}

// SAFETY: the pointers lead to memory that belongs to the same value, whose place does not change with it, and that nobody writes to.
unsafe impl Send for Ports {}
// SAFETY: as above.
unsafe impl Sync for Ports {}

pub(crate) static MODULES: Table<Module> = Table::new("module");

impl Module {
    fn new(module: twnc_runtime::Module) -> Result<Module, Failure> {
        Ok(Module { inputs: Ports::new(module.inputs())?, outputs: Ports::new(module.outputs())?, module })
    }
}

impl Ports {
    fn new(infos: Vec<PortInfo>) -> Result<Ports, Failure> {
        let (mut ports, mut texts, mut shapes, mut symbols) = (vec![], vec![], vec![], vec![]);
        let mut text = |text: &str| {
            let text = CString::new(text).map_err(|_| {
                let message =
                    format!("the name {text:?} in the model has a zero byte, which no name in C has");
                Failure::new(TWNC_MODEL, message)
            })?;
            let pointer = text.as_ptr();
            texts.push(text);
            Ok::<_, Failure>(pointer)
        };
        for info in &infos {
            let sizes = info.shape.iter().map(|size| match size {
                Size::Fixed(n) => i64::try_from(*n).unwrap_or(TWNC_OPEN),
                Size::Open(_) | Size::Computed => TWNC_OPEN,
            });
            let names = info.shape.iter().map(|size| match size {
                Size::Open(name) => text(name),
                Size::Fixed(_) | Size::Computed => Ok(ptr::null()),
            });
            let names: Box<[_]> = names.collect::<Result<_, _>>()?;
            let sizes: Box<[_]> = sizes.collect();
            ports.push(Port {
                name: text(&info.name)?,
                element: element_code(info.element)?,
                rank: sizes.len(),
                shape: sizes.as_ptr(),
                symbols: names.as_ptr(),
            });
            shapes.push(sizes);
            symbols.push(names);
        }
        Ok(Ports { infos, ports, _texts: texts, _shapes: shapes, _symbols: symbols })
    }
}

/// Reads and validates the file `path` (UTF-8), a model.bin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_module_open(path: *const c_char, module: *mut *mut Module) -> Code {
    guard(|| {
        // SAFETY: the header asks for what these need.
        let (place, path) = unsafe { (Place::of_handle(module, "module")?, pointer::text(path, "path")?) };
        place.put(MODULES.open(Module::new(twnc_runtime::Module::open(path)?)?)?);
        Ok(())
    })
}

/// Validates the bytes of a model.bin, and copies what it needs of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_module_from_bytes(
    bytes: *const c_void,
    size: usize,
    module: *mut *mut Module,
) -> Code {
    guard(|| {
        // SAFETY: the header asks for what these need.
        let (place, bytes) = unsafe {
            let place = Place::of_handle(module, "module")?;
            (place, pointer::elements(bytes.cast::<u8>(), size, || "`bytes`".into())?)
        };
        place.put(MODULES.open(Module::new(twnc_runtime::Module::from_bytes(bytes)?)?)?);
        Ok(())
    })
}

/// Frees a module; sessions of it go on.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_module_free(module: *mut Module) -> Code {
    guard(|| MODULES.close(module))
}

/// What the model takes: `count` inputs, in its order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_module_inputs(
    module: *const Module,
    inputs: *mut *const Port,
    count: *mut usize,
) -> Code {
    // SAFETY: the header asks for what it needs.
    guard(|| unsafe { give(inputs, count, &MODULES.get(module)?.inputs) })
}

/// What the model gives: `count` outputs, in its order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_module_outputs(
    module: *const Module,
    outputs: *mut *const Port,
    count: *mut usize,
) -> Code {
    // SAFETY: the header asks for what it needs.
    guard(|| unsafe { give(outputs, count, &MODULES.get(module)?.outputs) })
}

/// # Safety
/// Unless they are refused, `place` and `count` may be written to.
unsafe fn give(place: *mut *const Port, count: *mut usize, ports: &Ports) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    let (place, count) = unsafe { (Place::new(place, "ports")?, Place::new(count, "count")?) };
    place.put(ports.ports.as_ptr());
    count.put(ports.ports.len());
    Ok(())
}
