//! The gateway that the peer talks to: its real engine, store, MIMI server and client, between a played homeserver and TLS.

use std::{net::SocketAddr, sync::Arc};

use mimi_gateway::{
    engine::{Engine, GatewayNames},
    ident::{IdentityMap, ProviderDomain},
    mimi::{AssetSettings, Limits, Listening, MimiPeers, PeerSettings, PemSource, Settings},
    store::{MasterKey, MemoryDisk, open_memory},
};
use tokio_util::sync::CancellationToken;

use crate::{
    homeserver::{FakeHomeserver, Slot, no_faults},
    pki::{Ca, Cert},
    silo::quick_settings,
};

/// Everything that a.example is while it runs.
pub(crate) struct Gateway {
    pub(crate) homeserver: Arc<FakeHomeserver>,
    pub(crate) address: SocketAddr,
    disk: MemoryDisk,
    settings: Settings,
    slot: Slot,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Gateway {
    pub(crate) async fn start(cert: &Cert, peer_ca: &Ca, peer: SocketAddr, people: &[&str]) -> Self {
        let domain = ProviderDomain::parse("a.example").unwrap();
        let map = IdentityMap::new(domain.clone(), ruma::OwnedServerName::try_from("a.test").unwrap());
        let homeserver = FakeHomeserver::new(map, no_faults());
        for name in people {
            homeserver.register(name);
        }
        let slot = Slot::default();
        homeserver.start(slot.clone());
        let c = PeerSettings {
            ca: PemSource::new(&*peer_ca.pem),
            address: Some(peer.to_string()),
            hosts: Vec::new(),
            gateway: false,
            asset_domains: None,
            asset_address: None,
            allowed: true,
        };
        let settings = Settings {
            own_domain: domain,
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: None,
            certificate: PemSource::new(&*cert.chain),
            private_key: PemSource::new(&*cert.key),
            limits: Limits::default(),
            assets: AssetSettings::default(),
            peers: [(ProviderDomain::parse("c.example").unwrap(), c)].into(),
        };
        let (disk, stop) = (MemoryDisk::new(), CancellationToken::new());
        let mut gateway = Self { homeserver, address: settings.listen, disk, settings, slot, stop, running: None };
        gateway.run(false).await;
        gateway
    }

    async fn run(&mut self, distrust: bool) {
        let opened = open_memory(&self.disk, &MasterKey::from_bytes([7; 32])).unwrap();
        let names = GatewayNames::new(self.homeserver.map.clone(), self.homeserver.bot.clone(), 500);
        let listening = Listening::bind(&self.settings).await.unwrap();
        let peers = Arc::new(MimiPeers::new(&self.settings).unwrap());
        let homeserver = Arc::clone(&self.homeserver);
        let engine = Engine::load(opened.database, homeserver, peers, names, quick_settings()).await.unwrap();
        if distrust {
            engine.distrust_state().await.unwrap();
        }
        engine.start().await.unwrap();
        let server = listening.serve(Arc::new(engine.clone()));
        self.address = server.local_addr().unwrap();
        self.settings.listen = self.address;
        self.stop = CancellationToken::new();
        self.running = Some(tokio::spawn(server.run(self.stop.clone())));
        *self.slot.lock().unwrap() = Some(engine);
    }

    pub(crate) fn engine(&self) -> Engine {
        self.slot.lock().unwrap().clone().unwrap()
    }

    /// Stops, and starts again as after a restored backup: everybody's leaf is made fresh before they speak.
    pub(crate) async fn restart_distrusting(&mut self) {
        let engine = self.slot.lock().unwrap().take().unwrap();
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
        engine.stop().await;
        engine.database().store().close().await.unwrap();
        drop(engine);
        self.run(true).await;
    }

    /// Waits until it is in the group of the one room.
    pub(crate) async fn joined(&self) {
        let since = std::time::Instant::now();
        loop {
            let (rooms, _) = Engine::fingerprints_after(self.engine().database(), None, 10).await.unwrap();
            if rooms.iter().any(|room| room.epoch_authenticator.is_some()) {
                return;
            }
            assert!(since.elapsed() < crate::PATIENCE, "it does not join");
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    }

    /// The epoch and its authenticator, in hex, of the one room.
    pub(crate) async fn epoch(&self) -> (u64, String) {
        let (mut rooms, _) = Engine::fingerprints_after(self.engine().database(), None, 10).await.unwrap();
        assert_eq!(rooms.len(), 1);
        let room = rooms.remove(0);
        (room.epoch.unwrap(), room.epoch_authenticator.unwrap())
    }
}
