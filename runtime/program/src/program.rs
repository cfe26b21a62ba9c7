//! The program: what `model.bin` holds and the runtime executes.

use crate::constant::Constant;
use crate::dim::Dim;
use crate::element::ElementType;
use crate::step::Step;
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A logical buffer of a program.
    BufferId, "b"
);
id!(
    /// A constant of a program.
    ConstantId, "c"
);
id!(
    /// An open dimension of a program.
    SymbolId, "s"
);

/// Steps over logical buffers. Each buffer is an input or is written by exactly one step, before any step that reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The network's name, for reports.
    pub name: String,
    /// Names of the open dimensions, by [`SymbolId`].
    pub symbols: Vec<String>,
    /// All logical buffers, by [`BufferId`].
    pub buffers: Vec<Buffer>,
    /// All constants, by [`ConstantId`].
    pub constants: Vec<Constant>,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What a caller must give. Each has a distinct name and a distinct buffer.
    pub inputs: Vec<Port>,
    /// What a caller gets. Names are distinct; two outputs may share a buffer, and an output may be an input's buffer.
    pub outputs: Vec<Port>,
}

/// A buffer that a caller fills or reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name that the network gives it.
    pub name: String,
    /// Which buffer.
    pub buffer: BufferId,
}

/// A logical tensor: row-major, dense, without any physical layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What an element is; never [`ElementType::Ternary`].
    pub element: ElementType,
    /// Sizes of its axes. An input's are each a number or a bare symbol; the symbols get their values there.
    pub shape: Vec<Dim>,
}
