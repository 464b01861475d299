//! What is kept between two starts of a server that asks an authority for its certificate.
//!
//! Owns: the folder of one directory: account, certificate with its key, attempts that failed, and for how long the
//! authority wants to be left alone.
//! Guarantees: while a server runs others than its user read none of it and see nothing of it, and what its group was
//! given before is taken back and said; each file is there in whole or not at all; a disk that does not answer is
//! waited for by one thread, and by nobody else for longer than [`DISK_WITHIN`]; what was got from one authority is not
//! taken for another's, so that one can try a test authority first.
//! Not here: what goes into it (`order`), when (`acme`).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edge::machine;
use edge::tls::CertifiedKey;
use instant_acme::AccountCredentials;
use model::LocalText;
use settings::certificate::{CertificateError, Chain, UnixTime};
use settings::renewal::{Failures, Hold};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{certificate, files, log};

/// Rights of others than the owner: with one of them a folder is no place for keys.
const OTHERS: u32 = 0o077;

/// Those of who is not of its group either.
const EVERYBODY: u32 = 0o007;

/// Letters of a folder's name; the system takes 255.
const NAME_MAX: usize = 200;

/// How long the disk is waited for: from one that works an answer comes within milliseconds.
const DISK_WITHIN: Duration = Duration::from_secs(5);

/// The folder.
#[derive(Clone)]
pub(crate) struct State {
    folder: PathBuf,
    /// One is at the disk at a time: what comes late overwrites nothing newer, and no more than one hangs.
    at_disk: Arc<Semaphore>,
}

/// A certificate that is kept, or was to be.
pub(crate) struct Kept {
    pub(crate) chain: Chain,
    pub(crate) certified: CertifiedKey,
}

impl Kept {
    /// Reads certificate and key, one after the other in one text.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let chain = Chain::read(text).map_err(|error| error.to_string())?;
        let certified = certificate::certified(&chain, text);
        let certified = certified.map_err(|error| log::reasons(&error))?;
        Ok(Self { chain, certified })
    }

    /// Whether it is for each of these names.
    pub(crate) fn covers(&self, domains: &[String]) -> bool {
        let names = self.chain.certificates().first().map(|leaf| leaf.names.as_slice());
        let names = names.unwrap_or_default();
        domains.iter().all(|domain| names.iter().any(|name| name.eq_ignore_ascii_case(domain)))
    }

    /// Whether it holds by this clock.
    pub(crate) fn check(&self, now: UnixTime) -> Result<(), CertificateError> {
        self.chain.check_given(now)
    }

    /// When it begins, and when it ends.
    pub(crate) fn times(&self) -> (UnixTime, UnixTime) {
        let from = self.chain.certificates().first().map_or(UnixTime(0), |leaf| leaf.valid_from);
        (from, self.chain.valid_to())
    }
}

/// A folder, or a file in it, to which others than its owner have rights.
pub(crate) struct Wide {
    path: PathBuf,
    mode: u32,
    /// Whether its owner is the user of this process.
    is_ours: bool,
}

impl Wide {
    /// What is at `path`, if something is and it is wide.
    fn at(path: &Path) -> io::Result<Option<Self>> {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mode = found.permissions().mode() & 0o777;
        let is_ours = found.uid() == machine::user();
        Ok((mode & OTHERS != 0).then(|| Self { path: path.to_owned(), mode, is_ours }))
    }

    /// Whether a server that starts takes the rights of others away: a cluster gives a volume with all that is in it to
    /// the group of a pod, each time that starts (`fsGroup` of Kubernetes). What is open to everybody, somebody chose.
    pub(crate) const fn is_narrowed(&self) -> bool {
        self.is_ours && self.mode & EVERYBODY == 0
    }

    /// What is wrong.
    pub(crate) fn fault(&self) -> String {
        let (folder, mode) = (self.path.display(), self.mode);
        format!("{folder} is open to others than its owner (mode {mode:04o}), and holds keys")
    }

