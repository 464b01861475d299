//! One certificate, asked for over ACME.
//!
//! Guarantees: an authority is answered for the names of the settings alone, and for as long as it takes; the
//! certificate's key is made here, is new each time, and is given to nobody; what an authority gives is returned if it
//! can be shown now, and as little of an answer is kept meanwhile as there are names.
//! Not here: when to ask (`acme`), how (`client`), where the answers are given (`edge`).
//! Source: RFC 8555, RFC 8737; the protocol itself is `instant-acme`'s.

use std::time::Duration;

use edge::tls::{CertifiedKey, Challenges, Showing};
use instant_acme::{
    Account, AuthorizationStatus, Authorizations, ChallengeHandle, ChallengeType, Error,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use settings::Acme;
use settings::certificate::{Chain, UnixTime};
use settings::limits::DOMAINS_MAX;
use zeroize::Zeroizing;

use super::client::Client;
use super::state::{Kept, State};
use super::words;
use crate::Failure;
use crate::authority::to_pem;
use crate::certificate;
use crate::files::SECRET_FILE_MAX;

/// How long an authority may take to look, and to sign; and how often it is asked whether it has.
const JUDGING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(180));

/// Authorizations of an order: one for each name, and as many again, since an authority may want others of its own
/// (RFC 8555 §7.1.3). Each is asked for.
const AUTHORIZATIONS_MAX: usize = 2 * DOMAINS_MAX;
/// Letters of the token of a challenge, which is kept with its answer until the order is done; Let's Encrypt's has 43.
const TOKEN_MAX: usize = 256;

/// An account that the authority does not know any more (RFC 8555 §6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// A certificate that was given: as it is kept, and as it is shown.
pub(crate) struct Given {
    pub(crate) text: Zeroizing<String>,
    pub(crate) kept: Kept,
}

/// How the authority sees that a name is ours.
#[derive(Clone, Copy)]
enum Way {
    /// At the port where TLS is spoken.
    Tls,
    /// At a port of its own.
    Http,
}

impl Way {
    const fn kind(self) -> ChallengeType {
        match self {
            Self::Tls => ChallengeType::TlsAlpn01,
            Self::Http => ChallengeType::Http01,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls-alpn-01: `http_port` may be a way",
            Self::Http => "http-01: leave `http_port` out",
        }
    }
}

/// What is answered meanwhile; when this is dropped, nothing is any more.
struct Answers<'a> {
    showing: &'a Showing,
    challenges: Challenges,
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        self.showing.answer(Challenges::default());
    }
}

/// Asks for a certificate of a new key.
pub(crate) async fn obtain(
    settings: &Acme,
    client: &Client,
    state: &State,
    showing: &Showing,
) -> Result<Given, Failure> {
    let (account, is_new) = account(settings, client, state).await?;
    let mut begun = begin(&account, &settings.domains).await;
    if !is_new && begun.as_ref().is_err_and(knows_no_account) {
        // The authority has lost its accounts, or had them removed.
        let account = enrol(settings, client, state).await?;
        begun = begin(&account, &settings.domains).await;
    }
    let order = begun?;
    let mut answers = Answers { showing, challenges: Challenges::default() };
    let fulfilled = fulfil(order, settings, &mut answers).await;
    let (chain, key) = fulfilled.inspect_err(|failure| client.heed(failure))?;
    let given = judge(&chain, key, &settings.domains, certificate::now());
    given.map_err(|reason| format!("what it gave cannot be shown: {reason}").into())
}

/// What was given, in the form in which it is kept: certificates, our key, and nothing else that an authority may have
/// written. Or why it is not to take the place of what is shown.
fn judge(
    chain: &str,
    key: Zeroizing<String>,
    domains: &[String],
    now: UnixTime,
) -> Result<Given, String> {
    let chain = Chain::read(chain).map_err(|error| error.to_string())?;
    let certificates = chain.certificates().iter().map(|each| to_pem("CERTIFICATE", &each.der));
    let parts: Vec<Zeroizing<String>> = certificates.chain([key]).collect();
    let length = parts.iter().map(|part| part.len()).sum();
    if length > SECRET_FILE_MAX {
        // It could not be read again.
        return Err(format!("it has more than {SECRET_FILE_MAX} bytes"));
    }
    let mut text = Zeroizing::new(String::with_capacity(length));
    parts.iter().for_each(|part| text.push_str(part));
    let kept = Kept::read(&text).map_err(|reason| format!("the key that was made {reason}"))?;
    if !kept.covers(domains) {
        return Err("it is not for all of the names".to_owned());
    }
    kept.check(now).map_err(|error| error.to_string())?;
    Ok(Given { text, kept })
}

