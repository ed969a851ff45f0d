//! KeyPackages: each is given once, whoever asks at once and whatever happens meanwhile, and only what fits.

use std::{collections::BTreeSet, sync::Arc};

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget, Problem, ProviderInbound as _, VerifiedPeer},
    ident::{RoomUri, UserUri},
    mls::{CIPHER_SUITE, DEVICE, check_key_package, labels},
    wire::{
        ConsentAction, Credential, KeyMaterialRequest, KeyMaterialRequestTbs, KeyMaterialResponse, KeyMaterialUserCode,
        RequiredCapabilities, Wire as _, key_material::ClientMaterial,
    },
};

use crate::{
    attacks::{Rogue, consent, now},
    flow::key_request,
    silo::{Disk, Net, Silo, until, until_true},
};

/// B1 joined rooms of M's: each of M's users that it names may have KeyPackages of B1 for its room.
async fn agreed(b: &Silo, rogue: &Rogue, rooms: &[RoomUri], requester: &UserUri) {
    let to_b = PathTarget::Domain(b.domain.clone());
    for room in rooms {
        let body = consent(ConsentAction::Request, requester, &b.uri("b1"), room);
        rogue.send(b, Endpoint::RequestConsent, &to_b, &body).await.unwrap();
        let portal = until("an invitation", || {
            let portal = b.homeserver.portal(room)?;
            b.homeserver.invitations("b1").contains(&portal).then_some(portal)
        })
        .await;
        b.homeserver.join(&portal, "b1");
    }
    let grants = rooms.len();
    until_true("the grants", || rogue.fanned_to(Endpoint::UpdateConsent).len() == grants).await;
}

async fn ask(rogue: &Rogue, b: &Silo, body: &[u8]) -> Result<KeyMaterialResponse, Problem> {
    let path = PathTarget::Uri(b.uri("b1").as_uri().clone());
    let answer = rogue.send(b, Endpoint::KeyMaterial, &path, body).await?;
    Ok(KeyMaterialResponse::decode(&answer).unwrap())
}

