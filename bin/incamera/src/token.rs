//! `incamera token`: what lets people into rooms.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, CommandFactory as _, Subcommand, error::ErrorKind};
use ring::rand::SystemRandom;
use wire::grant::VideoGrant;
use wire::key::{KeyError, KeyPair, ProjectKey};
use wire::limits::{SECRET_LEN_MIN, TOKEN_MAX};
use wire::token::{Claims, claimed_id, mint, mint_with};
use zeroize::Zeroizing;

use crate::link::{self, Page};
use crate::rights::Rights;
use crate::{Arguments, Failure, dev, files, keygen};

const KEY_VARIABLE: &str = "INCAMERA_API_KEY";
const SECRET_VARIABLE: &str = "INCAMERA_API_SECRET";

const CREATE_ABOUT: &str = "\
Makes a token and prints it.

A token says who somebody is and what it may do, and is good until it expires. It is signed with an API
key's secret or private key on this machine; no server is asked. What is not said about publishing and subscribing is
allowed, and sending data as publishing is; everything else is not.";

const CREATE_EXAMPLES: &str = "\
Examples:
  # Ada may join the room demo of `incamera dev` and do there what people do.
  incamera token create --api-key devkey --api-secret secret --join --room demo --identity ada

  # Somebody who may only watch, for ten minutes. The secret is in no list of processes.
  export INCAMERA_API_KEY=mykey
  incamera token create --api-secret-file secret.txt --join --room demo --identity guest \\
      --can-publish=false --can-publish-data=false --valid-for 10m

  # With the keys of `incamera token keygen --out keys`: the private one, of which the server has the public half, and
  # the shared secret, by its name in that file.
  incamera token create --api-key project --private-key-file keys/private.pem --join --room demo --identity ada
  incamera token create --api-key project-shared --api-secret-file keys/shared.yaml --join --room demo --identity ada

  # A link for each of two people, who have one channel key, which the server never gets: it stays in that file.
  incamera token create --api-secret-file secret.txt --join --room ward-7 --identity ada \\
      --link https://calls.example.org --channel-key-file ward-7.key
  incamera token create --api-secret-file secret.txt --join --room ward-7 --identity ben \\
      --link https://calls.example.org --channel-key-file ward-7.key

  # A back end that moderates a room.
  incamera token create --api-secret-file secret.txt --admin --room demo --identity moderator";

const ID_ABOUT: &str = "\
Prints the id of a token, to revoke it by.

The id goes below `tokens:` of a server's revocation file; whatever was refreshed from the token has the
same. The token is not verified, and whoever has the id cannot use it.";

/// Tokens: what lets people into rooms
#[derive(Subcommand)]
#[command(after_help = "Example:
  incamera token create --api-key devkey --api-secret secret --join --room demo --identity ada")]
pub(crate) enum Command {
    /// Make a token and print it
    #[command(long_about = CREATE_ABOUT, after_help = CREATE_EXAMPLES)]
    Create(Box<Create>),
    /// Make keys to sign tokens with
    #[command(long_about = keygen::ABOUT, after_help = keygen::EXAMPLES)]
    Keygen(keygen::Options),
    /// Print the id of a token, to revoke it by
    #[command(long_about = ID_ABOUT)]
    Id {
        /// A file with the token; without one it is read from standard input
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// With what a token is signed.
#[derive(Args)]
pub(crate) struct Signing {
    /// The API key that signs [default: INCAMERA_API_KEY]
    #[arg(long, value_name = "NAME")]
    api_key: Option<String>,
    /// Its secret; others on this machine can see it here [default: INCAMERA_API_SECRET]
    #[arg(long, value_name = "SECRET", conflicts_with = "api_secret_file")]
    api_secret: Option<String>,
    /// A file with its secret alone, or a key file with lines as `NAME: SECRET`
    #[arg(long, value_name = "PATH")]
    api_secret_file: Option<PathBuf>,
    /// A file with its private key, as PEM, instead of a secret
    #[arg(long, value_name = "PATH", conflicts_with_all = ["api_secret", "api_secret_file"])]
    private_key_file: Option<PathBuf>,
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches are independent of each other")]
pub(crate) struct Create {
    #[command(flatten)]
    signing: Signing,

    /// The stable name of the person or robot
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    identity: String,
    /// The name to show
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// Text for the application
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    metadata: String,
    /// A key and a value for the application; may be given again
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, String)>,
    /// How long the token is good, and whoever loses the connection comes back: a number and s, m, h or d; servers take
    /// it for a minute longer, since clocks differ
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = parse_duration)]
    valid_for: Duration,

