//! Compiles the reader's driver, which pcscd loads. It needs the system's C compiler (`CC`, or `cc`) and no headers but
//! the C library's.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "reader/reader.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CC");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let library = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("libcountersign-reader.so");
    let status = Command::new(&compiler)
        .args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fPIC", "-shared"])
        .arg(SOURCE)
        .arg("-o")
        .arg(&library)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} could not compile {SOURCE}: {status}", compiler.display()),
        Err(error) => panic!("the C compiler {} cannot be run: {error}", compiler.display()),
    }
    println!("cargo::rustc-env=COUNTERSIGN_READER={}", library.display());
}
