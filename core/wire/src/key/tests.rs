//! Tests of `key`.

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

#[test]
fn keys_that_cannot_be_trusted_are_refused() {
    assert_eq!(ProjectKey::hs256("k", &SECRET[1..]).unwrap_err(), KeyError::SecretShort);
    assert_eq!(ProjectKey::hs256("", SECRET).unwrap_err(), KeyError::NameLength);
    let long = "k".repeat(KEY_NAME_MAX + 1);
    assert_eq!(ProjectKey::hs256(&long, SECRET).unwrap_err(), KeyError::NameLength);
    for name in [REFRESH_ISSUER, "incamera:other"] {
        assert_eq!(ProjectKey::hs256(name, SECRET).unwrap_err(), KeyError::NameReserved);
        assert_eq!(ProjectKey::hs256_short(name, SECRET).unwrap_err(), KeyError::NameReserved);
    }
    let key = ProjectKey::hs256("k", SECRET).unwrap();
    let twice = ProjectKeys::new(RefreshKey::new(&[1; 32]), [key.clone().into(), key.into()]);
    assert_eq!(twice.unwrap_err(), KeyError::NameTaken);
}

#[test]
fn secrets_and_names_do_not_print() {
    let key = ProjectKey::hs256("the-key", SECRET).unwrap();
    let keys = ProjectKeys::new(RefreshKey::new(&[0x41; 32]), [key.into()]).unwrap();
    let text = format!("{keys:?}");
    assert!(text.contains("AccountData(…)"), "{text}");
    assert!(!text.contains("the-key"), "{text}");
    assert!(!text.contains("0123") && !text.contains("65, 65"), "{text}");
}

/// RFC 8410 §10: one pair.
const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
/// RFC 8037 §A.2 and §A.3.
const OKP: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const OKP_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
/// RFC 7515 §A.3.
const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

fn set(keys: &[&str]) -> Result<PublicKeys, KeyError> {
    PublicKeys::from_jwks(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

/// `key` with one more member.
fn with(key: &str, member: &str) -> String {
    key.replacen('{', &format!("{{{member},"), 1)
}

fn only(key: &str) -> PublicKey {
    set(&[key]).unwrap().find(None).unwrap().key
}

#[test]
fn the_pairs_of_the_standards_are_read_and_written_as_they_are() {
    let random = ring::rand::SystemRandom::new();
    let pair = KeyPair::from_pem(ED25519_PRIVATE, &random).unwrap();
    assert_eq!(*pair.public(), PublicKey::from_pem(ED25519_PUBLIC).unwrap());
    assert_eq!(pair.to_pem().as_str(), ED25519_PRIVATE);
    assert_eq!(pair.public().to_pem(), ED25519_PUBLIC);
    assert_eq!(only(OKP).thumbprint(), OKP_THUMBPRINT);
}

#[test]
fn the_signatures_of_the_standards_verify_under_their_key_alone() {
    let decode = |text| base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text);
    // RFC 8037 §A.4.
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = decode(signature).unwrap();
    assert!(only(OKP).verify(signed, &signature));
    assert!(!only(OKP).verify(&signed[1..], &signature));
    assert!(!only(EC).verify(signed, &signature));
    // RFC 7515 §A.3.
    let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let signature = decode(signature).unwrap();
    assert!(only(EC).verify(signed, &signature));
    assert!(!only(EC).verify(signed, &signature[..63]));
    assert!(!only(OKP).verify(signed, &signature));
}

#[test]
fn a_pair_that_is_made_comes_back_from_every_form() {
    let random = ring::rand::SystemRandom::new();
    for pair in [KeyPair::ed25519(&random).unwrap(), KeyPair::p256(&random).unwrap()] {
        let public = pair.public();
        let again = KeyPair::from_pem(&pair.to_pem(), &random).unwrap();
        assert_eq!(again.public(), public);
        assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), *public);
        let jwks = PublicKeys::from_jwks(&public.to_jwks()).unwrap();
        assert_eq!(jwks.find(Some(&public.thumbprint())).map(|known| &known.key), Some(public));
        assert!(jwks.find(Some("another")).is_none());
        let signature = again.sign(b"message", &random).unwrap();
        assert!(public.verify(b"message", &signature) && !public.verify(b"Message", &signature));
        assert!(!format!("{pair:?}").contains("pkcs8"));
    }
}

