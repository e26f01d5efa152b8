//! Serves probes and metrics to whoever can reach the port, and is kept busy by none of them: connections are few and short,
//! and a new one takes the place of the oldest.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

/// How long to wait after a connection could not be accepted, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many there may be.
    pub connections: usize,
    /// How long the request's headers may take.
    pub headers: Duration,
    /// How long all of it may take, with the answer.
    pub whole: Duration,
}

impl Default for ConnectionLimits {
    /// Prometheus itself waits for 10 s by default.
    fn default() -> Self {
        Self {
            connections: 64,
            headers: Duration::from_secs(5),
            whole: Duration::from_secs(10),
        }
    }
}

/// Listens at `address`. `[::]` serves IPv4 too, and is `0.0.0.0` where the machine has no IPv6.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind_any(address, TcpListener::bind).await
}

async fn bind_any<T, F>(address: SocketAddr, bind: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    match bind(address).await {
        // Without IPv6 in the kernel the family is not supported, and switched off the address is not available.
        Err(error)
            if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).await
        }
        bound => bound,
    }
}

/// Serves one request for each connection. Ends only with its future, and all connections with it.
pub async fn serve(listener: TcpListener, routes: Router, limits: ConnectionLimits) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .keep_alive(false);
    let mut connections = JoinSet::new();
    // The oldest first.
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= limits.connections
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(routes.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service);
        open.push_back(connections.spawn(async move {
            let _ = timeout(limits.whole, connection).await;
        }));
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::Instant,
    };

    use super::*;

    const LARGE: usize = 64 << 20;

    /// A server with two routes, one of which answers with more than any buffer holds.
    async fn start(limits: ConnectionLimits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/small", get(async || "ok"))
            .route("/large", get(async || vec![b'a'; LARGE]));
        tokio::spawn(serve(listener, routes, limits));
        address
    }

    fn limits() -> ConnectionLimits {
        ConnectionLimits {
            connections: 4,
            headers: Duration::from_secs(60),
            whole: Duration::from_secs(60),
        }
    }

    /// Where `bind_any` listens that should at `address`, where binding to IPv6 fails so.
    async fn bound(address: &str, failure: io::ErrorKind) -> io::Result<SocketAddr> {
        let bind = async |address: SocketAddr| match address {
            SocketAddr::V4(_) => Ok(address),
            SocketAddr::V6(_) => Err(failure.into()),
        };
        bind_any(address.parse().unwrap(), bind).await
    }

    #[tokio::test]
    async fn without_ipv6_all_addresses_are_those_of_ipv4() {
        for failure in [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported] {
            let address = bound("[::]:8080", failure).await.unwrap();
            assert_eq!(address, "0.0.0.0:8080".parse().unwrap());
        }
    }

    #[tokio::test]
    async fn an_address_that_was_asked_for_by_name_has_no_other_in_its_place() {
        let failure = io::ErrorKind::AddrNotAvailable;
        bound("[::1]:8080", failure).await.unwrap_err();
        bound("[::]:8080", io::ErrorKind::AddrInUse)
            .await
            .unwrap_err();
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }

    /// What comes until the connection ends, which it does within some seconds.
    async fn read(mut stream: TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        // An end by a reset is one, too.
        let _ = read.await.expect("the connection ends");
        answer
    }

    async fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn a_connection_is_for_one_request() {
        let address = start(limits()).await;
        let answer = read(ask(address, "/small").await).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
            "{answer}"
        );
        assert!(read(ask(address, "/large").await).await.len() > LARGE);
    }

    #[tokio::test]
    async fn a_connection_without_a_whole_request_is_closed() {
        let headers = Duration::from_millis(200);
        let address = start(ConnectionLimits {
            headers,
            ..limits()
        })
        .await;
        for begun in ["", "GET /small HTTP/1.1\r\nHost:"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let started = Instant::now();
            let _ = read(stream).await;
            assert!(started.elapsed() >= headers);
        }
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_cut_off() {
        let whole = Duration::from_millis(200);
        let address = start(ConnectionLimits { whole, ..limits() }).await;
        let stream = ask(address, "/large").await;
        sleep(whole * 5).await;
        assert!(read(stream).await.len() < LARGE);
    }

    #[tokio::test]
    async fn of_more_connections_than_there_may_be_the_oldest_makes_room() {
        let address = start(limits()).await;
        let mut idle = Vec::new();
        for _ in 0..4 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        // A probe is answered, whoever keeps connections open.
        for _ in 0..2 {
            let answer = read(ask(address, "/small").await).await;
            assert!(answer.ends_with(b"ok"));
        }
        assert_eq!(read(idle.remove(0)).await, b"");
        for stream in idle {
            let mut byte = [0];
            let waiting = timeout(Duration::from_millis(50), stream.peek(&mut byte));
            assert!(waiting.await.is_err(), "it is open");
        }
    }
}
