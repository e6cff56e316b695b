//! Options of the linker.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if has_packed_relocations() {
        // The loader reads every relocation of a program that may lie anywhere: 24 octets for each pointer in its
        // constants, megabytes that stay resident. Packed (DT_RELR) they are a bit or two.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the loader of this system, on which the program is to run, knows them: glibc does from 2.36 on.
fn has_packed_relocations() -> bool {
    if env::var_os("TARGET") != env::var_os("HOST") {
        return false;
    }
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let answer = answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    answer.is_ok_and(|text| glibc(&text).is_some_and(|version| version >= (2, 36)))
}

/// From `glibc 2.36`.
fn glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