    /// The room that the token is for
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    room: String,
    /// May join the room
    #[arg(long, requires = "room", requires = "identity")]
    join: bool,
    /// May moderate the room
    #[arg(long, requires = "room")]
    admin: bool,
    /// May create and delete rooms
    #[arg(long)]
    create: bool,
    /// May list rooms
    #[arg(long)]
    list: bool,
    /// May have rooms recorded
    #[arg(long)]
    record: bool,

    /// Print a link to the call page of this server, with the token in it, instead of the token alone
    #[arg(long, value_name = "URL", requires = "join", value_parser = Page::parse)]
    link: Option<Page>,
    /// The file with the room's channel key, which is made if it is not there [default: a new key, in this link alone]
    #[arg(long, value_name = "FILE", requires = "link")]
    channel_key_file: Option<PathBuf>,

    #[command(flatten)]
    rights: Rights,
    /// Others are not told of it
    #[arg(long)]
    hidden: bool,
    /// It records, and others are told so
    #[arg(long)]
    recorder: bool,
    /// It is an agent
    #[arg(long)]
    agent: bool,
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create(create) => {
            let text = create.printed(SystemTime::now())?;
            writeln!(io::stdout(), "{}", text.as_str())?;
        }
        Command::Keygen(options) => keygen::run(options)?,
        Command::Id { file } => {
            let text = match file {
                Some(path) => files::read_secret("FILE", path, TOKEN_MAX).map_err(|refused| {
                    format!("{refused}; a token itself goes to standard input")
                })?,
                None => {
                    let mut text = String::new();
                    let limit = u64::try_from(TOKEN_MAX)?.saturating_add(1);
                    io::stdin().take(limit).read_to_string(&mut text)?;
                    text.into()
                }
            };
            writeln!(io::stdout(), "{}", claimed_id(text.trim())?)?;
        }
    }
    Ok(())
}

impl Signing {
    /// Whether the command line says anything of it.
    pub(crate) const fn is_given(&self) -> bool {
        self.api_key.is_some()
            || self.api_secret.is_some()
            || self.api_secret_file.is_some()
            || self.private_key_file.is_some()
    }

    /// Signs a token.
    pub(crate) fn mint(&self, claims: &Claims) -> Result<String, Failure> {
        let name = self.api_key.clone().or_else(|| env::var(KEY_VARIABLE).ok());
        let name = name.unwrap_or_else(|| missing("--api-key NAME", KEY_VARIABLE));
        let Some(path) = &self.private_key_file else {
            return Ok(mint(&self.key(&name)?, claims));
        };
        let random = SystemRandom::new();
        let pair = KeyPair::from_pem(
            &files::read_secret("--private-key-file", path, files::SECRET_FILE_MAX)?,
            &random,
        );
        let pair = pair.map_err(|error| format!("{}: {error}", path.display()))?;
        let token = mint_with(&pair, &name, claims, &random);
        Ok(token.map_err(|_| "the system gives no randomness")?)
    }

    fn key(&self, name: &str) -> Result<ProjectKey, Failure> {
        let secret = match &self.api_secret_file {
            Some(path) => {
                let text = files::read_secret("--api-secret-file", path, files::SECRET_FILE_MAX)?;
                let secret = settings::secret_of(&text, name);
                Some(secret.map_err(|fault| format!("{}: {fault}", path.display()))?)
            }
            None => {
                let secret = self.api_secret.clone().or_else(|| env::var(SECRET_VARIABLE).ok());
                secret.map(Into::into)
            }
        };
        let secret = secret.unwrap_or_else(|| missing("--api-secret-file PATH", SECRET_VARIABLE));
        let secret = secret.trim_end_matches(['\r', '\n']);
        match ProjectKey::hs256(name, secret.as_bytes()) {
            // Everybody knows that pair, and what it is for.
            Err(KeyError::SecretShort) if (name, secret) == (dev::API_KEY, dev::API_SECRET) => {
                Ok(ProjectKey::hs256_short(name, secret.as_bytes())?)
            }
            Err(KeyError::SecretShort) => {
                writeln!(
                    io::stderr(),
                    "incamera: a secret of less than {SECRET_LEN_MIN} bytes can be guessed from a \
                     token; only `incamera dev` takes it"
                )?;
                Ok(ProjectKey::hs256_short(name, secret.as_bytes())?)
            }
            outcome => Ok(outcome?),
        }
    }
}