fn package(response: &KeyMaterialResponse) -> Option<Vec<u8>> {
    match &response.clients.first()?.material {
        ClientMaterial::Success(package) => Some(package.as_bytes().to_vec()),
        ClientMaterial::Exhausted | ClientMaterial::NothingCompatible(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_package_is_given_twice() {
    let net = Arc::new(Net::default());
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::Sqlite(dir.path().join("b"));
    let b = Silo::start_on("b", &["b1"], &net, disk, crate::homeserver::no_faults()).await;
    let rogue = Rogue::new("m", &net);
    let m1 = rogue.uri("m1");
    let rooms: Vec<RoomUri> = (0..6).map(|n| RoomUri::new(&rogue.domain, &format!("r{n}")).unwrap()).collect();
    agreed(&b, &rogue, &rooms, &m1).await;
    let requests: Vec<Vec<u8>> =
        rooms.iter().flat_map(|room| (0..15).map(|_| key_request(&m1, &b.uri("b1"), room))).collect();
    let mut seen = BTreeSet::new();
    let mut exhausted = 0;
    let mut first = Vec::new();
    // Each request twice at once, in two halves with a restart between them.
    for half in requests.chunks(requests.len() / 2) {
        let mut asking = tokio::task::JoinSet::new();
        for body in half {
            let (engine, target, body) = (b.engine(), b.uri("b1"), body.clone());
            let peer = VerifiedPeer::assert_verified(rogue.domain.clone());
            asking.spawn(async move {
                let ask = || engine.key_material(peer.clone(), target.clone(), body.clone());
                let (one, other) = tokio::join!(ask(), ask());
                let read = |answer: Result<Vec<u8>, Problem>| KeyMaterialResponse::decode(&answer.unwrap()).unwrap();
                (body.clone(), read(one), read(other))
            });
        }
        for (body, one, other) in asking.join_all().await {
            if let Some(given) = package(&one) {
                assert_eq!(package(&other), Some(given.clone()), "the same request has one answer");
                assert!(seen.insert(given.clone()), "given twice");
                first.push((body.clone(), given));
            } else {
                assert_eq!(one.status, KeyMaterialUserCode::NoCompatibleMaterial);
                assert_eq!(one.clients[0].material, ClientMaterial::Exhausted);
                exhausted += 1;
            }
        }
        b.stop().await;
        b.start().await;
    }
    // Of ten that wait in each room one is the grant's.
    assert_eq!((seen.len(), exhausted), (9 * rooms.len(), 6 * rooms.len()));
    for call in rogue.fanned_to(Endpoint::UpdateConsent) {
        let entry = mimi_gateway::wire::ConsentEntry::decode(&call).unwrap();
        let ConsentAction::Grant { key_packages } = entry.action else { panic!("no grant") };
        for given in key_packages {
            assert!(seen.insert(given.into_bytes()), "given twice");
        }
    }
    let references: BTreeSet<Vec<u8>> =
        seen.iter().map(|package| check_key_package(package, now()).unwrap().signature_key).collect();
    assert_eq!(references.len(), seen.len(), "each has keys of its own");
    // Whoever lost the answer gets it again, also after a restart.
    for (body, given) in first {
        assert_eq!(package(&ask(&rogue, &b, &body).await.unwrap()), Some(given));
    }
}

fn request_with(
    requester: &UserUri,
    target: &UserUri,
    room: &RoomUri,
    suites: &[u16],
    required: RequiredCapabilities,
) -> Vec<u8> {
    let key = labels::SigningKey::generate().unwrap();
    let tbs = KeyMaterialRequestTbs {
        requesting_user: requester.clone(),
        target_user: target.clone(),
        room: Some(room.clone()),
        acceptable_ciphersuites: suites.to_vec(),
        required_capabilities: required,
        requester_signature_key: key.public().to_vec(),
        requester_credential: Credential::Basic {
            identity: requester.client(DEVICE).unwrap().as_str().as_bytes().to_vec(),
        },
    };
    let signature = labels::sign_with_label(&key, KeyMaterialRequestTbs::LABEL, &tbs.encode()).unwrap();
    KeyMaterialRequest::new(tbs, signature).encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_fits_is_given() {
    let net = Arc::new(Net::default());
    let b = Silo::new("b", &["b1"], &net).await;
    let rogue = Rogue::new("m", &net);
    let (m1, b1) = (rogue.uri("m1"), b.uri("b1"));
    let room = RoomUri::new(&rogue.domain, "fits").unwrap();
    let required = |extensions: &[u16], proposals: &[u16], credentials: &[u16]| RequiredCapabilities {
        extensions: extensions.to_vec(),
        proposals: proposals.to_vec(),
        credentials: credentials.to_vec(),
    };
    let nothing = RequiredCapabilities::default;
    // Who has no consent hears nothing about clients.
    let strange = request_with(&m1, &b1, &room, &[CIPHER_SUITE], required(&[0xF0F0], &[], &[]));
    let answer = ask(&rogue, &b, &strange).await.unwrap();
    assert_eq!((answer.status, answer.clients.len()), (KeyMaterialUserCode::NoConsent, 0));
    agreed(&b, &rogue, std::slice::from_ref(&room), &m1).await;
    // app_data_dictionary; AppDataUpdate and SelfRemove; basic. And what every client can do.
    for fits in [nothing(), required(&[6], &[8, 10], &[1]), required(&[1, 5], &[1, 7], &[])] {
        let body = request_with(&m1, &b1, &room, &[0x7777, CIPHER_SUITE], fits.clone());
        assert_eq!(ask(&rogue, &b, &body).await.unwrap().status, KeyMaterialUserCode::Success, "{fits:?}");
    }
    for (suites, wanted) in [
        (CIPHER_SUITE, required(&[0xF0F0], &[], &[])),
        (CIPHER_SUITE, required(&[], &[0xF0F0], &[])),
        (CIPHER_SUITE, required(&[], &[], &[2])),
        // Ed25519 as well, with another AEAD.
        (3, nothing()),
    ] {
        let body = request_with(&m1, &b1, &room, &[suites], wanted.clone());
        let answer = ask(&rogue, &b, &body).await.unwrap();
        assert_eq!(answer.status, KeyMaterialUserCode::NoCompatibleMaterial, "{wanted:?}");
        let [client] = answer.clients.as_slice() else { panic!("one client: {:?}", answer.clients) };
        assert_eq!(client.client.as_str(), b1.client(DEVICE).unwrap().as_str());
        let ClientMaterial::NothingCompatible(Some(able)) = &client.material else { panic!("{:?}", client.material) };
        assert_eq!(
            (able.cipher_suites.as_slice(), able.credentials.as_slice()),
            ([CIPHER_SUITE].as_slice(), [1].as_slice())
        );
    }
}
