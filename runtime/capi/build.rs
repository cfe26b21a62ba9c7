//! Gives the shared library its name among those that the loader knows: the number behind `.so` is that of the interface, `ABI_VERSION`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtwnc_c.so.1");
    }
}