impl Create {
    /// A token, or a link with one.
    fn printed(&self, now: SystemTime) -> Result<Zeroizing<String>, Failure> {
        let token = Zeroizing::new(self.mint(now)?);
        let Some(page) = &self.link else { return Ok(token) };
        let key = match &self.channel_key_file {
            Some(path) => link::kept_key(path)?,
            None => link::fresh_key()?,
        };
        Ok(page.link(&token, &key))
    }

    fn mint(&self, now: SystemTime) -> Result<String, Failure> {
        self.signing.mint(&self.claims(now)?)
    }

    fn claims(&self, now: SystemTime) -> Result<Claims, Failure> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH)?;
        let not_before = now.as_secs();
        let video = VideoGrant {
            room: self.room.clone(),
            room_join: self.join,
            room_admin: self.admin,
            room_create: self.create,
            room_list: self.list,
            room_record: self.record,
            can_publish: self.rights.can_publish,
            can_publish_sources: self.rights.can_publish_sources.clone(),
            can_publish_data: self.rights.can_publish_data,
            can_subscribe: self.rights.can_subscribe,
            can_update_own_metadata: self.rights.can_update_own_metadata,
            hidden: self.hidden,
            recorder: self.recorder,
            agent: self.agent,
            ..VideoGrant::default()
        };
        Ok(Claims {
            identity: self.identity.clone(),
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            attributes: BTreeMap::from_iter(self.attributes.iter().cloned()),
            not_before: Some(not_before),
            expires_at: not_before.saturating_add(self.valid_for.as_secs()),
            video: Some(video),
            ..Claims::default()
        })
    }
}

/// Ends the process as clap does for a wrong command line, with the usage of the command that was typed.
pub(crate) fn missing(option: &str, variable: &str) -> ! {
    let message = format!("give {option} or set {variable}");
    let mut typed = Arguments::command();
    // What usage is of is known once it is built.
    typed.build();
    for word in env::args().skip(1) {
        let Some(next) = typed.find_subcommand(&word) else { break };
        typed = next.clone();
    }
    typed.error(ErrorKind::MissingRequiredArgument, message).exit()
}

