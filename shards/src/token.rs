//! Development tokens: JWTs with HS256, the algorithm pinned. Pure: the clock is an argument.

use crate::Claims;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use wire::{DeviceId, UserId};

/// Signs and verifies.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// From 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length will do");
        mac.update(signed);
        mac
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    /// User number, in decimal.
    sub: String,
    /// Device number.
    dev: u32,
    /// Unix seconds.
    exp: u64,
}

/// A token for this device, valid until `expires_unix_s`.
pub fn mint(key: &Key, claims: Claims, expires_unix_s: u64) -> String {
    let payload =
        Payload { sub: claims.user.get().to_string(), dev: claims.device.0, exp: expires_unix_s };
    let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = BASE64.encode(serde_json::to_vec(&payload).expect("plain values"));
    let signed = format!("{header}.{payload}");
    let tag = BASE64.encode(key.mac(signed.as_bytes()).finalize().into_bytes());
    format!("{signed}.{tag}")
}

/// What the token proves; `None` for every kind of wrong.
pub fn verify(key: &Key, token: &[u8], unix_s: u64) -> Option<Claims> {
    let token = std::str::from_utf8(token).ok()?;
    let (signed, tag) = token.rsplit_once('.')?;
    // The tag first, in constant time: nothing of an unsigned token is parsed.
    key.mac(signed.as_bytes()).verify_slice(&BASE64.decode(tag).ok()?).ok()?;
    let (header, payload) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
    let payload: Payload = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
    if header.alg != "HS256" || payload.exp <= unix_s {
        return None;
    }
    let user = UserId::new(payload.sub.parse().ok()?)?;
    Some(Claims { user, device: DeviceId(payload.dev) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims { user: UserId::new(7).expect("not 0"), device: DeviceId(3) }
    }

    #[test]
    fn proves_what_was_minted_until_it_expires() {
        let key = Key::new([9; 32]);
        let token = mint(&key, claims(), 1_000);
        assert_eq!(verify(&key, token.as_bytes(), 999), Some(claims()));
        assert_eq!(verify(&key, token.as_bytes(), 1_000), None);
        assert_eq!(verify(&Key::new([8; 32]), token.as_bytes(), 999), None);
    }

    #[test]
    fn any_changed_byte_proves_nothing() {
        let key = Key::new([9; 32]);
        let token = mint(&key, claims(), 1_000).into_bytes();
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert_eq!(verify(&key, &changed, 1), None, "byte {at}");
        }
        assert_eq!(verify(&key, &token[..token.len() - 1], 1), None);
    }

    #[test]
    fn another_algorithm_proves_nothing_even_when_signed() {
        let key = Key::new([9; 32]);
        let signed = format!(
            "{}.{}",
            BASE64.encode(r#"{"alg":"none"}"#),
            BASE64.encode(r#"{"sub":"7","dev":3,"exp":9999}"#)
        );
        let tag = BASE64.encode(key.mac(signed.as_bytes()).finalize().into_bytes());
        assert_eq!(verify(&key, format!("{signed}.{tag}").as_bytes(), 1), None);
    }
}
