//! The function that the custom step of the released files calls, for whoever runs them: the tests of the format and of the runtime.

use std::sync::Arc;
use twnc_program::interpret::{CustomFunction, Functions, View, ViewMut};
use twnc_program::step::Attribute;

/// The function of the custom step: both outputs are the input, times `float` and times `int`.
pub fn functions() -> Functions {
    struct Scaled;
    impl CustomFunction for Scaled {
        fn run(
            &self,
            attributes: &[(String, Attribute)],
            inputs: &[(View<'_>, &[usize])],
            outputs: &mut [(ViewMut<'_>, &[usize])],
        ) -> Result<(), String> {
            let [(_, Attribute::Float(float)), _, (_, Attribute::Int(int)), ..] = attributes else {
                return Err(format!("other attributes: {attributes:?}"));
            };
            let ([(View::F32(x), _)], [(ViewMut::F32(first), _), (ViewMut::F32(second), _)]) =
                (inputs, outputs)
            else {
                return Err("other arrays".into());
            };
            for ((x, first), second) in x.iter().zip(&mut **first).zip(&mut **second) {
                (*first, *second) = (x * float, x * *int as f32);
            }
            Ok(())
        }
    }
    let mut functions = Functions::default();
    functions.register("released::scaled", Arc::new(Scaled));
    functions
}