#[test]
fn pem_that_is_not_the_public_half_of_a_known_kind_is_refused() {
    let refuse = |text: &str| PublicKey::from_pem(text).unwrap_err();
    assert_eq!(refuse(ED25519_PRIVATE), KeyError::PrivateHalf);
    assert_eq!(
        refuse(&ED25519_PUBLIC.replace("PUBLIC KEY", "EC PRIVATE KEY")),
        KeyError::PrivateHalf
    );
    assert_eq!(refuse(&ED25519_PUBLIC.replace("PUBLIC KEY", "CERTIFICATE")), KeyError::OtherPem);
    assert_eq!(refuse(ED25519_PUBLIC.trim_end().trim_end_matches('-')), KeyError::NotPem);
    assert_eq!(refuse(&ED25519_PUBLIC.repeat(2)), KeyError::NotPem);
    assert_eq!(refuse(&ED25519_PUBLIC.replace("MCow", "MC*w")), KeyError::NotPem);
    assert_eq!(refuse(&ED25519_PUBLIC.replace("BQYDK2Vw", "BQYDK2Vu")), KeyError::KindUnknown);
    assert_eq!(refuse(&" ".repeat(PEM_MAX + 1)), KeyError::TooLong);
    assert_eq!(refuse(""), KeyError::NotPem);
    let random = ring::rand::SystemRandom::new();
    let refused = KeyPair::from_pem(ED25519_PUBLIC, &random).unwrap_err();
    assert_eq!(refused, KeyError::OtherPem);
}

#[test]
fn key_sets_that_hold_anything_else_than_public_signature_keys_are_refused() {
    let refuse = |keys: &[&str]| set(keys).unwrap_err();
    assert_eq!(refuse(&[]), KeyError::JwksLength);
    assert_eq!(refuse(&[OKP, EC]), KeyError::KidAmbiguous);
    assert_eq!(refuse(&[&with(OKP, r#""kid":"a""#), EC]), KeyError::KidAmbiguous);
    let same = [with(OKP, r#""kid":"a""#), with(EC, r#""kid":"a""#)];
    assert_eq!(refuse(&[&same[0], &same[1]]), KeyError::KidAmbiguous);
    assert_eq!(refuse(&[&with(OKP, r#""d":"AA""#)]), KeyError::PrivateHalf);
    assert_eq!(refuse(&[r#"{"kty":"oct","k":"AA"}"#]), KeyError::PrivateHalf);
    assert_eq!(refuse(&[r#"{"kty":"RSA","n":"AA","e":"AQAB"}"#]), KeyError::KindUnknown);
    assert_eq!(refuse(&[&OKP.replace("Ed25519", "X25519")]), KeyError::KindUnknown);
    assert_eq!(refuse(&[&OKP.replace("11q", "q")]), KeyError::JwksMalformed);
    assert_eq!(refuse(&[&with(OKP, r#""x":"AA""#)]), KeyError::JwksMalformed);
    for member in
        [r#""use":"enc""#, r#""key_ops":["sign"]"#, r#""alg":"ES256""#, r#""alg":"HS256""#]
    {
        assert_eq!(refuse(&[&with(OKP, member)]), KeyError::PurposeOther, "{member}");
    }
    let many: Vec<_> =
        (0..=JWKS_KEYS_MAX).map(|number| with(OKP, &format!(r#""kid":"{number}""#))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(refuse(&many), KeyError::JwksLength);
    assert_eq!(set(&many[1..]).unwrap().iter().count(), JWKS_KEYS_MAX);
    assert_eq!(PublicKeys::from_jwks(&" ".repeat(JWKS_MAX + 1)).unwrap_err(), KeyError::TooLong);
    assert_eq!(PublicKeys::from_jwks("[]").unwrap_err(), KeyError::JwksMalformed);
}