    /// What mends it: whoever cannot change the mode, as of a volume in some clusters, can have a folder made below.
    pub(crate) fn remedy(&self) -> String {
        let folder = self.path.display();
        format!(
            "`chmod 0700 {folder}`, or name a folder within it as `state_dir`, which the server makes"
        )
    }
}

impl State {
    /// Where what belongs to a directory is kept; nothing is touched.
    pub(crate) fn of(state_dir: &Path, directory_url: &str) -> Self {
        Self { folder: state_dir.join(name(directory_url)), at_disk: Arc::new(Semaphore::new(1)) }
    }

    /// Does what may wait for the disk where that holds nobody up, and waits no longer than [`DISK_WITHIN`].
    ///
    /// # Errors
    /// What `work` says; that the disk does not answer, or has not yet since it was asked before.
    pub(super) async fn at_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        self.at_disk_within(DISK_WITHIN, work).await
    }

    async fn at_disk_within<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl FnOnce(&Self) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let silent = || format!("{}: the disk does not answer", self.folder.display());
        let place = Arc::clone(&self.at_disk).try_acquire_owned().map_err(|_| silent())?;
        let state = self.clone();
        let working = spawn_blocking(move || {
            let _place = place;
            work(&state)
        });
        let done = timeout(within, working).await.map_err(|_| silent())?;
        // Where is in the log; of what it says, anything may be a part.
        done.map_err(|_| "a fault of this server ended it")?
    }

    /// Makes the folder, and makes sure that something can be kept there, and by nobody else read.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let lost = |reason: String| {
            format!(
                "{reason}: account and certificate could not be kept, and each start would ask for new ones"
            )
        };
        let within = |error: io::Error| lost(format!("{}: {error}", self.folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(within)?;
        self.narrow();
        if let Some(wide) = self.wide().map_err(within)?.first() {
            return Err(format!("{}: {}", wide.fault(), wide.remedy()));
        }
        let probe = self.folder.join("probe");
        files::replace_secret(&probe, "probe\n").map_err(lost)?;
        fs::remove_file(probe).map_err(within)
    }

    /// Those of the folders, that of the settings and that of the directory within, that are there and are not their
    /// owner's alone.
    pub(crate) fn wide(&self) -> io::Result<Vec<Wide>> {
        let folders = self.folder.parent().into_iter().chain([self.folder()]);
        folders.filter_map(|folder| Wide::at(folder).transpose()).collect()
    }

    /// Takes away the group's rights to what is ours; where that cannot be done it stays wide.
    fn narrow(&self) {
        let within = [
            self.folder.clone(),
            self.certificate_path(),
            self.account_path(),
            self.failures_path(),
            self.hold_path(),
        ];
        // A folder before what is in it. Whoever is of the group may have made a link there.
        let within = within.iter().map(PathBuf::as_path).filter(|path| !path.is_symlink());
        let mut is_narrowed = false;
        for path in self.folder.parent().into_iter().chain(within) {
            if let Ok(Some(wide)) = Wide::at(path)
                && wide.is_narrowed()
            {
                let rights = Permissions::from_mode(wide.mode & !OTHERS);
                is_narrowed |= fs::set_permissions(path, rights).is_ok();
            }
        }
        if is_narrowed {
            let folder = LocalText(self.folder.display());
            edge::log!(
                WARN,
                "what is kept of an authority was open to its group, and is so no longer: whoever is of that may have \
                 read the keys",
                folder = folder
            );
        }
    }

    /// The certificate that is kept, if one is.
    pub(crate) fn certificate(&self) -> Result<Option<Kept>, String> {
        let path = self.certificate_path();
        let anew =
            |reason: String| format!("{}: {reason}; remove it for a new one", path.display());
        read_if_there(&path)?.map(|text| Kept::read(&text)).transpose().map_err(anew)
    }

    pub(crate) fn certificate_path(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// The folder of one directory.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps a certificate and its key.
    pub(crate) fn keep_certificate(&self, text: &str) -> Result<(), String> {
        files::replace_secret(&self.certificate_path(), text)
    }

    /// The account at the authority, if there is one.
    pub(crate) fn account(&self) -> Result<Option<AccountCredentials>, String> {
        let path = self.account_path();
        // What is wrong would be said with a piece of the text, which is a key.
        let anew = |_: serde_json::Error| {
            format!("{}: does not parse; remove it for a new account", path.display())
        };
        read_if_there(&path)?.map(|text| serde_json::from_str(&text)).transpose().map_err(anew)
    }

    /// Keeps an account.
    pub(crate) fn keep_account(&self, account: &AccountCredentials) -> Result<(), String> {
        let text = serde_json::to_string(account).map(Zeroizing::new);
        let text = text.map_err(|_| "the account cannot be written".to_owned())?;
        files::replace_secret(&self.account_path(), &text)
    }

    fn account_path(&self) -> PathBuf {
        self.folder.join("account.json")
    }

    /// Attempts that have come to nothing since the last that did not.
    pub(crate) fn failures(&self) -> Result<Failures, String> {
        let text = read_if_there(&self.failures_path())?;
        Ok(text.map(|text| Failures::read(&text)).unwrap_or_default())
    }

    /// Keeps them, so that a server that is started again and again does not ask again and again.
    pub(crate) fn keep_failures(&self, failures: &Failures) -> Result<(), String> {
        files::replace_secret(&self.failures_path(), &failures.text())
    }

    fn failures_path(&self) -> PathBuf {
        self.folder.join("failures")
    }

    /// For how long the authority wants to be left alone.
    pub(crate) fn hold(&self) -> Result<Hold, String> {
        let text = read_if_there(&self.hold_path())?;
        Ok(text.map_or(Hold::NONE, |text| Hold::read(&text)))
    }

    /// Keeps it: a server that is started again leaves the authority alone as well.
    pub(crate) fn keep_hold(&self, hold: Hold) -> Result<(), String> {
        files::replace_secret(&self.hold_path(), &hold.text())
    }

    fn hold_path(&self) -> PathBuf {
        self.folder.join("hold")
    }
}

fn read_if_there(path: &Path) -> Result<Option<Zeroizing<String>>, String> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        Ok(true) => files::read(path, files::SECRET_FILE_MAX).map(Some),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// A directory's address as the name of a folder.
fn name(directory_url: &str) -> String {
    let rest = directory_url.strip_prefix("https://").unwrap_or(directory_url);
    let kept =
        |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let name: String = rest.chars().take(NAME_MAX).map(kept).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "directory".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::pair;
    use std::sync::mpsc;

    fn folder(of: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("incamera-acme-{of}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        path
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_given_up_and_asked_again_once_it_has_answered() {
        let state = State::of(Path::new("state"), "https://ca.example/dir");
        let (answer, hung) = mpsc::channel::<()>();
        let hanging = state.at_disk_within(Duration::ZERO, move |_| Ok(hung.recv().is_ok())).await;
        assert!(hanging.unwrap_err().contains("ca.example-dir: the disk does not answer"));
        let another = state.clone().at_disk(|_| Ok(())).await;
        assert!(another.unwrap_err().contains("does not answer"), "it is not asked beside that");
        answer.send(()).unwrap();
        while state.at_disk(|_| Ok(())).await.is_err() {
            tokio::task::yield_now().await;
        }
        let panicked = state.at_disk::<()>(|_| panic!("ada@example.org")).await;
        assert_eq!(panicked.unwrap_err(), "a fault of this server ended it");
        assert_eq!(state.at_disk(|_| Err::<(), _>("full".to_owned())).await.unwrap_err(), "full");
    }

    #[test]
    fn what_is_kept_is_the_owners_alone_and_comes_back() {
        let folder = folder("kept");
        let state = State::of(&folder, "https://ca.example:9000/acme/directory");
        state.prepare().unwrap();
        assert_eq!(
            (mode(state.folder()), fs::read_dir(state.folder()).unwrap().count()),
            (0o700, 0)
        );
        assert!(state.certificate().unwrap().is_none() && state.account().unwrap().is_none());
        let (certificate, key) = pair(Duration::from_secs(86_400));
        state.keep_certificate(&format!("{certificate}{key}")).unwrap();
        assert_eq!(mode(&state.certificate_path()), 0o600);
        let kept = state.certificate().unwrap().unwrap();
        assert_eq!(kept.chain.certificates().len(), 1);
        let mut failures = Failures::default();
        failures.add(UnixTime(7));
        state.keep_failures(&failures).unwrap();
        assert_eq!(state.failures().unwrap(), failures);
        assert_eq!(state.hold().unwrap(), Hold::NONE);
        let hold = Hold::new(UnixTime(7), 600);
        state.keep_hold(hold).unwrap();
        assert_eq!((state.hold().unwrap(), mode(&state.hold_path())), (hold, 0o600));
        // Of another directory nothing is there.
        let other = State::of(&folder, "https://ca.example:9000/acme/staging");
        assert!(other.certificate().unwrap().is_none() && other.failures().unwrap().is_empty());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_broken_or_cannot_be_kept_is_said_with_its_name_and_without_a_secret() {
        let folder = folder("broken");
        let state = State::of(&folder, "https://ca.example/dir");
        state.prepare().unwrap();
        let (certificate, _) = pair(Duration::from_secs(86_400));
        state.keep_certificate(&certificate).unwrap();
        let said = state.certificate().err().unwrap();
        assert!(
            said.contains("certificate.pem: holds no private key") && said.contains("remove it"),
            "{said}"
        );
        state.keep_certificate("nothing").unwrap();
        assert!(state.certificate().err().unwrap().contains("holds no certificate"));
        fs::write(state.account_path(), "{\"id\": \"hushhush\"").unwrap();
        let said = state.account().err().unwrap();
        assert!(said.contains("account.json: does not parse") && !said.contains("hush"), "{said}");
        // A file is in the way of the folder.
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        let said = state.prepare().unwrap_err();
        assert!(said.contains("each start would ask for new ones"), "{said}");
        fs::remove_file(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_look_into_is_refused_with_what_mends_it() {
        let folder = folder("wide");
        let state = State::of(&folder, "https://ca.example/dir");
        assert!(
            state.wide().unwrap().is_empty(),
            "one that is not there is made with the right mode"
        );
        state.prepare().unwrap();
        for path in [folder.as_path(), state.folder()] {
            for wide in [0o755, 0o775, 0o701, 0o702] {
                fs::set_permissions(path, Permissions::from_mode(wide)).unwrap();
                let said = state.prepare().unwrap_err();
                let fault = format!(
                    "{} is open to others than its owner (mode {wide:04o})",
                    path.display()
                );
                assert!(said.starts_with(&fault), "{said}");
                assert!(said.contains(&format!("`chmod 0700 {}`", path.display())), "{said}");
            }
            fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
            state.prepare().unwrap();
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_a_cluster_gives_the_group_at_each_start_is_taken_back() {
        let folder = folder("group");
        let state = State::of(&folder, "https://ca.example/dir");
        state.prepare().unwrap();
        state.keep_hold(Hold::new(UnixTime(7), 600)).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        let all_of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let folders = [folder.clone(), state.folder().to_owned()];
        for wide in [0o2770, 0o770, 0o750, 0o710] {
            folders.iter().for_each(|path| set(path, wide));
            set(&state.hold_path(), 0o660);
            state.prepare().unwrap();
            assert_eq!(folders.each_ref().map(|path| all_of(path)), [0o700; 2], "{wide:o}");
            assert_eq!(all_of(&state.hold_path()), 0o600);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_directory_has_a_folder_of_its_own_inside() {
        for (url, expect) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org-directory",
            ),
            ("https://ca:9000/acme/x/directory", "ca-9000-acme-x-directory"),
            ("https://../../etc", "etc"),
            ("https://..", "directory"),
        ] {
            assert_eq!(name(url), expect);
        }
        assert!(name(&format!("https://{}", "a/".repeat(500))).len() <= NAME_MAX);
    }
}
