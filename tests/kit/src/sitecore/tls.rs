//! TLS before the stand-in, with certificates that a client must take or refuse.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Sitecore;

/// Which certificate a [`TlsFront`] shows. All but [`SelfSigned`](Certificate::SelfSigned) are signed by its own
/// authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// For `localhost`, and valid.
    Valid,
    /// For this host, by which the front is to be reached, and valid.
    Named(&'static str),
    /// For this other host.
    WrongName(&'static str),
    /// Expired in the year 2001.
    Expired,
    /// Valid from the year 4000 on.
    NotYetValid,
    /// For `localhost`, and signed by nobody else.
    SelfSigned,
    /// For a client, not for a server.
    WrongUsage,
}

/// Terminates TLS and hands what is in it on, mostly to a stand-in. Ends with this value.
pub struct TlsFront {
    address: SocketAddr,
    host: &'static str,
    authority: String,
    handshakes: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsFront {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If a certificate cannot be made.
    pub fn start(sitecore: &Sitecore, certificate: Certificate) -> io::Result<Self> {
        Self::before(sitecore.address, certificate)
    }

    /// Listens on a free port of 127.0.0.1, before any server.
    ///
    /// # Panics
    /// If a certificate cannot be made.
    pub fn before(behind: SocketAddr, certificate: Certificate) -> io::Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), behind, certificate)
    }

    /// Listens on this address.
    ///
    /// # Panics
    /// If a certificate cannot be made.
    pub fn start_on(
        address: SocketAddr,
        sitecore: &Sitecore,
        certificate: Certificate,
    ) -> io::Result<Self> {
        Self::listen(address, sitecore.address, certificate)
    }

    fn listen(
        address: SocketAddr,
        behind: SocketAddr,
        certificate: Certificate,
    ) -> io::Result<Self> {
        let (config, authority) = identity(certificate).expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handshakes = Arc::new(AtomicU64::new(0));
        let counted = handshakes.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("tls".into())
            .spawn(move || {
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener).expect("a listening socket");
                    tokio::select! {
                        () = serve(listener, acceptor, behind, counted) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            host: match certificate {
                Certificate::Named(host) => host,
                _ => "localhost",
            },
            authority,
            handshakes,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Its origin, such as `https://localhost:40123`.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.host, self.address.port())
    }

    /// Where tokens are to be had.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.url())
    }

    /// The certificate of the authority that signed its own, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// How many clients took the certificate.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It fails only if the thread panicked, which was reported then.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    behind: SocketAddr,
    handshakes: Arc<AtomicU64>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, handshakes) = (acceptor.clone(), handshakes.clone());
        tokio::spawn(async move {
            let mut front = acceptor.accept(stream).await?;
            handshakes.fetch_add(1, Ordering::Relaxed);
            let mut back = TcpStream::connect(behind).await?;
            tokio::io::copy_bidirectional(&mut front, &mut back).await
        });
    }
}

/// A server's configuration with this certificate, and the authority's certificate in PEM.
fn identity(
    certificate: Certificate,
) -> Result<(ServerConfig, String), Box<dyn std::error::Error>> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let host = match certificate {
        Certificate::Named(host) | Certificate::WrongName(host) => host,
        _ => "localhost",
    };
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.extended_key_usages = vec![match certificate {
        Certificate::WrongUsage => ExtendedKeyUsagePurpose::ClientAuth,
        _ => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    match certificate {
        Certificate::Expired => params.not_after = date_time_ymd(2001, 1, 1),
        Certificate::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        _ => {}
    }
    let key = KeyPair::generate()?;
    let signed = match certificate {
        Certificate::SelfSigned => params.self_signed(&key)?,
        _ => params.signed_by(&key, &issuer)?,
    };
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], key)?;
    Ok((config, pem))
}
