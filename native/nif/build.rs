//! The VM closes a NIF library when its module is purged and nothing refers to it any more. The engine's threads run on,
//! so the library must stay mapped.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
