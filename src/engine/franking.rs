//! The hub's stamp on messages (draft-ietf-mimi-protocol-06 section 5.4.1.2), and how others check it (5.4.1.3).

use super::tables::KEYS;
use crate::{
    ident::ProviderDomain,
    mls::{
        CIPHER_SUITE, MlsError,
        labels::{SigningKey, sign_with_label, verify_with_label},
    },
    room::group::GroupError,
    store::{Batch, Database, StoreError},
    wire::{Credential, Frank, FrankingAgent, FrankingIntegrityTbs, FrankingTag, ServerFrankingContext, Wire},
};

const SIGNER: &str = "franking";
const SECRET: &str = "franking secret";
const LABEL: &str = FrankingIntegrityTbs::LABEL;

/// What this provider franks with, as a hub.
pub(crate) struct Franking {
    signer: SigningKey,
    /// `hub_key`: by it we know our own franks again.
    secret: [u8; 32],
    agent: Vec<u8>,
}

impl std::fmt::Debug for Franking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Franking").finish_non_exhaustive()
    }
}

impl Franking {
    /// The stored keys; made at the first start. They are kept for good: an old frank has to be known again.
    pub(super) async fn load(db: &Database, domain: &ProviderDomain) -> Result<Self, StoreError> {
        let invalid = |error: MlsError| StoreError::Invalid(format!("the franking key: {error}"));
        let (signer, secret) = (SIGNER.to_owned(), SECRET.to_owned());
        let stored = (KEYS.get(db, &signer).await?, KEYS.get(db, &secret).await?);
        if let (Some(key), Some(bytes)) = stored {
            let bytes: [u8; 32] =
                bytes.try_into().map_err(|_| StoreError::Invalid("the franking secret is damaged".to_owned()))?;
            return Ok(Self::new(SigningKey::from_bytes(&key).map_err(invalid)?, bytes, domain));
        }
        let key = SigningKey::generate().map_err(invalid)?;
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::Invalid(format!("no randomness: {error}")))?;
        let mut batch = Batch::new("franking keys");
        batch.require(KEYS.absent(&signer));
        KEYS.put(db, &mut batch, &signer, &key.to_bytes().map_err(invalid)?)?;
        KEYS.put(db, &mut batch, &secret, &bytes.to_vec())?;
        db.commit(batch).await?;
        Ok(Self::new(key, bytes, domain))
    }

    fn new(signer: SigningKey, secret: [u8; 32], domain: &ProviderDomain) -> Self {
        let credential = Credential::Basic { identity: format!("mimi://{domain}").into_bytes() };
        let agent = FrankingAgent { franking_signature_key: signer.public().to_vec(), credential }.encode();
        Self { signer, secret, agent }
    }

    /// The component `franking_agent` of rooms that we host.
    pub(crate) fn agent(&self) -> &[u8] {
        &self.agent
    }

    /// Stamps a message with this franking tag.
    pub(crate) fn stamp(&self, tag: &FrankingTag, context: &ServerFrankingContext) -> Result<Frank, MlsError> {
        let server_frank = context.server_frank(&self.secret, tag);
        let mut frank = Frank { server_frank, signature_ciphersuite: CIPHER_SUITE, integrity_signature: Vec::new() };
        frank.integrity_signature = sign_with_label(&self.signer, LABEL, &frank.tbs(context.clone()).encode())?;
        Ok(frank)
    }

    /// Whether we stamped a message with this tag in this context (section 5.9).
    pub(crate) fn recognises(&self, tag: &FrankingTag, frank: &Frank, context: &ServerFrankingContext) -> bool {
        context.is_of(&self.secret, tag, &frank.server_frank) && is_signed(self.signer.public(), frank, context).is_ok()
    }
}

fn is_signed(key: &[u8], frank: &Frank, context: &ServerFrankingContext) -> Result<(), MlsError> {
    let tbs = frank.tbs(context.clone()).encode();
    verify_with_label(&[frank.signature_ciphersuite], key, LABEL, &tbs, &frank.integrity_signature)
}

/// Whether a frank is that of the room's hub: `agent` is the room's component, `hub` its domain.
pub(crate) fn check(
    agent: Option<&[u8]>,
    hub: &ProviderDomain,
    frank: &Frank,
    context: &ServerFrankingContext,
) -> Result<(), GroupError> {
    let invalid = |why: String| GroupError::Invalid(why);
    let agent = agent.ok_or_else(|| invalid("the room has no franking agent".to_owned()))?;
    let agent = FrankingAgent::decode(agent).map_err(|error| invalid(format!("the franking agent: {error}")))?;
    let named = Credential::Basic { identity: format!("mimi://{hub}").into_bytes() };
    if agent.credential != named {
        return Err(invalid(format!("the franking agent is not {hub}")));
    }
    if frank.signature_ciphersuite != CIPHER_SUITE {
        return Err(invalid("the frank is of another cipher suite".to_owned()));
    }
    is_signed(&agent.franking_signature_key, frank, context).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{RoomUri, UserUri};

    fn franking() -> Franking {
        Franking::new(SigningKey::generate().unwrap(), [9; 32], &hub())
    }

    fn hub() -> ProviderDomain {
        ProviderDomain::parse("hub.example").unwrap()
    }

    fn context() -> ServerFrankingContext {
        ServerFrankingContext {
            sender_uri: UserUri::parse("mimi://b.example/u/alice").unwrap(),
            room_uri: RoomUri::parse("mimi://hub.example/r/club").unwrap(),
            accepted_timestamp: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_stamp_is_known_again_and_verifies() {
        let franking = franking();
        let frank = franking.stamp(&FrankingTag([1; 32]), &context()).unwrap();
        assert_eq!(check(Some(franking.agent()), &hub(), &frank, &context()), Ok(()));
        assert!(franking.recognises(&FrankingTag([1; 32]), &frank, &context()));
        assert!(!franking.recognises(&FrankingTag([2; 32]), &frank, &context()), "another message");
    }

    #[test]
    fn nothing_that_the_stamp_covers_can_be_changed() {
        let franking = franking();
        let frank = franking.stamp(&FrankingTag([1; 32]), &context()).unwrap();
        let others = [
            ServerFrankingContext { accepted_timestamp: 1, ..context() },
            ServerFrankingContext { sender_uri: UserUri::parse("mimi://b.example/u/bob").unwrap(), ..context() },
            ServerFrankingContext { room_uri: RoomUri::parse("mimi://hub.example/r/other").unwrap(), ..context() },
        ];
        for other in others {
            assert!(check(Some(franking.agent()), &hub(), &frank, &other).is_err());
            assert!(!franking.recognises(&FrankingTag([1; 32]), &frank, &other));
        }
        let mut forged = frank.clone();
        forged.server_frank[0] ^= 1;
        assert!(check(Some(franking.agent()), &hub(), &forged, &context()).is_err());
        assert!(!franking.recognises(&FrankingTag([1; 32]), &forged, &context()));
        let mut forged = frank.clone();
        forged.signature_ciphersuite = 3;
        assert!(check(Some(franking.agent()), &hub(), &forged, &context()).is_err());
        let mut forged = frank.clone();
        forged.integrity_signature[0] ^= 1;
        assert!(check(Some(franking.agent()), &hub(), &forged, &context()).is_err());
        assert!(!franking.recognises(&FrankingTag([1; 32]), &forged, &context()));
        // Somebody else's room, and a room without agent.
        let other = ProviderDomain::parse("other.example").unwrap();
        assert!(check(Some(franking.agent()), &other, &frank, &context()).is_err());
        assert!(check(None, &hub(), &frank, &context()).is_err());
    }
}
