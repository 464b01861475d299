//! `incamera token keygen`: keys to sign tokens with.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ring::rand::SystemRandom;
use wire::key::{KeyPair, ProjectKey};
use zeroize::Zeroizing;

use crate::{Failure, files, secret};

/// What is written into a folder: the private half, the public one in both forms, and the shared secret.
const FILES: [&str; 4] = ["private.pem", "public.pem", "public.jwks.json", "shared.yaml"];

pub(crate) const ABOUT: &str = "\
Makes keys to sign tokens with, of both kinds, and says which is for whom.

A key pair: your own code mints with the private half, and the server gets the public half, with which
nobody can mint. LiveKit's server SDKs cannot sign with it; any JWT library can.

A shared secret: what LiveKit's server SDKs need. The server has it too, so whoever runs the server could
mint with it.";

pub(crate) const EXAMPLES: &str = "\
Examples:
  incamera token keygen --out keys       # files that their owner alone can read
  incamera token keygen --algorithm ES256 --name back-end";

#[derive(Args)]
pub(crate) struct Options {
    /// What the key pair signs with
    #[arg(long, value_enum, default_value_t = Algorithm::EdDsa)]
    algorithm: Algorithm,
    /// The name that the keys shall have on the server; the secret's gets `-shared` after it
    #[arg(long, default_value = "project", value_parser = name)]
    name: String,
    /// A folder for the keys, which is made; without one they are printed
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    /// Ed25519
    #[value(name = "EdDSA")]
    EdDsa,
    /// ECDSA over P-256
    #[value(name = "ES256")]
    Es256,
}

/// A name that settings have as it is written, wherever it stands in what is made here.
fn name(text: &str) -> Result<String, String> {
    const SECRET: &str = "a secret that is long enough for a key";
    for key in [text, &format!("{text}-shared")] {
        ProjectKey::hs256(key, SECRET.as_bytes()).map_err(|error| error.to_string())?;
        for yaml in [format!("{key}: {SECRET}\n"), format!("{{{key}: {SECRET}}}\n")] {
            if settings::secret_of(&yaml, key).is_ok_and(|read| read.as_str() == SECRET) {
                continue;
            }
            return Err(
                "letters, digits, `-`, `_` and `.` are a name in YAML as they stand".to_owned()
            );
        }
    }
    Ok(text.to_owned())
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let random = SystemRandom::new();
    let pair = match options.algorithm {
        Algorithm::EdDsa => KeyPair::ed25519(&random),
        Algorithm::Es256 => KeyPair::p256(&random),
    };
    let pair = pair.map_err(|_| "the system gives no randomness")?;
    let secret = secret::text()?;
    let text = match &options.out {
        Some(folder) => written(folder, &options.name, &pair, &secret)?,
        None => printed(&options.name, &pair, &secret),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn written(
    folder: &Path,
    name: &str,
    pair: &KeyPair,
    secret: &str,
) -> Result<Zeroizing<String>, Failure> {
    // As its files; one that is there already stays as it is.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = FILES.map(|file| folder.join(file));
    if let Some(there) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        let there = there.display();
        return Err(format!(
            "{there} is there already; nothing was overwritten: name another folder"
        )
        .into());
    }
    let [private, public, jwks, shared] = &paths;
    files::write_secret(private, &pair.to_pem())?;
    files::write_secret(public, &pair.public().to_pem())?;
    files::write_secret(jwks, &format!("{}\n", pair.public().to_jwks()))?;
    files::write_secret(shared, &format!("{name}-shared: {secret}\n"))?;
    let mut text = Zeroizing::new(String::new());
    let said = write!(
        text,
        "A key pair, {kid}. Nobody can mint with the public half, which the server gets.
  {private}   yours alone: `incamera token create --private-key-file`, or any JWT library
  {public}   the server's: `keys: {{{name}: {{public_key: {public}}}}}`
  {jwks}   the same as a key set: `keys: {{{name}: {{jwks: {jwks}}}}}`

A shared secret, which LiveKit's server SDKs need. The server's operator could mint with it.
  {shared}   the server's: `key_file: {shared}`; and your back end's
",
        kid = pair.public().thumbprint(),
        private = private.display(),
        public = public.display(),
        jwks = jwks.display(),
        shared = shared.display(),
    );
    said?;
    Ok(text)
}

fn printed(name: &str, pair: &KeyPair, secret: &str) -> Zeroizing<String> {
    let public = pair.public().to_pem();
    let indented: String = public.lines().map(|line| format!("#      {line}\n")).collect();
    Zeroizing::new(format!(
        "# A key pair. Nobody can mint with the public half; LiveKit's server SDKs cannot sign with the private one.
# The private half, yours alone, for `incamera token create --private-key-file` or any JWT library:
{private}
# The public half, the server's, in its settings either as PEM or as a key set:
#keys:
#  {name}:
#    public_key: |
{indented}#  {name}:
#    jwks: '{jwks}'

# A shared secret, which LiveKit's server SDKs need. The server's operator could mint with it.
keys:
  {name}-shared: {secret}
",
        private = pair.to_pem().as_str(),
        jwks = pair.public().to_jwks(),
    ))
}