pub(crate) fn parse_attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const WANTED: &str = "a number and s, m, h or d, as 90s, 10m, 6h or 7d";
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let seconds_each = match text.strip_prefix(number) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        Some(_) | None => return Err(WANTED.to_owned()),
    };
    let seconds = number.parse::<u64>().map_err(|_| WANTED.to_owned())?;
    match seconds.checked_mul(seconds_each) {
        None => Err("too long".to_owned()),
        Some(0) => Err("some time is wanted".to_owned()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use wire::key::{Project, ProjectKeys, PublicKeys, PublicProject, RefreshKey};
    use wire::token::verify;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn create(words: &str) -> Result<Create, clap::Error> {
        let words = ["incamera", "token", "create"].into_iter().chain(words.split_whitespace());
        let crate::Command::Token(Command::Create(create)) =
            Arguments::try_parse_from(words)?.command
        else {
            panic!("another command");
        };
        Ok(*create)
    }

    fn grant(words: &str) -> VideoGrant {
        create(words).unwrap().claims(SystemTime::UNIX_EPOCH + NOW).unwrap().video.unwrap()
    }

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_token_is_believed_by_the_server_that_shares_its_key() {
        let words = "--api-key devkey --api-secret secret --join --room demo --identity ada";
        let create = create(&format!("{words} --attribute a=b=c --valid-for 10m")).unwrap();
        let claims = create.claims(SystemTime::UNIX_EPOCH + NOW).unwrap();
        let token = create.mint(SystemTime::UNIX_EPOCH + NOW).unwrap();

        let key = ProjectKey::hs256_short("devkey", b"secret").unwrap();
        let keys = ProjectKeys::new(RefreshKey::new(&[0; 32]), [key.into()]).unwrap();
        let believed = verify(&keys, &token, NOW.as_secs()).unwrap().claims;
        assert_eq!(believed, claims);
        assert_eq!(believed.identity, "ada");
        assert_eq!(believed.expires_at, NOW.as_secs() + 600);
        assert_eq!(believed.attributes["a"], "b=c");
        assert!(believed.video.unwrap().room_join);
    }

    #[test]
    fn a_token_of_a_generated_key_is_believed_under_its_public_half() {
        let folder = env::temp_dir().join(format!("incamera-keygen-{}", std::process::id()));
        for algorithm in ["EdDSA", "ES256"] {
            let out = folder.join(algorithm);
            let words = ["incamera", "token", "keygen", "--algorithm", algorithm, "--out"];
            let words = words.into_iter().map(Into::into).chain([out.clone().into_os_string()]);
            let Ok(Arguments { command: crate::Command::Token(keygen) }) =
                Arguments::try_parse_from(words)
            else {
                panic!("not understood");
            };
            run(&keygen).unwrap();
            assert!(run(&keygen).is_err(), "no key is overwritten");
            let private = out.join("private.pem");
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&private).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&out).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o700, "the folder that it made");
            let words = "--api-key mine --join --room demo --identity ada --private-key-file";
            let create = create(&format!("{words} {}", private.display())).unwrap();
            let token = create.mint(SystemTime::UNIX_EPOCH + NOW).unwrap();

            let jwks = std::fs::read_to_string(out.join("public.jwks.json")).unwrap();
            let project = PublicProject::new("mine", PublicKeys::from_jwks(&jwks).unwrap());
            let project = Project::Public(project.unwrap());
            let keys = ProjectKeys::new(RefreshKey::new(&[0; 32]), [project]).unwrap();
            assert_eq!(verify(&keys, &token, NOW.as_secs()).unwrap().claims.identity, "ada");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_token_of_a_generated_secret_is_believed_by_the_server_that_has_its_key_file() {
        let out = env::temp_dir().join(format!("incamera-shared-{}", std::process::id()));
        let words = ["incamera", "token", "keygen", "--out"].into_iter().map(Into::into);
        let words = words.chain([out.clone().into_os_string()]);
        let Ok(Arguments { command: crate::Command::Token(keygen) }) =
            Arguments::try_parse_from(words)
        else {
            panic!("not understood");
        };
        run(&keygen).unwrap();
        let text = std::fs::read_to_string(out.join("shared.yaml")).unwrap();
        let mut open = |_: &str, _| Ok(text.clone().into());
        let projects =
            settings::read_settings("key_file: shared.yaml", &mut open).unwrap().projects;
        let keys = ProjectKeys::new(RefreshKey::new(&[0; 32]), projects).unwrap();

        let words = "--join --room demo --identity ada --api-secret-file";
        let minted = |name: &str, file: &str| {
            let words = format!("--api-key {name} {words} {}", out.join(file).display());
            create(&words).unwrap().mint(SystemTime::UNIX_EPOCH + NOW)
        };
        let token = minted("project-shared", "shared.yaml").unwrap();
        assert_eq!(verify(&keys, &token, NOW.as_secs()).unwrap().claims.identity, "ada");
        for (name, file) in [("project", "shared.yaml"), ("project-shared", "private.pem")] {
            let refused = minted(name, file).unwrap_err().to_string();
            assert!(refused.contains(file) && refused.contains("line 1: "), "{refused}");
        }
        std::fs::remove_dir_all(out).unwrap();
    }

    #[test]
    fn what_is_not_said_stays_open() {
        let plain = grant("--join --room demo --identity ada");
        assert_eq!((plain.can_publish, plain.can_subscribe), (None, None));
        let told = grant("--can-publish=false --can-subscribe --can-publish-source camera");
        assert_eq!((told.can_publish, told.can_subscribe), (Some(false), Some(true)));
        assert_eq!(told.can_publish_sources, ["camera"]);
    }

    #[test]
    fn half_a_wish_is_refused() {
        for words in [
            "--join --room demo",
            "--join --identity ada",
            "--admin",
            "--can-publish-source window",
            "--attribute a",
            "--valid-for 6",
            "--api-secret a --api-secret-file b",
            "--api-secret a --private-key-file b",
            "--room demo --list --link https://calls.example.org",
            "--join --room demo --identity ada --channel-key-file a",
            "--join --room demo --identity ada --link http://calls.example.org",
        ] {
            assert!(create(words).is_err(), "{words}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "h", "6", "6w", "-1h", "0s", "1.5h", "99999999999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(parse_duration("999999999999999999d").is_err());
    }
}