/// The account that is kept, or a new one; and whether it is new.
async fn account(
    settings: &Acme,
    client: &Client,
    state: &State,
) -> Result<(Account, bool), Failure> {
    match state.at_disk(State::account).await? {
        Some(credentials) => {
            let builder = Account::builder_with_http(Box::new(client.clone()));
            Ok((builder.from_credentials(credentials).await?, false))
        }
        None => Ok((enrol(settings, client, state).await?, true)),
    }
}

/// Makes an account and keeps it, before anything is asked for with it.
async fn enrol(settings: &Acme, client: &Client, state: &State) -> Result<Account, Failure> {
    let contact = settings.email.as_ref().map(|email| format!("mailto:{}", email.expose()));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let asked = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let made = builder.create(&asked, settings.directory_url.clone(), None).await;
    if let Err(Error::Api(problem)) = &made
        && !contact.is_empty()
    {
        return Err(words::of_a_contact(problem).into());
    }
    let (account, credentials) = made?;
    state.at_disk(move |state| state.keep_account(&credentials)).await?;
    edge::log!(INFO, "the authority has an account of this server now");
    Ok(account)
}

fn knows_no_account(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(NO_ACCOUNT))
}

async fn begin(account: &Account, domains: &[String]) -> Result<Order, Error> {
    let names: Vec<Identifier> = domains.iter().cloned().map(Identifier::Dns).collect();
    account.new_order(&NewOrder::new(&names)).await
}

/// Shows that the names are ours, and gets the certificate: the chain and its key as PEM.
async fn fulfil(
    mut order: Order,
    settings: &Acme,
    answers: &mut Answers<'_>,
) -> Result<(String, Zeroizing<String>), Failure> {
    let way = if settings.http_port.is_some() { Way::Http } else { Way::Tls };
    let mut authorizations = authorizations(&mut order)?;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => return Err("the order is void already".into()),
        }
        let mut challenge = authorization
            .challenge(way.kind())
            .ok_or_else(|| format!("the authority does not offer {}", way.name()))?;
        answers.add(&challenge, way, &settings.domains)?;
        challenge.set_ready().await?;
    }
    match order.poll_ready(&JUDGING).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
        Ok(OrderStatus::Invalid | OrderStatus::Pending | OrderStatus::Processing) => {
            return Err(why_not(&mut order).await?.unwrap_or_else(|| "the order is void".into()));
        }
        Err(error @ Error::Api(_)) => {
            return Err(why_not(&mut order).await?.unwrap_or_else(|| error.into()));
        }
        Err(error) => return Err(error.into()),
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(settings.domains.clone())?;
    params.distinguished_name = DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&JUDGING).await?;
    Ok((chain, to_pem("PRIVATE KEY", key.serialized_der())))
}

/// Those of an order, which says again how many there are each time that it is asked about.
fn authorizations(order: &mut Order) -> Result<Authorizations<'_>, Failure> {
    if order.state().authorizations.len() > AUTHORIZATIONS_MAX {
        return Err("the authority asks about far more names than are wanted".into());
    }
    Ok(order.authorizations())
}

/// What the authority says of the challenges that it does not take.
async fn why_not(order: &mut Order) -> Result<Option<Failure>, Failure> {
    let mut reasons = Vec::new();
    let mut authorizations = authorizations(order)?;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let refused = authorization.refresh().await?;
        let of = refused.identifier().to_string();
        let errors = refused.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(errors.map(|error| format!("{of}: {error}")));
    }
    Ok(Some(reasons.join("; ")).filter(|reasons| !reasons.is_empty()).map(Into::into))
}

impl Answers<'_> {
    /// Answers one more challenge, from now on.
    fn add(
        &mut self,
        challenge: &ChallengeHandle<'_>,
        way: Way,
        domains: &[String],
    ) -> Result<(), Failure> {
        let Identifier::Dns(domain) = challenge.identifier().identifier else {
            return Err("the authority asks about something that is no name".into());
        };
        if !domains.contains(domain) {
            return Err("the authority asks about a name that is not in the settings".into());
        }
        let authorization = challenge.key_authorization();
        match way {
            Way::Http => {
                if challenge.token.len() > TOKEN_MAX {
                    return Err("the authority's challenge has too long a token".into());
                }
                let (token, text) = (challenge.token.clone(), authorization.as_str().to_owned());
                self.challenges.clear.insert(token, text);
            }
            Way::Tls => {
                let digest = authorization.digest();
                self.challenges.sealed.insert(domain.clone(), answer(domain, digest.as_ref())?);
            }
        }
        self.showing.answer(self.challenges.clone());
        Ok(())
    }
}

