//! Each pass on the graphs of its folder in `cases/`: what it makes of one, and what it leaves alone in another, as text.

use crate::oracle::{assert_same, run};
use crate::swish::Swish;
use std::path::Path;
use std::sync::Arc;
use twnc_ir::{CustomRegistry, text};
use twnc_passes::{Activations, Mode, Options, default_pipeline};

#[test]
fn each_pass_changes_what_it_says_and_leaves_the_rest() {
    let mut registry = CustomRegistry::default();
    registry.register(Arc::new(Swish::Closed));
    registry.register(Arc::new(Swish::Opaque));
    let options = Options {
        ternarise: Mode::All,
        activations: Activations::Int,
        logits_scale_free: true,
        ..Options::default()
    };
    for entry in default_pipeline(&options).unwrap().entries() {
        let pass = entry.pass.name();
        for case in ["changes", "left_alone"] {
            let name = format!("{pass}_{case}");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{pass}/{case}.twir"));
            let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let before = text::parse(&source, &registry).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut after = before.clone();
            let outcome = run(&mut after, &[pass], &options);
            assert_eq!(outcome.edits > 0, case == "changes", "{name}: {} edits", outcome.edits);
            if !["ternarise", "fix_point", "drop_logits_scale"].contains(&pass) {
                assert_same(&before, &after);
            }
            let again = run(&mut after.clone(), &[pass], &options);
            assert_eq!(again.edits, 0, "{name}: the second run finds something to do");
            let printed =
                if outcome.edits == 0 { "unchanged\n".to_owned() } else { text::print_full(&after) };
            insta::assert_snapshot!(
                name,
                format!("{source}\n// after {pass}\n{printed}\n{}", outcome.lines())
            );
        }
    }
}
