//! `include/twnc.h` is what the sources say: the header is committed, so that C needs no Rust to read it.
//!
//! `TWNC_WRITE=1 cargo test -p twnc-capi --test header` writes it.

use std::path::Path;

#[test]
fn the_header_is_what_the_sources_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("the configuration");
    let bindings = cbindgen::generate_with_config(folder, config).expect("cbindgen reads the sources");
    let mut written = Vec::new();
    bindings.write(&mut written);
    let written = String::from_utf8(written).expect("UTF-8");

    let path = folder.join("include/twnc.h");
    if std::env::var_os("TWNC_WRITE").is_some_and(|value| value != "0") {
        std::fs::write(&path, &written).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("the header is there");
    let differs = committed.lines().zip(written.lines()).find(|(committed, written)| committed != written);
    assert!(
        committed == written,
        "twnc.h is not what the sources say ({differs:?}); write it with TWNC_WRITE=1 cargo test -p twnc-capi --test header, read it, commit it"
    );
}
