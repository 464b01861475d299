//! Embeds the call page: a table of every file of `web/dist`, if the page has been built.
//!
//! Guarantees: the same files give the same table, so the binary stays reproducible.
//! Not here: how they are served (`src/page.rs`).

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> io::Result<()> {
    let web = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../web");
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    let dist = web.join("dist");
    // A path that does not exist counts as changed on every build, so the folder is made here; where
    // it cannot be, that is the price.
    fs::create_dir_all(&dist).ok();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());

    let mut files = Vec::new();
    collect(&dist, &mut files)?;
    files.sort();
    let mut table = String::from("static ASSETS: &[Asset] = &[\n");
    for (index, file) in files.iter().enumerate() {
        let name = file.strip_prefix(&dist).map_err(io::Error::other)?;
        writeln!(table, "{},", asset(file, name, &out.join(format!("{index}.gz")))?)
            .map_err(io::Error::other)?;
    }
    let policy = web.join("csp.txt");
    println!("cargo::rerun-if-changed={}", policy.display());
    let policy = fs::read_to_string(policy)?;
    let policy = policy.trim();
    writeln!(table, "];\nconst POLICY: &str = {policy:?};").map_err(io::Error::other)?;
    fs::write(out.join("page_assets.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The Rust expression of one file; its compressed form goes to `gzip` when it is smaller.
fn asset(file: &Path, name: &Path, gzip: &Path) -> io::Result<String> {
    let bytes = fs::read(file)?;
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    encoder.write_all(&bytes)?;
    let compressed = encoder.finish()?;
    let compressed = if compressed.len() < bytes.len() {
        fs::write(gzip, compressed)?;
        format!("Some(include_bytes!({gzip:?}))")
    } else {
        String::from("None")
    };
    let name = name.to_string_lossy();
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(format!(
        "    Asset {{ path: {name:?}, content_type: {:?}, digest: \"{:016x}\", \
         bytes: include_bytes!({file:?}), gzip: {compressed} }}",
        content_type(&name),
        hasher.finish(),
    ))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain; charset=utf-8",
        Some("mp3") => "audio/mpeg",
        Some(_) | None => "application/octet-stream",
    }
}
