//! One certificate, asked for over ACME.
//!
//! Guarantees: an authority is answered for the names of the settings alone, and for as long as it takes; the
//! certificate's key is made here, is new each time, and is given to nobody.
//! Not here: when to ask (`acme`), how (`client`), where the answers are given (`edge`).
//! Source: RFC 8555, RFC 8737; the protocol itself is `instant-acme`'s.

use std::time::Duration;

use edge::tls::{CertifiedKey, Challenges, Showing};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use settings::Acme;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::client::Client;
use super::state::{Kept, State};
use super::words;
use crate::Failure;
use crate::authority::to_pem;

/// How long an authority may take to look, and to sign; and how often it is asked whether it has.
const JUDGING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(180));

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
    let (chain, key) = fulfil(order, settings, &mut answers).await?;
    let mut text = Zeroizing::new(String::with_capacity(chain.len() + key.len() + 1));
    for part in [chain.trim_end(), "\n", key.as_str()] {
        text.push_str(part);
    }
    let kept =
        Kept::read(&text).map_err(|reason| format!("the certificate that it gave {reason}"))?;
    if !kept.covers(&settings.domains) {
        return Err("the certificate that it gave is not for all of the names".into());
    }
    Ok(Given { text, kept })
}

/// The account that is kept, or a new one; and whether it is new.
async fn account(
    settings: &Acme,
    client: &Client,
    state: &State,
) -> Result<(Account, bool), Failure> {
    let kept = state.clone();
    match spawn_blocking(move || kept.account()).await?? {
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
    let state = state.clone();
    spawn_blocking(move || state.keep_account(&credentials)).await??;
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
    let mut authorizations = order.authorizations();
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

/// What the authority says of the challenges that it does not take.
async fn why_not(order: &mut Order) -> Result<Option<Failure>, Failure> {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
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
