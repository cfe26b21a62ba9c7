//! `docs/operators.md` lists exactly the operators that the importer has, with what each becomes.

use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn the_table_of_operators() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators.md");
    let text = std::fs::read_to_string(&path).expect("docs/operators.md is in the repository");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    let documented: BTreeMap<String, (String, String)> = rows
        .filter_map(|cells| match cells.as_slice() {
            [_, name, since, becomes, ..] => Some((name.replace('`', ""), (since.clone(), becomes.clone()))),
            _ => None,
        })
        .collect();
    let registered: BTreeMap<String, (String, String)> = twnc_onnx::operators()
        .map(|operator| (operator.name.to_owned(), (operator.since.to_string(), operator.becomes.to_owned())))
        .collect();
    assert_eq!(documented, registered);
}