/// The certificate that shows an authority that a name is ours (RFC 8737 §3).
fn answer(domain: &str, digest: &[u8]) -> Result<CertifiedKey, Failure> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?.der().to_vec();
    Ok(CertifiedKey::for_challenge(certificate, &to_pem("PRIVATE KEY", key.serialized_der()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::Certificate;
    use std::time::SystemTime;

    const NOW: u64 = 1_800_000_000;
    const HOUR: u64 = 3_600;

    fn certified(key: &KeyPair, names: &[&str], from: u64, to: u64) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let time = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) = (time(from).into(), time(to).into());
        params.self_signed(key).unwrap()
    }

    fn judged(chain: &str, key: &KeyPair) -> Result<Given, String> {
        let domains = ["a.example".to_owned()];
        let key = to_pem("PRIVATE KEY", key.serialized_der());
        judge(chain, key, &domains, UnixTime(NOW))
    }

    fn pem(certificate: &Certificate) -> String {
        to_pem("CERTIFICATE", certificate.der()).to_string()
    }

    #[test]
    fn what_does_not_hold_now_takes_the_place_of_nothing() {
        let key = KeyPair::generate().unwrap();
        let check = |from, to, expect: &str| {
            let chain = pem(&certified(&key, &["a.example"], from, to));
            let judged = judged(&chain, &key).err().unwrap_or_default();
            assert!(
                judged.starts_with(expect) && judged.is_empty() == expect.is_empty(),
                "{judged}"
            );
        };
        check(NOW - HOUR, NOW + HOUR, "");
        check(NOW - 2, NOW, "");
        check(NOW - 2, NOW - 1, "its certificate 1 has expired at 2027-01-15T07:59:59Z");
        check(
            NOW + 24 * HOUR,
            NOW + 48 * HOUR,
            "its certificate 1 is not valid before 2027-01-16T",
        );
        // Of an authority whose clock is a little ahead, or ours behind.
        check(NOW + 2, NOW + HOUR, "");
        check(NOW + HOUR, NOW + 2 * HOUR, "its certificate 1 is not valid before");
    }

    #[test]
    fn what_is_for_others_or_of_another_key_is_not_shown() {
        let key = KeyPair::generate().unwrap();
        let chain = pem(&certified(&key, &["b.example"], NOW - HOUR, NOW + HOUR));
        assert_eq!(judged(&chain, &key).err().unwrap(), "it is not for all of the names");
        let other = KeyPair::generate().unwrap();
        let chain = pem(&certified(&other, &["a.example"], NOW - HOUR, NOW + HOUR));
        let wrong = "the key that was made is not the key of this certificate";
        assert_eq!(judged(&chain, &key).err().unwrap(), wrong);
        // Nor if that key comes with it.
        let brought = to_pem("PRIVATE KEY", other.serialized_der());
        for chain in [format!("{}{chain}", *brought), format!("{chain}{}", *brought)] {
            assert_eq!(judged(&chain, &key).err().unwrap(), wrong);
        }
        assert_eq!(judged("none", &key).err().unwrap(), "holds no certificate in PEM");
    }

    #[test]
    fn what_is_kept_is_certificates_and_the_key_and_can_be_read_again() {
        let key = KeyPair::generate().unwrap();
        let leaf = pem(&certified(&key, &["a.example"], NOW - HOUR, NOW + HOUR));
        let given = judged(&format!("words\n{leaf}{}", "more ".repeat(20_000)), &key).unwrap();
        let own = to_pem("PRIVATE KEY", key.serialized_der());
        assert_eq!(*given.text, format!("{leaf}{}", *own));
        let names: Vec<String> = (0..4_000).map(|number| format!("{number}.a.example")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("a.example");
        let long = pem(&certified(&key, &names, NOW - HOUR, NOW + HOUR));
        assert!(judged(&long, &key).err().unwrap().starts_with("it has more than 65536 bytes"));
    }
}
